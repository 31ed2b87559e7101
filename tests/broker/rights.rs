//! Broker users that may only do their part: a publisher of one project, and a worker that may declare nothing.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::json;
use signalpost::broker::topology::{self, DEAD_QUEUE, EVENTS_EXCHANGE, EVENTS_QUEUE, Standing};
use signalpost::broker::{BrokerUrl, Options};
use signalpost::domain::clock::Clock;

use super::support::sink::Sink;
use super::world::{Setup, World};
use super::{BROKER, Vhost, rabbitmqctl, until};

/// A user of one vhost, gone afterwards.
struct User {
    name: String,
    url: String,
}

impl User {
    /// May configure, write and read what the patterns say.
    fn new(vhost: &Vhost, part: &str, [configure, write, read]: [&str; 3]) -> Self {
        let name = format!("{part}-{}", vhost.name);
        rabbitmqctl(&["add_user", &name, "secret"]);
        rabbitmqctl(&["set_permissions", "-p", &vhost.name, &name, configure, write, read]);
        let (_, place) = vhost.url.split_once('@').unwrap();
        let url = format!("amqp://{name}:secret@{place}");
        Self { name, url }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = std::process::Command::new("rabbitmqctl").args(["-q", "delete_user", &self.name]).output();
    }
}

/// Publishes on a channel of its own, which a refusal closes.
async fn publishes(user: &User, exchange: &str, key: &str, id: &str) -> Result<(), String> {
    let connection = Connection::connect(&user.url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let (options, body) = (BasicPublishOptions::default(), br#"{"member":"ada"}"#);
    let properties = BasicProperties::default().with_message_id(id.into());
    let published = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await;
    let confirmed = published.map_err(|error| error.to_string())?.await.map_err(|error| error.to_string())?;
    assert!(confirmed.is_ack());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_with_users_that_may_only_do_their_part() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("rights");
    let client = vhost.client().await;
    topology::ensure(&client.channel, true).await.unwrap();
    let publisher = User::new(&vhost, "publisher", ["^$", "^signalpost\\.events$", "^$"]);
    let topic =
        ["set_topic_permissions", "-p", &vhost.name, &publisher.name, EVENTS_EXCHANGE, "^acme\\.", "^$"];
    rabbitmqctl(&topic);
    let worker = User::new(
        &vhost,
        "worker",
        ["^$", "^signalpost\\.(events|dead|notices)$", "^signalpost\\.(events|dead)$"],
    );
    let url = BrokerUrl::parse(&worker.url).unwrap();
    let options = Options { url, declare: false, ..vhost.options() };
    let parts = signalpost::broker::check(&options).await.unwrap();
    let standings: Vec<_> = parts.into_iter().map(|part| part.found.unwrap()).collect();
    assert_eq!(standings, [Standing::NotCompared; 5]);

    let broker = Some(options);
    let world = World::with(Setup {
        sink: Sink::builder().usual(),
        broker,
        clock: Clock::system(),
        ..Setup::default()
    })
    .await;
    let reset = "acme.account.password-reset-requested";
    publishes(&publisher, EVENTS_EXCHANGE, reset, "late").await.unwrap();
    for (exchange, key) in [
        (EVENTS_EXCHANGE, "other.account.password-reset-requested"),
        ("", EVENTS_QUEUE),
        ("signalpost.dead", reset),
        ("signalpost.notices", reset),
    ] {
        let refused = publishes(&publisher, exchange, key, "no").await.unwrap_err();
        assert!(
            refused.contains("ACCESS_REFUSED") || refused.contains("ACCESS-REFUSED"),
            "{exchange} {key}: {refused}"
        );
    }
    // An unknown member is refused, put aside, listed, and goes through once it is replayed.
    until("it is in the dead queue", async || vhost.messages(DEAD_QUEUE) == 1).await;
    world.member("ada").await;
    let listed = world.get("/v1/dead-letters").await.json;
    assert_eq!(listed["items"][0]["reason"], "unknown-member", "{listed}");
    let answer = world.post("/v1/dead-letters/replay", json!({ "filter": {} })).await.json;
    assert_eq!(answer["replayed"], 1);
    until("the mail is there", async || world.mails_to("ada@example.com").len() == 1).await;
    assert_eq!((vhost.messages(EVENTS_QUEUE), vhost.messages(DEAD_QUEUE)), (0, 0));
}
