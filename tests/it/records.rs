//! What becomes of events that are late, twice there, or for a member that is gone.

use chrono::TimeDelta;
use serde_json::json;

use super::world::World;

#[tokio::test]
async fn a_deleted_member_stays_deleted_when_an_older_update_arrives() {
    let world = World::start().await;
    world.member("ada").await;
    world.pass(TimeDelta::minutes(10)).await;
    world.publish("deleted", json!({ "member": "mem_ada" })).await;
    let data = json!({ "id": "mem_ada", "username": "ada", "email": "ada@example.com" });
    for kind in ["updated", "created"] {
        let late = world.publish_aged(TimeDelta::minutes(5), kind, data.clone()).await;
        assert_eq!(late.said(), (202, "stale"), "{kind}");
    }
    let late = world.publish("updated", data.clone()).await;
    assert_eq!(late.said(), (202, "stale"), "an update brings nobody back, whatever its time");
    assert_eq!(world.get("/v1/members/mem_ada").await.status, 404);
    world.pass(TimeDelta::seconds(1)).await;
    assert_eq!(world.publish("created", data).await.said(), (202, "applied"), "a later creation does");
    assert_eq!(world.get("/v1/members/ada").await.json["id"], "mem_ada");
}

#[tokio::test]
async fn a_request_from_before_the_deletion_issues_no_token_to_the_member_that_came_back() {
    let world = World::start().await;
    world.member("ada").await;
    world.pass(TimeDelta::minutes(1)).await;
    world.publish("deleted", json!({ "member": "ada" })).await;
    world.pass(TimeDelta::minutes(1)).await;
    world.member("ada").await;
    let age = TimeDelta::seconds(90);
    let late = world.publish_aged(age, "password-reset-requested", json!({ "member": "mem_ada" })).await;
    world.until_idle().await;
    assert_eq!(world.state(&late.dispatch()).await, "cancelled superseded");
    assert_eq!(world.mails().len(), 0);
}

#[tokio::test]
async fn the_newest_time_wins_whatever_comes_first() {
    let world = World::start().await;
    let data = |name: &str| json!({ "id": "mem_ada", "email": "ada@example.com", "first_name": name });
    let age = TimeDelta::minutes(1);
    assert_eq!(world.publish("created", data("newest")).await.said(), (202, "applied"));
    assert_eq!(world.publish_aged(age, "updated", data("older")).await.said(), (202, "stale"));
    assert_eq!(world.publish_aged(age, "created", data("older")).await.said(), (202, "stale"));
    assert_eq!(world.publish_aged(-age, "updated", data("later")).await.said(), (202, "applied"));
    assert_eq!(world.publish("updated", data("between")).await.said(), (202, "stale"));
    assert_eq!(world.get("/v1/members/mem_ada").await.json["first_name"], "later");
}

#[tokio::test]
async fn within_one_batch_the_times_decide_and_not_the_order() {
    let world = World::start().await;
    let names = ["third", "first", "second"];
    let events = names.map(|name| {
        let data = json!({ "id": "mem_ada", "email": format!("{name}@example.com"), "first_name": name });
        let mut event = world.event(if name == "first" { "created" } else { "updated" }, &data);
        let seconds = ["first", "second", "third"].iter().position(|one| *one == name).unwrap();
        let time = world.clock.now() + TimeDelta::seconds(i64::try_from(seconds).unwrap());
        event["time"] = time.to_rfc3339().into();
        event
    });
    let answers = world.post("/v1/events", json!(events)).await;
    let outcomes: Vec<&str> =
        answers.json.as_array().unwrap().iter().filter_map(|one| one["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["dispatched", "applied", "dispatched"], "each change of the address is told");
    assert_eq!(world.get("/v1/members/mem_ada").await.json["email"], "third@example.com");
}

#[tokio::test]
async fn a_request_older_than_max_age_is_stale_and_mails_nothing() {
    let world = World::start().await;
    world.member("ada").await;
    let ask = json!({ "member": "ada" });
    let late = world.publish_aged(TimeDelta::minutes(121), "password-reset-requested", ask.clone()).await;
    assert_eq!(late.said(), (202, "stale"));
    let id = late.json["event_id"].as_str().unwrap();
    let event = world.get(&format!("/v1/events/{id}")).await;
    assert_eq!(event.json["outcome"], "stale");
    assert_eq!(event.json["automations"][0]["matched"], false);
    let just = world.publish_aged(TimeDelta::minutes(119), "password-reset-requested", ask).await;
    assert_eq!(just.said(), (202, "dispatched"));
    world.until_idle().await;
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test]
async fn a_time_more_than_5_minutes_ahead_is_invalid() {
    let world = World::start().await;
    world.member("ada").await;
    let ask = json!({ "member": "ada" });
    let ahead = world.publish_aged(-TimeDelta::seconds(301), "signed-in", ask.clone()).await;
    assert_eq!((ahead.said(), &ahead.json["field"]), ((400, "invalid"), &json!("time")));
    assert_eq!(world.publish_aged(-TimeDelta::seconds(300), "signed-in", ask).await.status, 202);
}

#[tokio::test]
async fn a_duplicate_gets_the_first_answer_and_an_id_with_other_data_is_refused() {
    let world = World::start().await;
    world.member("ada").await;
    world.member("bob").await;
    let event = world.event("password-reset-requested", &json!({ "member": "ada" }));
    let first = world.post("/v1/events", event.clone()).await;
    world.pass(TimeDelta::seconds(10)).await;
    let mut again = event.clone();
    again["time"] = world.clock.now().to_rfc3339().into();
    let second = world.post("/v1/events", again).await;
    assert_eq!((first.status, second.status), (202, 200));
    assert_eq!(first.json, second.json);

    let mut other = event.clone();
    other["data"] = json!({ "member": "bob" });
    assert_eq!(world.post("/v1/events", other).await.said(), (409, "id-reused"));
    let mut other = event.clone();
    other["type"] = json!("account.signed-in");
    assert_eq!(world.post("/v1/events", other).await.said(), (409, "id-reused"));
    let mut other = event;
    other["source"] = json!("/another");
    assert_eq!(world.post("/v1/events", other).await.said(), (202, "dispatched"), "another source's id");
    world.until_idle().await;
    assert_eq!(world.mails().len(), 2);
}

#[tokio::test]
async fn within_one_batch_a_duplicate_gets_the_first_answer_too() {
    let world = World::start().await;
    world.member("ada").await;
    let event = world.event("password-reset-requested", &json!({ "member": "ada" }));
    let mut other = event.clone();
    other["data"] = json!({ "member": "ada", "reason": "admin" });
    let answers = world.post("/v1/events", json!([event, event, other])).await.json;
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[2]["code"], "id-reused");
    world.until_idle().await;
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test]
async fn an_address_that_another_member_has_is_refused_and_changes_nothing() {
    let world = World::start().await;
    world.member("ada").await;
    world.member("bob").await;
    let token = world.reset_token("bob").await;
    let refused = world.publish("updated", json!({ "id": "mem_bob", "email": "Ada@Example.com" })).await;
    assert_eq!(refused.said(), (409, "email-in-use"));
    assert_eq!(world.inspect(&token).await, "good");
    assert_eq!(world.get("/v1/members/mem_bob").await.json["email"], "bob@example.com");
}

#[tokio::test]
async fn the_old_address_of_a_member_without_a_username_is_free_for_another() {
    let world = World::start().await;
    let data = |id: &str, email: &str| json!({ "id": id, "email": email });
    world.publish("created", data("mem_a", "ada@example.com")).await;
    let moved = world.publish("updated", data("mem_a", "ada@new.example")).await;
    assert_eq!(moved.said(), (202, "dispatched"));
    assert_eq!(world.publish("created", data("mem_b", "ada@example.com")).await.said(), (202, "applied"));
    assert_eq!(world.get("/v1/members/ada@example.com").await.json["id"], "mem_b");
    assert_eq!(world.get("/v1/members/ada@new.example").await.json["id"], "mem_a");
}
