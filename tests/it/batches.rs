//! One bad event never spoils a batch: it is refused with its reason, and all others are planned.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::world::World;

const RESET: &str = "password-reset-requested";

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("m{number}"))
}

/// Events that nobody could plan, each with the code and the field of its refusal.
fn poison(world: &World) -> Vec<(Value, &'static str, Option<&'static str>)> {
    let with = |name: &str, value: Value| {
        let mut event = world.event(RESET, &json!({ "member": "m1" }));
        event[name] = value;
        event
    };
    let without = |name: &str| {
        let mut event = with("source", json!("/shop"));
        event.as_object_mut().unwrap().remove(name);
        event
    };
    let ask = |data: Value| world.event(RESET, &data);
    let nested = (0..40).fold(json!(1), |inner, _| json!([inner]));
    vec![
        (ask(json!({ "member": "m\u{0}1" })), "invalid", Some("member")),
        (ask(json!({ "member": 5 })), "invalid", Some("member")),
        (ask(json!({ "member": ["m1"] })), "invalid", Some("member")),
        (ask(json!({})), "invalid", Some("member")),
        (ask(json!("text")), "invalid", Some("data")),
        (ask(Value::Null), "invalid", Some("data")),
        (ask(json!({ "member": "m1", "reason": "because" })), "invalid", Some("reason")),
        (ask(json!({ "member": "m1", "more": "x".repeat(300_000) })), "invalid", None),
        (ask(json!({ "member": "m1", "more": nested })), "invalid", None),
        (ask(json!({ "member": "nobody" })), "unknown-member", Some("member")),
        (with("type", json!("account.unheard-of")), "unknown-type", Some("type")),
        (with("type", json!(7)), "invalid", Some("type")),
        (with("id", json!("")), "invalid", Some("id")),
        (with("id", json!("x".repeat(256))), "invalid", Some("id")),
        (with("source", json!("a\u{0}b")), "invalid", Some("source")),
        (with("time", json!("yesterday")), "invalid", Some("time")),
        (with("time", json!("2999-01-01T00:00:00Z")), "invalid", Some("time")),
        (with("specversion", json!("0.3")), "invalid", Some("specversion")),
        (without("id"), "invalid", Some("id")),
        (without("specversion"), "invalid", Some("specversion")),
        (json!("no event"), "invalid", None),
    ]
}

#[tokio::test]
async fn of_500_good_events_with_poison_among_them_500_are_mailed_and_each_bad_one_is_told_why() {
    let world = World::start().await;
    world.members(names(500)).await;
    let poison = poison(&world);
    let mut events: Vec<Value> =
        names(500).map(|name| world.event(RESET, &json!({ "member": name }))).collect();
    for (number, (event, ..)) in poison.iter().enumerate() {
        events.insert(number * 20, event.clone());
    }
    let (answers, _) = world.while_time_passes(world.post("/v1/events", json!(events))).await;
    let answers = answers.json.as_array().unwrap().clone();
    assert_eq!(answers.len(), events.len());
    for (number, (event, code, field)) in poison.iter().enumerate() {
        let answer = &answers[number * 20];
        assert_eq!(answer["code"], *code, "{event:.200} {answer}");
        if field.is_some() {
            assert_eq!(answer["field"].as_str(), *field, "{event:.200} {answer}");
        }
    }
    let planned = answers.iter().filter(|answer| answer["outcome"] == "dispatched").count();
    assert_eq!(planned, 500);
    world.until_idle().await;
    let mailed: BTreeSet<String> = world.mails().into_iter().map(|mail| mail.recipient).collect();
    assert_eq!((world.mails().len(), mailed.len()), (500, 500));
    assert_eq!(world.number("select count(*) from dispatches where state <> 'sent'").await, 0);
    let noted = world.number("select count(*) from refusals").await;
    assert_eq!(noted, i64::try_from(poison.len()).unwrap(), "each refusal can be looked up");
}

#[tokio::test]
async fn an_event_that_only_the_database_refuses_is_split_out() {
    let world = World::start().await;
    let rule = if world.is_postgres() {
        "alter table members add check (first_name <> 'unstorable')"
    } else {
        "create trigger no_such_name before insert on members when new.first_name = 'unstorable' \
         begin select raise(abort, 'refused'); end"
    };
    world.sql(rule).await;
    world.members(names(100)).await;
    let mut events: Vec<Value> =
        names(100).map(|name| world.event(RESET, &json!({ "member": name }))).collect();
    let unstorable = json!({ "username": "zero", "email": "zero@example.com", "first_name": "unstorable" });
    events.insert(50, world.event("created", &unstorable));
    let answers = world.post("/v1/events", json!(events)).await;
    let odd = &answers.json[50];
    assert_eq!((&odd["code"], &odd["field"]), (&json!("invalid"), &json!("data")), "{odd}");
    let planned = answers.json.as_array().unwrap().iter().filter(|one| one["outcome"] == "dispatched");
    assert_eq!(planned.count(), 100);
    world.until_idle().await;
    assert_eq!(world.mails().len(), 100);
}

#[tokio::test]
async fn two_creations_of_one_address_in_one_batch_leave_one_member_and_one_refusal() {
    let world = World::start().await;
    let data =
        |id: &str| json!({ "id": id, "username": id.trim_start_matches("mem_"), "email": "ada@example.com" });
    let (one, mut two) = (world.event("created", &data("mem_a")), world.event("created", &data("mem_b")));
    two["time"] = (world.clock.now() + TimeDelta::seconds(1)).to_rfc3339().into();
    let answers = world.post("/v1/events", json!([two, one])).await.json;
    assert_eq!((&answers[0]["code"], &answers[1]["outcome"]), (&json!("email-in-use"), &json!("applied")));
}
