//! Workers that die, fall silent, or stop: nothing is lost, and what was settled stays settled.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::support::services::Services;
use super::support::sink::{At, Fault, Sink, Step};
use super::world::{Setup, World, until};

const RESET: &str = "password-reset-requested";

impl World {
    /// All workers but the newest seem to have been silent for longer than 30 s, which the newest notices.
    async fn fence_the_others(&self) {
        self.sql("update workers set heartbeat = heartbeat - interval '31 seconds' where id < (select max(id) from workers)")
            .await;
        let newest = self.nodes.last().unwrap().app.as_ref().unwrap();
        newest.engine.sender.as_ref().unwrap().lease.rescue().await.unwrap();
        self.nudge().await;
    }
}

#[tokio::test]
async fn what_a_killed_worker_had_in_hand_is_sent_by_the_next() {
    let sink = Sink::builder().usual().script([Step::silence_at(At::Rcpt).times(2)]);
    let mut world = World::with(Setup { sink, connections: 2, ..Setup::default() }).await;
    world.members((0..40).map(|number| format!("m{number}"))).await;
    for number in 0..40 {
        world.ask_reset(&format!("m{number}")).await;
    }
    let held = "select count(*) from dispatches where state = 'pending' and holder is not null";
    assert_eq!(world.number(held).await, 40);
    world.kill(0);
    world.start_node().await;
    if world.is_postgres() {
        assert_eq!(world.number(held).await, 40, "the dead worker may still be alive");
        world.fence_the_others().await;
    }
    world.until_idle().await;
    assert_eq!(world.number("select count(*) from dispatches where state = 'sent'").await, 40);
    let recipients: BTreeSet<String> = world.mails().into_iter().map(|mail| mail.recipient).collect();
    assert_eq!((world.mails().len(), recipients.len()), (40, 40));
}

#[tokio::test]
async fn what_a_worker_committed_after_it_was_declared_dead_is_found() {
    let sink = Sink::builder().usual().script([Step::silence_at(At::Rcpt)]);
    let mut world = World::with_sink(sink).await;
    world.member("ada").await;
    let dispatch = world.ask_reset("ada").await;
    world.start_node().await;
    let (old, new) = (world.nodes[0].worker(), world.nodes[1].worker());
    assert!(old < new);
    world.kill(0);
    // As if its rows had been given back before its last transaction ended.
    world.sql("update dispatches set holder = (select min(id) from workers)").await;
    world.sql("update workers set dead_at = '2026-07-01T12:00:00+00:00' where id = (select min(id) from workers)").await;
    world.app(1).engine.sender.as_ref().unwrap().lease.rescue().await.unwrap();
    world.nudge().await;
    world.until_state(&dispatch, "sent").await;
}

#[tokio::test]
async fn a_fenced_worker_settles_nothing_and_goes_on_under_a_new_number() {
    if !Services::wants_postgres() {
        return;
    }
    let slow = Step::new(At::Dot, Fault::Delay(Duration::from_secs(2)));
    let mut world = World::with_sink(Sink::builder().usual().script([slow])).await;
    world.member("ada").await;
    let dispatch = world.ask_reset("ada").await;
    let sink = &world.sink;
    until("the body is under way", async || sink.count() == 1).await;
    let old = world.nodes[0].worker();
    world.start_node().await;
    world.fence_the_others().await;
    world.until_state(&dispatch, "sent").await;
    let (attempts, sent_at) =
        (world.attempts(&dispatch).await, world.dispatch(&dispatch).await["sent_at"].clone());
    assert_eq!(attempts, ["accepted 250"], "the new worker's");
    world.clock.advance(chrono::TimeDelta::seconds(1));
    // The fenced one has its answer by the time that it has sent another mail on that connection.
    world.app(0).engine.sender.as_ref().unwrap().lease.renew().await.unwrap();
    assert!(world.nodes[0].worker() > old);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let answer = world.post_to(0, "/v1/events", &world.event(RESET, &json!({ "member": "ada" }))).await;
    world.until_state(&answer.dispatch(), "sent").await;
    assert_eq!(world.attempts(&dispatch).await, attempts);
    assert_eq!(world.dispatch(&dispatch).await["sent_at"], sent_at);
    let copies = world.mails();
    assert_eq!(copies.len(), 3);
    assert_eq!(copies[0].message_id, copies[1].message_id, "a copy, and known as one");
}

#[tokio::test]
async fn an_orderly_stop_gives_everything_back_and_the_next_worker_doubles_nothing() {
    let slow = Step::new(At::Dot, Fault::Delay(Duration::from_millis(20))).always();
    let sink = Sink::builder().usual().script([slow]);
    let mut world = World::with(Setup { sink, connections: 2, ..Setup::default() }).await;
    let names = || (0..300).map(|number| format!("m{number}"));
    world.members(names()).await;
    let events: Vec<_> = names().map(|name| world.event(RESET, &json!({ "member": name }))).collect();
    world.post("/v1/events", json!(events)).await;
    world.sink.wait_for(20, Duration::from_secs(10)).await;
    world.stop(0).await;
    let sent = i64::try_from(world.sink.count()).unwrap();
    assert!(sent < 300, "the test stops it midway");
    assert_eq!(world.number("select count(*) from dispatches where holder is not null").await, 0);
    assert_eq!(world.number("select count(*) from dispatches where state = 'sent'").await, sent);
    world.start_node().await;
    world.until_idle().await;
    let ids: BTreeSet<String> = world.mails().into_iter().map(|mail| mail.message_id).collect();
    assert_eq!((world.mails().len(), ids.len()), (300, 300));
}

#[tokio::test]
async fn a_stop_while_a_server_is_silent_ends_within_20_seconds_and_gives_the_mail_back() {
    let sink = Sink::builder().usual().script([Step::silence_at(At::Dot)]);
    let mut world = World::with_sink(sink).await;
    world.member("ada").await;
    world.ask_reset("ada").await;
    until("the mail is under way", async || world.sink.lines().iter().any(|line| line == "DATA")).await;
    let begun = Instant::now();
    world.stop(0).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(world.number("select count(*) from dispatches where holder is not null").await, 0);
    world.start_node().await;
    world.until_idle().await;
    assert_eq!(world.number("select count(*) from dispatches where state = 'sent'").await, 1);
}
