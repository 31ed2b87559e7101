//! What is not mailed, or not yet: more mail than strangers may cause, and what is paused.

use chrono::TimeDelta;
use serde_json::json;
use signalpost::pipeline::{Payload, decode};

use super::world::World;

/// With the throttles that every project has unless it says otherwise.
async fn throttled_world() -> World {
    let world = World::start().await;
    world.sql("update projects set settings = replace(replace(settings, '\"recipient\":\"100000/h\"', '\"recipient\":\"5/h\"'), '\"client\":\"100000/h\"', '\"client\":\"20/h\"')").await;
    world.sql("update catalogue set revision = revision + 1").await;
    world.nudge().await;
    world
}

async fn outcome(world: &World, kind: &str, data: serde_json::Value) -> String {
    let answer = world.publish(kind, data).await;
    world.until_idle().await;
    answer.json["outcome"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_sixth_request_of_an_hour_is_held_back_and_leaves_the_token_before_it_good() {
    let world = throttled_world().await;
    world.members(["ada".to_owned(), "bob".to_owned()]).await;
    let ask = async |member: &str, reason: &str| {
        world.pass(TimeDelta::seconds(1)).await;
        outcome(&world, "password-reset-requested", json!({ "member": member, "reason": reason })).await
    };
    for _ in 0..5 {
        assert_eq!(ask("ada", "member").await, "dispatched");
    }
    let token = world.mails().last().unwrap().token.clone().unwrap();
    assert_eq!(ask("ADA@example.com", "member").await, "throttled");
    assert_eq!(world.inspect(&token).await, "good");
    assert_eq!(world.mails().len(), 5);
    assert_eq!(ask("ada", "admin").await, "dispatched", "an administrator is no stranger");
    assert_eq!(ask("bob", "member").await, "dispatched", "each recipient has a count of its own");
    let changed = outcome(&world, "password-changed", json!({ "member": "ada" })).await;
    assert_eq!(changed, "dispatched", "a notice is never held back");
    world.pass(TimeDelta::hours(1)).await;
    assert_eq!(ask("ada", "member").await, "dispatched");
}

#[tokio::test]
async fn one_batch_has_no_more_than_the_throttle_lets_through() {
    let world = throttled_world().await;
    world.members((0..10).map(|number| format!("m{number}"))).await;
    let event = |number: usize| {
        let data = json!({ "member": format!("m{}", number % 10), "new_email": "one@new.example" });
        world.event("email-change-requested", &data)
    };
    let answers = world.post("/v1/events", (0..10).map(event).collect()).await.json;
    let count =
        |wanted: &str| answers.as_array().unwrap().iter().filter(|one| one["outcome"] == wanted).count();
    assert_eq!((count("dispatched"), count("throttled")), (5, 5), "{answers}");
    assert_eq!(world.number("select cast(count as bigint) from throttles").await, 5);
}

#[tokio::test]
async fn a_client_is_held_back_after_twenty_whoever_it_asks_for() {
    let world = throttled_world().await;
    world.members((0..22).map(|number| format!("m{number}"))).await;
    let mut outcomes = Vec::new();
    for number in 0..22 {
        let event = world.event("password-reset-requested", &json!({ "member": format!("m{number}") }));
        let incoming = decode::read_structured(event, "acme", world.clock.now()).unwrap();
        let client = Some("192.0.2.7".parse().unwrap());
        let planned = world.app(0).engine.intake.submit_for(Payload::Event(incoming), client).await.unwrap();
        let signalpost::domain::event::Planned::Accepted { outcome, .. } = planned else { panic!() };
        outcomes.push(outcome);
    }
    assert!(outcomes[..20].iter().all(|one| *one == "dispatched") && outcomes[20..] == ["throttled"; 2]);
}

#[tokio::test]
async fn what_a_paused_project_or_automation_owes_waits_and_is_charged_nothing() {
    let world = World::start().await;
    world.member("ada").await;
    for (pause, resume) in [
        (
            "update projects set paused_at = '2026-07-01T12:00:00+00:00'",
            "update projects set paused_at = null",
        ),
        (
            "update automations set paused_at = '2026-07-01T12:00:00+00:00' where name = 'Reset password'",
            "update automations set paused_at = null",
        ),
    ] {
        let before = world.mails().len();
        world.sql(pause).await;
        world.sql("update catalogue set revision = revision + 1").await;
        world.nudge().await;
        world.pass(TimeDelta::seconds(10)).await;
        let dispatch = world.ask_reset("ada").await;
        for _ in 0..3 {
            world.pass(TimeDelta::seconds(10)).await;
        }
        assert_eq!((world.state(&dispatch).await.as_str(), world.mails().len()), ("pending", before));
        world.sql(resume).await;
        world.sql("update catalogue set revision = revision + 1").await;
        world.nudge().await;
        world.until_idle().await;
        assert_eq!(world.state(&dispatch).await, "sent");
        assert_eq!(world.attempts(&dispatch).await, ["accepted 250"]);
    }
}

#[tokio::test]
async fn an_event_of_a_registered_type_must_fit_its_schema() {
    let world = World::start().await;
    world.member("ada").await;
    let publish = async |data: serde_json::Value| {
        let mut event = world.event("card", &data);
        event["type"] = "billing.card-expiring".into();
        world.post("/v1/events", event).await
    };
    let unknown = publish(json!({ "member": "ada", "last4": "1234" })).await;
    assert_eq!(unknown.json["code"], "unknown-type");
    world
        .sql(
            r#"insert into event_types (project_id, type, schema, updated_at)
            select id, 'billing.card-expiring', '{"type":"object","required":["member","last4"],
            "properties":{"last4":{"type":"string"}}}', created_at from projects"#,
        )
        .await;
    world.sql("update catalogue set revision = revision + 1").await;
    world.nudge().await;
    let wrong = publish(json!({ "member": "ada", "last4": 1234 })).await;
    assert_eq!(
        (wrong.json["code"].as_str(), wrong.json["field"].as_str()),
        (Some("invalid"), Some("data.last4"))
    );
    let right = publish(json!({ "member": "ada", "last4": "1234" })).await;
    assert_eq!(right.said(), (202, "no-automation"));
}
