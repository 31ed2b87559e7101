//! Dead letters of the whole application on a real broker: refused messages and dead dispatches, listed, moved,
//! replayed and discarded, with the API and with the broker's own means.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde_json::{Value, json};
use signalpost::broker::Options;
use signalpost::broker::topology::{DEAD_QUEUE, EVENTS_EXCHANGE, EVENTS_QUEUE};
use signalpost::domain::clock::Clock;

use super::support::sink::{At, Sink, Step};
use super::world::{Setup, World};
use super::{BROKER, Client, Vhost, until};

/// A copy is gone, or there, within so long.
const SOON: Duration = Duration::from_secs(60);

async fn world(vhost: &Vhost, sink: super::support::sink::Builder) -> World {
    let broker = Some(Options { name: "signalpost worker".into(), ..vhost.options() });
    let world = World::with(Setup { sink, broker, clock: Clock::system(), ..Setup::default() }).await;
    until("the topology is there", async || world.get("/v1/dead-letters").await.status == 200).await;
    world
}

async fn publish(client: &Client, key: &str, id: &str, data: &Value) {
    let properties = BasicProperties::default().with_message_id(id.into()).with_app_id("shop".into());
    client.publish_as(EVENTS_EXCHANGE, key, properties, data.to_string().as_bytes()).await;
}

async fn letters(world: &World, query: &str) -> Vec<Value> {
    let answer = world.get(&format!("/v1/dead-letters?limit=200&{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["items"].as_array().unwrap().clone()
}

async fn until_letters(world: &World, query: &str, count: usize) {
    until(&format!("{count} letters of {query}"), async || letters(world, query).await.len() == count).await;
}

fn of(letters: &[Value], field: &str) -> BTreeSet<String> {
    letters.iter().map(|letter| letter[field].as_str().unwrap_or_default().to_owned()).collect()
}

async fn outcome(world: &World, id: &str) -> String {
    let found = world.get(&format!("/v1/events?source=shop&id={id}")).await.json;
    found["items"][0]["outcome"].as_str().unwrap_or_default().to_owned()
}

const RESET: &str = "acme.account.password-reset-requested";

#[tokio::test(flavor = "multi_thread")]
async fn refused_messages_are_listed_shown_replayed_and_discarded_over_the_api() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("letters");
    let world = world(&vhost, Sink::builder().usual()).await;
    let client = vhost.client().await;
    let ada = json!({ "member": "ada" });
    publish(&client, RESET, "late", &ada).await;
    publish(&client, "acme.account.flew-away", "odd", &ada).await;
    publish(&client, RESET, "wrong", &json!({ "member": 5 })).await;
    publish(&client, "nobody.account.signed-in", "stranger", &ada).await;
    until_letters(&world, "", 3).await;
    until("the stranger's too", async || vhost.messages(DEAD_QUEUE) == 4).await;

    let all = letters(&world, "").await;
    assert_eq!(of(&all, "reason"), ["invalid", "unknown-member", "unknown-type"].map(str::to_owned).into());
    assert_eq!(of(&all, "project"), ["acme".to_owned()].into());
    for (query, ids) in [
        ("kind=message", vec!["late", "odd", "wrong"]),
        ("kind=dispatch", vec![]),
        ("reason=invalid", vec!["wrong"]),
        ("type=flew-away", vec!["odd"]),
        ("type=account.password-reset-requested&reason=unknown-member", vec!["late"]),
        ("since=2999-01-01T00:00:00Z", vec![]),
    ] {
        let found = of(&letters(&world, query).await, "source_id");
        assert_eq!(found, ids.into_iter().map(str::to_owned).collect(), "{query}");
    }
    let id = |name: &str| {
        let letter = all.iter().find(|letter| letter["source_id"] == name).unwrap();
        letter["id"].as_str().unwrap().to_owned()
    };
    let shown = world.get(&format!("/v1/dead-letters/{}", id("wrong"))).await.json;
    assert_eq!((&shown["body"], &shown["field"]), (&json!("{\"member\":5}"), &json!("member")));
    assert_eq!(world.get("/v1/dead-letters/msg_00000000000000000000000000000001").await.status, 404);

    let unknown = "msg_00000000000000000000000000000001";
    let chosen = json!({ "ids": [id("wrong"), unknown] });
    let answer = world.post("/v1/dead-letters/discard", chosen).await.json;
    assert_eq!(answer, json!({ "discarded": 1, "failed": [{ "id": unknown, "code": "not-found" }] }));
    until_letters(&world, "", 2).await;

    world.member("ada").await;
    let like = json!({ "filter": { "kind": "message", "reason": "unknown-member" } });
    let answer = world.post("/v1/dead-letters/replay", like).await.json;
    assert_eq!(answer, json!({ "replayed": 1, "failed": [] }));
    until("it was planned", async || outcome(&world, "late").await == "dispatched").await;
    world.until_idle().await;
    assert_eq!(world.mails_to("ada@example.com").len(), 1);
    // Looked at often, and all of it is still there: the odd one, and the stranger's.
    assert_eq!((vhost.messages(EVENTS_QUEUE), vhost.messages(DEAD_QUEUE)), (0, 2));
    let answer = world.post("/v1/dead-letters/discard", json!({ "filter": {} })).await.json;
    assert_eq!(answer["discarded"], 1, "another project's is the operator's alone");
    until("the operator's is left", async || vhost.messages(DEAD_QUEUE) == 1).await;
    assert_eq!(world.post("/v1/dead-letters/discard", json!({})).await.said(), (400, "invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_dispatch_has_a_copy_of_its_event_that_is_gone_once_it_is_closed() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("copies");
    let refuse = Step::reply_at(At::Rcpt, "550 5.1.1 no such user").to("ada@example.com").always();
    let world = world(&vhost, Sink::builder().usual().script([refuse])).await;
    let client = vhost.client().await;
    world.member("ada").await;
    publish(&client, RESET, "amqp", &json!({ "member": "ada" })).await;
    until("it is dead", async || letters(&world, "kind=dispatch").await.len() == 1).await;
    let copied = async || client.ready(DEAD_QUEUE).await == 1;
    until("a copy is there", copied).await;
    let letter = &letters(&world, "").await[0];
    assert_eq!((&letter["kind"], &letter["reason"]), (&json!("dispatch"), &json!("rejected")));
    assert!(letter["detail"].as_str().unwrap().contains("no such user"), "{letter}");
    assert_eq!(letters(&world, "").await.len(), 1, "a copy is not listed twice");

    let copy = client.get(DEAD_QUEUE).await.unwrap();
    let header = |name: &str| match copy.properties.headers().as_ref().unwrap().inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(header("x-signalpost-dispatch-id"), letter["id"].as_str().unwrap());
    assert_eq!(header("x-signalpost-reason"), "rejected");
    assert!(header("x-signalpost-detail").contains("no such user"));
    let event: Value = serde_json::from_slice(&copy.data).unwrap();
    assert_eq!((&event["id"], &event["source"]), (&json!("amqp"), &json!("shop")));
    assert_eq!(event["data"], json!({ "member": "ada" }));
    assert_eq!((copy.routing_key.as_str(), event["project"].as_str()), (RESET, Some("acme")));
    copy.nack(lapin::options::BasicNackOptions { requeue: true, ..Default::default() }).await.unwrap();

    let begun = Instant::now();
    world.sql("update dispatches set state = 'cancelled' where state = 'dead'").await;
    until("the copy is gone", async || vhost.messages(DEAD_QUEUE) == 0).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(letters(&world, "").await.is_empty());
}

/// A world with a member whose mail is refused for good, and one dead dispatch of theirs.
async fn with_dead_dispatch(vhost: &Vhost, refusals: usize) -> (World, Client) {
    let refuse = Step::reply_at(At::Rcpt, "550 5.1.1 no such user").to("ada@example.com").times(refusals);
    let world = world(vhost, Sink::builder().usual().script([refuse])).await;
    let client = vhost.client().await;
    world.member("ada").await;
    publish(&client, RESET, "one", &json!({ "member": "ada" })).await;
    until("it is dead", async || letters(&world, "kind=dispatch").await.len() == 1).await;
    (world, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_dispatch_is_replayed_over_the_api_and_its_copy_is_gone() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("replayed");
    let (world, client) = with_dead_dispatch(&vhost, 1).await;
    until("a copy is there", async || client.ready(DEAD_QUEUE).await == 1).await;
    let id = letters(&world, "").await[0]["id"].clone();
    let answer = world.post("/v1/dead-letters/replay", json!({ "ids": [id] })).await.json;
    assert_eq!(answer, json!({ "replayed": 1, "failed": [] }));
    until("the mail is there", async || world.mails_to("ada@example.com").len() == 1).await;
    until("the copy is gone", async || vhost.messages(DEAD_QUEUE) == 0).await;
    let again = world.post("/v1/dead-letters/replay", json!({ "ids": [id] })).await.json;
    assert_eq!(again["failed"][0]["code"], "unfit", "what was sent is not touched");
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_moved_back_by_any_tool_replays_its_dispatch_and_a_forged_one_does_not() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("moved");
    let (world, client) = with_dead_dispatch(&vhost, 2).await;
    until("a copy is there", async || client.ready(DEAD_QUEUE).await == 1).await;
    let copy = client.take(DEAD_QUEUE).await;
    // A plain repetition, and one whose body is not what was signed.
    publish(&client, RESET, "one", &json!({ "member": "ada" })).await;
    let mut event: Value = serde_json::from_slice(&copy.data).unwrap();
    event["time"] = json!("2026-01-01T00:00:00Z");
    let forged = event.to_string();
    client.publish_as(EVENTS_EXCHANGE, RESET, copy.properties.clone(), forged.as_bytes()).await;
    // Under another project's key the origin still speaks for its own.
    until("both are settled", async || vhost.messages(EVENTS_QUEUE) == 0).await;
    world.until_idle().await;
    assert_eq!(letters(&world, "kind=dispatch").await.len(), 1, "nothing was armed");
    // As RabbitMQ's own page and a shovel with a `dest-queue` do: through the default exchange.
    client.publish_as("", EVENTS_QUEUE, copy.properties.clone(), &copy.data).await;
    until("it is dead again", async || {
        letters(&world, "kind=dispatch").await.len() == 1 && client.ready(DEAD_QUEUE).await == 1
    })
    .await;
    let copy = client.take(DEAD_QUEUE).await;
    client.publish_as(EVENTS_EXCHANGE, "other.account.deleted", copy.properties.clone(), &copy.data).await;
    until("the mail is there", async || world.mails_to("ada@example.com").len() == 1).await;
    until("nothing is left", async || vhost.messages(EVENTS_QUEUE) + vhost.messages(DEAD_QUEUE) == 0).await;
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_moved_back_to_no_avail_is_made_again() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("stays");
    let (world, client) = with_dead_dispatch(&vhost, 1).await;
    until("a copy is there", async || client.ready(DEAD_QUEUE).await == 1).await;
    let copy = client.take(DEAD_QUEUE).await;
    publish(&client, RESET, "two", &json!({ "member": "ada" })).await;
    until("a later request is mailed", async || world.mails_to("ada@example.com").len() == 1).await;
    client.publish_as("", EVENTS_QUEUE, copy.properties.clone(), &copy.data).await;
    until("it was told", async || vhost.messages(EVENTS_QUEUE) == 0).await;
    until("the dispatch stays dead, with a copy", async || client.ready(DEAD_QUEUE).await == 1).await;
    assert_eq!(letters(&world, "kind=dispatch").await.len(), 1);
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute or two: run by name"]
async fn ten_thousand_dead_letters_are_listed_replayed_discarded_and_purged() {
    const LETTERS: usize = 10_000;
    let _broker = BROKER.write().await;
    let vhost = Vhost::new("ten-thousand");
    let world = world(&vhost, Sink::builder().usual()).await;
    let client = vhost.client().await;
    let mut confirms = Vec::new();
    for number in 0..LETTERS {
        // One in ten for a member who will be there, one in ten of an unknown type.
        let (key, member) = match number % 10 {
            0 => (RESET, format!("late{number}")),
            1 => ("acme.account.flew-away", "ada".to_owned()),
            _ => (RESET, format!("nobody{number}")),
        };
        let body = json!({ "member": member }).to_string();
        let properties =
            BasicProperties::default().with_message_id(number.to_string().into()).with_app_id("shop".into());
        let options = lapin::options::BasicPublishOptions::default();
        let (exchange, key) = (EVENTS_EXCHANGE.into(), key.into());
        confirms.push(
            client.channel.basic_publish(exchange, key, options, body.as_bytes(), properties).await.unwrap(),
        );
    }
    for confirm in confirms {
        assert!(confirm.await.unwrap().is_ack());
    }
    let begun = Instant::now();
    while vhost.messages(DEAD_QUEUE) < LETTERS {
        assert!(begun.elapsed() < SOON * 3, "{} of {LETTERS}", vhost.messages(DEAD_QUEUE));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{LETTERS} refused in {:?}", begun.elapsed());
    let timed = async |what: &str, path: &str, body: Option<Value>| {
        let begun = Instant::now();
        let answer = match body {
            Some(body) => world.post(path, body).await,
            None => world.get(path).await,
        };
        println!("{what}: {:?}", begun.elapsed());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    };
    timed("first page", "/v1/dead-letters?limit=200", None).await;
    timed("first page of a type", "/v1/dead-letters?limit=200&type=flew-away", None).await;
    let names = (0..LETTERS).step_by(10).map(|number| format!("late{number}"));
    world.members(names).await;
    // Those that come first are tried for the members that are there now; the others are refused again.
    let ids: Vec<Value> = {
        let mut ids = Vec::new();
        let mut path = "/v1/dead-letters?limit=200&reason=unknown-member".to_owned();
        loop {
            let page = world.get(&path).await.json;
            let items = page["items"].as_array().unwrap().clone();
            let late = |one: &&Value| one["source_id"].as_str().unwrap().ends_with('0');
            ids.extend(items.iter().filter(late).map(|one| one["id"].clone()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/v1/dead-letters?limit=200&reason=unknown-member&after={next}");
        }
        ids
    };
    assert_eq!(ids.len(), LETTERS / 10);
    let answer = timed("replay 1,000 by id", "/v1/dead-letters/replay", Some(json!({ "ids": ids }))).await;
    assert_eq!(answer["replayed"], LETTERS / 10);
    let like = json!({ "filter": { "reason": "unknown-type" } });
    let answer = timed("discard 1,000 by filter", "/v1/dead-letters/discard", Some(like)).await;
    assert_eq!(answer["discarded"], LETTERS / 10);
    let left = LETTERS - 2 * (LETTERS / 10);
    until("RabbitMQ agrees", async || vhost.messages(DEAD_QUEUE) == left).await;
    until("all were mailed", async || world.mails().len() == LETTERS / 10).await;
    let mailed: BTreeSet<String> = world.mails().into_iter().map(|mail| mail.recipient).collect();
    assert_eq!(mailed.len(), LETTERS / 10, "nothing is sent twice");
    super::rabbitmqctl(&["purge_queue", "-p", &vhost.name, DEAD_QUEUE]);
    until("they are gone", async || letters(&world, "").await.is_empty()).await;
}
