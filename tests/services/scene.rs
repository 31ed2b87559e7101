//! What the claims about the whole program have in common: a project with members, events on their way to it,
//! and the books when all is quiet. Sees the database as an operator with a SQL prompt does.

use std::time::{Duration, Instant};

use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::support::ledger::{Dispatch, Expect, Ledger, Letter, Rules, Summary};
use super::support::program::{Process, Program};
use super::support::services::{Publisher, Services};
use super::support::sink::Sink;

/// The routing key of the events that are owed a mail with a token.
pub(crate) const RESET: &str = "acme.account.password-reset-requested";
/// Connections of the project's integration in one worker, and so the mails that one crash may double.
pub(crate) const CONNECTIONS: usize = 10;
/// Members created in one request.
const BATCH: usize = 1000;
/// Between two looks at the database.
const LOOK: Duration = Duration::from_millis(200);

/// A project file with the built-in automations, sending to this server.
pub(crate) fn project(smtp_url: &str) -> String {
    format!(
        "[project]\nslug = \"acme\"\nname = \"Acme\"\nthrottle = {{ recipient = \"100000/h\", client = \"100000/h\" }}\n\n\
             [[integrations]]\nname = \"main\"\nkind = \"smtp\"\n\
         url = \"{smtp_url}\"\nfrom = \"Acme <no-reply@acme.example>\"\nconnections = {CONNECTIONS}\n"
    )
}

/// The same for a sink in this process.
pub(crate) fn project_for(sink: &Sink) -> String {
    project(&format!("smtp://127.0.0.1:{}?tls=none", sink.port()))
}

/// `user0@DOMAIN` and so on become members, through the API in batches.
pub(crate) async fn create_members(process: &Process, key: &str, domain: &str, count: usize) {
    let client = Client::new();
    for first in (0..count).step_by(BATCH) {
        let events: Vec<Value> = (first..count.min(first + BATCH)).map(|n| created(n, domain)).collect();
        let request = client.post(format!("{}/v1/events", process.url)).bearer_auth(key);
        let request = request.header("content-type", "application/cloudevents-batch+json");
        let answer = request.body(Value::from(events).to_string()).send().await.unwrap();
        let answers: Vec<Value> = answer.error_for_status().unwrap().json().await.unwrap();
        assert!(answers.iter().all(|answer| answer["outcome"] == "applied"), "{}", answers[0]);
    }
}

fn created(number: usize, domain: &str) -> Value {
    json!({
        "specversion": "1.0", "id": format!("member-{number}"), "source": "members", "type": "account.created",
        "data": { "username": format!("user{number}"), "email": format!("user{number}@{domain}") },
    })
}

/// Numbered events over AMQP, `run-FIRST` and on, all confirmed by the broker.
#[derive(Clone)]
pub(crate) struct Numbered {
    pub(crate) services: Services,
    pub(crate) url: String,
    pub(crate) domain: String,
}

impl Numbered {
    /// Publishes some once each, or two times each.
    pub(crate) async fn publish(
        &self,
        publisher: Publisher,
        (first, count): (usize, usize),
        twice: bool,
    ) -> anyhow::Result<usize> {
        let (first, count) = (first.to_string(), count.to_string());
        let mut arguments = vec!["--routing-key", RESET, "--prefix", "run", "--domain", &self.domain];
        arguments.extend(["--first", &first, "--count", &count]);
        arguments.extend(twice.then_some("--twice"));
        self.services.publish(publisher, &self.url, &arguments).await
    }
}

/// What a database holds, members left out.
pub(crate) struct Records {
    events: Vec<(String, String)>,
    dispatches: Vec<(String, String, String, String, String)>,
}

const EVENTS: &str = "select source_id, outcome from events where type <> 'account.created'";
const DISPATCHES: &str = "select e.source_id, d.template, d.recipient, d.state, d.message_id \
                          from dispatches d join events e on e.id = d.event_id";
const STANDING: &str = "select (select count(*) from events where type <> 'account.created'), \
                        (select count(*) from dispatches where state = 'pending')";

macro_rules! connected {
    ($url:expr, $c:ident => $query:expr) => {
        if $url.starts_with("postgres") {
            let mut $c = PgConnection::connect($url).await?;
            $query
        } else {
            let mut $c = SqliteConnection::connect($url).await?;
            $query
        }
    };
}

impl Records {
    pub(crate) async fn read(url: &str) -> sqlx::Result<Self> {
        connected!(url, c => {
            let events = sqlx::query_as(EVENTS).fetch_all(&mut c).await?;
            let dispatches = sqlx::query_as(DISPATCHES).fetch_all(&mut c).await?;
            Ok(Self { events, dispatches })
        })
    }

    /// How many dispatches are in a state.
    pub(crate) fn in_state(&self, state: &str) -> usize {
        self.dispatches.iter().filter(|dispatch| dispatch.3 == state).count()
    }
}

/// How many events a database holds, members left out, and how many dispatches are not final.
pub(crate) async fn standing(url: &str) -> sqlx::Result<(i64, i64)> {
    connected!(url, c => sqlx::query_as(STANDING).fetch_one(&mut c).await)
}

/// Waits until so many events were planned and every dispatch is final; how long that took.
///
/// # Panics
/// If it is not so within `limit`: something was lost or is stranded.
pub(crate) async fn until_quiet(url: &str, events: usize, limit: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        // The database may be down for a moment.
        let standing = standing(url).await.ok();
        if standing == Some((i64::try_from(events).unwrap(), 0)) {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < limit, "planned and not final: {standing:?} of {events} after {limit:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The books of numbered events that must all have led to one mail each.
pub(crate) async fn balance(program: &Program, count: usize, domain: &str, letters: Vec<Letter>) -> Ledger {
    let mut ledger = Ledger::default();
    for number in 0..count {
        ledger.published(&format!("run-{number}"), &format!("user{number}@{domain}"), Expect::Mail);
    }
    for letter in letters {
        ledger.mail(letter);
    }
    let records = Records::read(program.database_url()).await.unwrap();
    for (event, outcome) in &records.events {
        ledger.outcome(event, outcome);
    }
    for (event, template, to, state, message_id) in records.dispatches {
        let message_id = Some(message_id);
        let id = message_id.clone().unwrap_or_default();
        ledger.dispatch(Dispatch { id, event, template, to, state, message_id });
    }
    ledger
}

/// Checks the books, with so many mails that may have come twice: all was sent, nothing refused or given up.
pub(crate) fn balanced(ledger: &Ledger, uncertain: usize) -> Summary {
    let summary = ledger.check(Rules { uncertain, tokens: true }).unwrap_or_else(|violations| {
        let shown = violations.iter().take(10).map(|one| format!("{one:?}")).collect::<Vec<_>>();
        panic!("{} violations, such as\n{}", violations.len(), shown.join("\n"))
    });
    assert_eq!((summary.sent, summary.dead, summary.cancelled), (summary.events, 0, 0));
    summary
}

/// What a sink took, as letters.
pub(crate) fn letters(sink: &Sink) -> Vec<Letter> {
    sink.mails().iter().map(|mail| Letter::read(&mail.to[0], &mail.data)).collect()
}

/// How many messages wait in a queue; those in somebody's hands are not counted.
pub(crate) async fn waiting_in(url: &str, queue: &str) -> u32 {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap().message_count()
}

/// Everything in the dead queue, taken out.
pub(crate) async fn dead_letters(url: &str) -> Vec<(BasicProperties, Vec<u8>)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut letters = Vec::new();
    while let Some(message) =
        channel.basic_get("signalpost.dead".into(), BasicGetOptions::default()).await.unwrap()
    {
        message.delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
        letters.push((message.delivery.properties, message.delivery.data.clone()));
    }
    letters
}

/// Waits until so many messages wait in a queue.
///
/// # Panics
/// If they do not within `limit`.
pub(crate) async fn until_waiting(url: &str, queue: &str, count: usize, limit: Duration) {
    let begun = Instant::now();
    loop {
        let waiting = waiting_in(url, queue).await;
        if usize::try_from(waiting).unwrap() >= count {
            return;
        }
        assert!(begun.elapsed() < limit, "{waiting} of {count} in {queue} after {limit:?}");
        tokio::time::sleep(LOOK).await;
    }
}
