//! What Signalpost did, as whoever listens on the exchange of notices hears it: the whole application on a real
//! broker.

use std::collections::BTreeMap;

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::{Value, json};
use signalpost::broker::topology::NOTICES_EXCHANGE;

use super::letters::world;
use super::support::sink::{At, Sink, Step};
use super::world::{Answer, World};
use super::{BROKER, Client, Vhost, until};

const HEARD: &str = "heard";

/// Somebody who listens to all notices from now on.
async fn listener(vhost: &Vhost) -> Client {
    let client = vhost.client().await;
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    client.channel.queue_declare(HEARD.into(), durable, FieldTable::default()).await.unwrap();
    let bind = QueueBindOptions::default();
    client
        .channel
        .queue_bind(HEARD.into(), NOTICES_EXCHANGE.into(), "acme.#".into(), bind, FieldTable::default())
        .await
        .unwrap();
    client
}

/// The next so many notices, by their routing keys; there are no more.
async fn heard(client: &Client, world: &World, count: usize) -> BTreeMap<String, Value> {
    let mut notices = BTreeMap::new();
    for _ in 0..count {
        let message = client.take(HEARD).await;
        assert_eq!(*message.properties.delivery_mode(), Some(2));
        let kind = message.properties.content_type().as_ref().unwrap().as_str();
        assert_eq!(kind, "application/cloudevents+json");
        let event: Value = serde_json::from_slice(&message.data).unwrap();
        let key = message.routing_key.as_str();
        assert_eq!(key, format!("acme.{}", event["type"].as_str().unwrap()));
        assert_eq!((&event["specversion"], &event["source"]), (&json!("1.0"), &json!("signalpost")));
        assert!(event["id"].is_string() && event["time"].is_string(), "{event}");
        let before = notices.insert(key.to_owned(), event["data"].clone());
        assert!(before.is_none(), "{key} is told twice");
    }
    until("all are told", async || world.number("select count(*) from notices").await == 0).await;
    assert_eq!(client.ready(HEARD).await, 0, "and no more of them");
    notices
}

async fn wish(world: &World, notices: &[&str]) {
    let url = format!("{}/v1/project", world.nodes[0].base);
    let read = world.client.get(&url).bearer_auth(world.key.expose()).send().await.unwrap();
    let request = world.client.patch(url).header("if-match", &read.headers()["etag"]);
    let request = request.bearer_auth(world.key.expose()).header("content-type", "application/json");
    let answer = request.body(json!({ "notices": notices }).to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    world.nudge().await;
}

/// A password is changed, an event is refused, a dispatch dies: that one.
async fn act(world: &World) -> String {
    let changed = world.publish("password-changed", json!({ "member": "ada", "by": "reset" })).await;
    assert_eq!(changed.said(), (202, "dispatched"));
    let refused = world.publish("signed-in", json!({ "member": 5 })).await;
    assert_eq!(refused.said(), (400, "invalid"), "{refused:?}");
    let dispatch = world.ask_reset("bob").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "dead rejected");
    dispatch
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_told_once_to_whoever_listens_and_only_what_the_project_wants() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("notices");
    let refuse = Step::reply_at(At::Rcpt, "550 5.1.1 no such user").to("bob@example.com").always();
    let world = world(&vhost, Sink::builder().usual().script([refuse])).await;
    let client = listener(&vhost).await;
    world.member("ada").await;
    world.member("bob").await;

    let dispatch = act(&world).await;
    let notices = heard(&client, &world, 3).await;
    let changed = json!({ "member": "mem_ada", "by": "reset" });
    assert_eq!(notices["acme.account.password-changed"], changed);
    let refused = &notices["acme.event.refused"];
    for (name, value) in
        [("type", "account.signed-in"), ("outcome", "invalid"), ("reason", "invalid"), ("field", "member")]
    {
        assert_eq!(refused[name], value, "{refused}");
    }
    let names: Vec<&String> = refused.as_object().unwrap().keys().collect();
    let expected = ["detail", "dispatches", "event_id", "field", "id", "outcome", "reason", "source", "type"];
    assert_eq!(names, expected);
    let dead = &notices["acme.dispatch.dead"];
    let event = world.dispatch(&dispatch).await["event_id"].clone();
    let shown = world.get(&format!("/v1/events/{}", event.as_str().unwrap())).await.json;
    let expected = json!({
        "dispatch_id": dispatch, "event_id": event, "source": shown["source"], "id": shown["source_id"],
        "state": "dead", "reason": "rejected",
    });
    assert_eq!(*dead, expected);

    wish(&world, &[]).await;
    act(&world).await;
    assert!(heard(&client, &world, 0).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn by_its_wish_a_project_is_told_of_events_that_are_settled_and_of_mail_that_is_sent_or_comes_back() {
    let _broker = BROKER.read().await;
    let vhost = Vhost::new("wishes");
    let world = world(&vhost, Sink::builder().usual()).await;
    world.member("ada").await;
    wish(&world, &["event.settled", "dispatch.*"]).await;
    let client = listener(&vhost).await;
    let dispatch = world.ask_reset("ada").await;
    let notices = heard(&client, &world, 2).await;
    let settled = &notices["acme.event.settled"];
    assert_eq!((&settled["outcome"], &settled["dispatches"]), (&json!("dispatched"), &json!([dispatch])));
    let sent = &notices["acme.dispatch.sent"];
    assert_eq!((&sent["dispatch_id"], &sent["state"]), (&json!(dispatch), &json!("sent")));

    let message_id = world.dispatch(&dispatch).await["message_id"].as_str().unwrap().to_owned();
    let report = format!(
        "From: MAILER-DAEMON@mx.example\nIn-Reply-To: {message_id}\nAuto-Submitted: auto-replied\nContent-Type: \
         multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nIt failed.\n--b\nContent-Type: \
         message/delivery-status\n\nReporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; \
         ada@example.com\nAction: failed\nStatus: 5.1.1\n--b--\n"
    );
    for _ in 0..2 {
        let request = world.client.post(format!("{}/v1/inbound", world.nodes[0].base));
        let request = request.bearer_auth(world.key.expose()).header("content-type", "message/rfc822");
        let answer = Answer::of(request.body(report.clone()).send().await.unwrap()).await;
        assert_eq!(answer.json["dispatch_id"], json!(dispatch), "{answer:?}");
    }
    let notices = heard(&client, &world, 1).await;
    let bounced = &notices["acme.dispatch.bounced"];
    assert_eq!(bounced["dispatch_id"], json!(dispatch), "{bounced}");
    assert_eq!((&bounced["state"], &bounced["reason"]), (&json!("sent"), &json!("5.1.1")));
}
