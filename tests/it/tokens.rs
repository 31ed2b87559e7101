//! A reset from the request to the new password, and what ends a token before it is used.

use chrono::TimeDelta;
use serde_json::json;

use super::support::sink::{At, Sink, Step};
use super::world::World;

#[tokio::test]
async fn a_reset_arrives_with_a_token_that_sets_a_password_once() {
    let world = World::start().await;
    world.member("ada").await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "sent");
    assert_eq!(world.attempts(&dispatch).await, ["accepted 250"]);
    assert_eq!(world.mails().len(), 1);
    assert_eq!(world.mails()[0].recipient, "ada@example.com");

    let token = world.token_of(&dispatch).await;
    assert_eq!(world.inspect(&token).await, "good");
    let done = world.complete(&token).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json["member"]["id"], "mem_ada");
    let again = world.complete(&token).await;
    assert_eq!((again.said(), &again.json["reason"]), ((410, "token-invalid"), &json!("used")));
    world.until_idle().await;
    assert_eq!(world.mails().len(), 2, "the member is told that the password was changed");
    assert_eq!(world.mails()[1].token, None);
}

#[tokio::test]
async fn a_weak_password_leaves_the_token_good() {
    let world = World::start().await;
    world.member("ada").await;
    let token = world.reset_token("ada@example.com").await;
    let body = json!({ "token": token, "new_password": "password" });
    let refused = world.post("/v1/password-resets/complete", body).await;
    assert_eq!(refused.said(), (422, "weak-password"));
    assert_eq!(world.complete(&token).await.status, 200);
}

#[tokio::test]
async fn a_token_expires_30_minutes_after_its_mail_was_tried() {
    let world = World::start().await;
    world.member("ada").await;
    let token = world.reset_token("ada").await;
    world.pass(TimeDelta::minutes(30) - TimeDelta::seconds(1)).await;
    assert_eq!(world.inspect(&token).await, "good");
    world.pass(TimeDelta::seconds(1)).await;
    assert_eq!(world.inspect(&token).await, "expired");
    assert_eq!(world.complete(&token).await.json["reason"], "expired");
}

#[tokio::test]
async fn an_unknown_member_is_refused_after_5_seconds() {
    let world = World::start().await;
    let asking = world.publish("password-reset-requested", json!({ "member": "nobody" }));
    let (answer, passed) = world.while_time_passes(asking).await;
    assert_eq!(answer.said(), (404, "unknown-member"));
    assert!((5..=7).contains(&passed), "after {passed} s");
    assert_eq!(world.number("select count(*) from refusals where reason = 'unknown-member'").await, 1);
}

#[tokio::test]
async fn an_event_waits_for_the_one_that_creates_its_member() {
    let world = World::start().await;
    let mut created = world.event("created", &json!({ "username": "ada", "email": "ada@example.com" }));
    // Planned in the order of their times, so the request comes before its member.
    created["time"] = (world.clock.now() + TimeDelta::seconds(1)).to_rfc3339().into();
    let request = world.event("password-reset-requested", &json!({ "member": "ada" }));
    let answers = world.post("/v1/events", json!([request, created])).await;
    assert_eq!(answers.json[0]["outcome"], "dispatched", "{answers:?}");
    assert_eq!(answers.json[1]["outcome"], "applied");
    world.until_idle().await;
    assert_eq!(world.mails_to("ada@example.com").len(), 1);
}

#[tokio::test]
async fn a_later_request_replaces_the_token_and_cancels_its_unsent_mail() {
    let world = World::start().await;
    world.member("ada").await;
    let first = world.reset_token("ada").await;
    world.pass(TimeDelta::seconds(10)).await;
    world.pause().await;
    let unsent = world.ask_reset("ada").await;
    assert_eq!(world.inspect(&first).await, "replaced");
    world.pass(TimeDelta::seconds(10)).await;
    let newest = world.ask_reset("ada").await;
    assert_eq!(world.state(&unsent).await, "cancelled superseded");
    world.resume().await;
    world.until_idle().await;
    assert_eq!(world.mails().len(), 2, "the first and the newest");
    let token = world.token_of(&newest).await;
    assert_eq!(world.complete(&token).await.status, 200);
}

#[tokio::test]
async fn a_password_change_ends_the_token_and_cancels_its_unsent_mail() {
    let world = World::start().await;
    world.member("ada").await;
    world.member("bob").await;
    let token = world.reset_token("ada").await;
    let other = world.reset_token("bob").await;
    world.pause().await;
    world.pass(TimeDelta::seconds(10)).await;
    let unsent = world.ask_reset("ada").await;
    let told = world.publish("password-changed", json!({ "member": "ada" })).await;
    assert_eq!(told.said(), (202, "dispatched"));
    assert_eq!(world.inspect(&token).await, "replaced");
    assert_eq!(world.state(&unsent).await, "cancelled superseded");
    assert_eq!(world.inspect(&other).await, "good", "another member's");
    world.resume().await;
    world.until_idle().await;
    assert_eq!(world.state(&unsent).await, "cancelled superseded");
    assert_eq!(world.mails_to("ada@example.com").len(), 2, "the first reset, and the notice");
}

#[tokio::test]
async fn a_change_of_address_ends_the_token_and_the_old_mailbox_gets_the_way_back_alone() {
    let world = World::start().await;
    world.member("ada").await;
    let token = world.reset_token("ada").await;
    world.pause().await;
    world.pass(TimeDelta::seconds(10)).await;
    let unsent = world.ask_reset("ada").await;
    let moved = world.publish("updated", json!({ "id": "mem_ada", "email": "ada@new.example" })).await;
    assert_eq!(moved.status, 202, "{moved:?}");
    assert_eq!(world.inspect(&token).await, "replaced");
    assert_eq!(world.state(&unsent).await, "cancelled superseded");
    world.resume().await;
    world.until_idle().await;
    assert_eq!(world.mails_to("ada@example.com").len(), 2, "what was sent before, and the way back");
    world.pass(TimeDelta::seconds(10)).await;
    let token = world.reset_token("mem_ada").await;
    assert_eq!(world.mails_to("ada@new.example").len(), 2, "that it changed, and the reset");
    assert_eq!(world.complete(&token).await.status, 200);
}

#[tokio::test]
async fn deletion_ends_the_token_and_cancels_all_unsent_mail() {
    let world = World::start().await;
    world.member("ada").await;
    let token = world.reset_token("ada").await;
    world.pause().await;
    world.pass(TimeDelta::seconds(10)).await;
    let notice = world.publish("password-changed", json!({ "member": "ada" })).await.dispatch();
    world.pass(TimeDelta::seconds(10)).await;
    let reset = world.ask_reset("ada").await;
    assert_eq!(world.publish("deleted", json!({ "member": "ada" })).await.said(), (202, "applied"));
    assert_eq!(world.inspect(&token).await, "replaced");
    assert_eq!(world.state(&notice).await, "cancelled member-deleted");
    assert!(world.state(&reset).await.starts_with("cancelled"));
    world.resume().await;
    world.until_idle().await;
    assert_eq!(world.mails().len(), 1, "what was sent before");
}

#[tokio::test]
async fn a_mail_that_is_being_sent_when_its_member_is_deleted_is_not_tried_again() {
    let later = Step::reply_at(At::Rcpt, "451 4.3.0 later");
    let world = World::with_sink(Sink::builder().usual().script([later])).await;
    world.member("ada").await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "pending");
    world.publish("deleted", json!({ "member": "ada" })).await;
    world.pass(TimeDelta::minutes(1)).await;
    world.until_idle().await;
    assert!(world.state(&dispatch).await.starts_with("cancelled"));
    assert_eq!(world.mails().len(), 0);
}
