//! A token is used once, whoever races for it.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};

use super::acts::PASSWORD;
use super::support::services::Services;
use super::world::{Answer, Setup, World};

/// Requests under way at once.
const AT_ONCE: usize = 256;

async fn world() -> World {
    let nodes = if Services::wants_postgres() { 2 } else { 1 };
    let world = World::with(Setup { nodes, ..Setup::default() }).await;
    world.member("ada").await;
    world
}

/// Posts the same so often, to all processes in turn; how often each answer came.
async fn race(world: &World, path: &str, body: &Value, times: usize) -> BTreeMap<String, usize> {
    let nodes = world.nodes.len();
    let posts = stream::iter(0..times).map(|number| world.post_to(number % nodes, path, body));
    let mut posts = posts.buffer_unordered(AT_ONCE);
    let mut answers = BTreeMap::new();
    while let Some(Answer { status, json }) = posts.next().await {
        let why = json["reason"].as_str().unwrap_or_default();
        *answers.entry(format!("{status} {why}").trim().to_owned()).or_default() += 1;
    }
    answers
}

fn one_and(times: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([("200".to_owned(), 1), ("410 used".to_owned(), times - 1)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_very_many_uses_at_once_exactly_one_succeeds() {
    let times = if Services::is_campaign() { 10_000 } else { 1_000 };
    let world = world().await;
    let token = world.reset_token("ada").await;
    let body = json!({ "token": token, "purpose": "reset-password" });
    assert_eq!(race(&world, "/v1/tokens/redeem", &body, times).await, one_and(times));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_50_new_passwords_by_one_token_at_once_exactly_one_is_set_and_told_of() {
    let world = world().await;
    let token = world.reset_token("ada").await;
    let body = json!({ "token": token, "new_password": PASSWORD });
    assert_eq!(race(&world, "/v1/password-resets/complete", &body, 50).await, one_and(50));
    world.until_idle().await;
    assert_eq!(world.mails().len(), 2, "the reset, and one notice");
}
