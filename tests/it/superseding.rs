//! Two requests of one member: one live token, the newest by `time`, wherever and in whatever order they come.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::support::services::Services;
use super::world::{Setup, World};

const RESET: &str = "password-reset-requested";

/// A request of ada's, so many milliseconds from now.
fn request(world: &World, after: i64) -> Value {
    let mut event = world.event(RESET, &json!({ "member": "ada" }));
    event["time"] = (world.clock.now() + TimeDelta::milliseconds(after)).to_rfc3339().into();
    event
}

#[tokio::test]
async fn of_two_requests_in_one_batch_only_the_newest_is_mailed() {
    let world = World::start().await;
    world.member("ada").await;
    for newest_first in [false, true] {
        world.pass(TimeDelta::seconds(10)).await;
        let mut events = vec![request(&world, 0), request(&world, 1)];
        if newest_first {
            events.reverse();
        }
        let before = world.mails().len();
        let answers = world.post("/v1/events", json!(events)).await.json;
        world.until_idle().await;
        let (older, newer) = if newest_first { (1, 0) } else { (0, 1) };
        let id = |place: usize| answers[place]["dispatches"][0].as_str().unwrap().to_owned();
        assert_eq!(world.state(&id(older)).await, "cancelled superseded");
        assert_eq!(world.state(&id(newer)).await, "sent");
        assert_eq!(world.mails().len(), before + 1);
        assert_eq!(world.inspect(&world.token_of(&id(newer)).await).await, "good");
    }
}

#[tokio::test]
async fn a_request_that_comes_late_neither_mails_nor_replaces_the_newer_token() {
    let world = World::start().await;
    world.member("ada").await;
    let token = world.reset_token("ada").await;
    let late = world.publish_aged(TimeDelta::seconds(1), RESET, json!({ "member": "ada" })).await;
    assert_eq!(late.said(), (202, "dispatched"));
    world.until_idle().await;
    assert_eq!(world.state(&late.dispatch()).await, "cancelled superseded");
    assert_eq!(world.inspect(&token).await, "good");
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test]
async fn a_late_request_does_not_bring_a_used_token_back() {
    let world = World::start().await;
    world.member("ada").await;
    let token = world.reset_token("ada").await;
    let redeemed = json!({ "token": token, "purpose": "reset-password" });
    assert_eq!(world.post("/v1/tokens/redeem", redeemed).await.status, 200);
    let late = world.publish_aged(TimeDelta::seconds(1), RESET, json!({ "member": "ada" })).await;
    world.until_idle().await;
    assert_eq!(world.state(&late.dispatch()).await, "cancelled superseded");
    assert_eq!(world.inspect(&token).await, "used");
}

#[tokio::test]
async fn of_two_requests_in_two_workers_at_once_the_newest_has_the_live_token() {
    if !Services::wants_postgres() {
        return;
    }
    let world = World::with(Setup { nodes: 2, ..Setup::default() }).await;
    world.member("ada").await;
    for round in 0..50 {
        world.pass(TimeDelta::seconds(10)).await;
        let (older, newer) = (request(&world, 0), request(&world, 1));
        let (here, there) = (round % 2, 1 - round % 2);
        let (older, newer) = tokio::join!(
            world.post_to(here, "/v1/events", &older),
            world.post_to(there, "/v1/events", &newer),
        );
        world.until_idle().await;
        assert_eq!(world.state(&newer.dispatch()).await, "sent");
        assert_eq!(world.inspect(&world.token_of(&newer.dispatch()).await).await, "good");
        match world.state(&older.dispatch()).await.as_str() {
            "sent" => {
                let token = world.token_of(&older.dispatch()).await;
                assert_eq!(world.inspect(&token).await, "replaced");
            }
            state => assert_eq!(state, "cancelled superseded"),
        }
    }
    assert_eq!(world.number("select count(*) from tokens").await, 1);
}
