//! What becomes of a mail when the server misbehaves: each fault ends as its cause says, and every attempt is
//! shown.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use signalpost::mail::server::Limits;

use super::support::sink::{At, Fault, Sink, Step};
use super::world::{Setup, World, until};

/// A time limit that a test waits for.
const SHORT: Duration = Duration::from_millis(300);

async fn world_with(steps: impl IntoIterator<Item = Step>) -> World {
    let world = World::with_sink(Sink::builder().usual().script(steps)).await;
    world.member("ada").await;
    world
}

/// The charged attempts of a dispatch.
async fn charged(world: &World) -> i64 {
    world.number("select cast(sum(charged) as bigint) from dispatches").await
}

/// Lets time pass up to the next attempt, which must lie so far ahead (± 20 %).
async fn next_attempt(world: &World, dispatch: &str, delay: i64) {
    let wait = world.next_attempt_at(dispatch).await - world.clock.now();
    let (least, most) = (TimeDelta::milliseconds(delay * 800), TimeDelta::milliseconds(delay * 1200));
    assert!((least..=most).contains(&wait), "{wait} is not {delay} s");
    // The clock counts microseconds, and an attempt may be due within one.
    world.pass(wait + TimeDelta::milliseconds(1)).await;
    world.until_idle().await;
}

#[tokio::test]
async fn after_a_transient_reply_it_is_tried_again_with_the_same_token_for_30_more_minutes() {
    let world = world_with([Step::reply_at(At::Rcpt, "451 4.3.0 later")]).await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "pending");
    assert_eq!(world.attempts(&dispatch).await, ["transient 451"]);
    assert_eq!(world.dispatch(&dispatch).await["attempts"][0]["reply"], "451 4.3.0 later");
    next_attempt(&world, &dispatch, 5).await;
    assert_eq!(world.state(&dispatch).await, "sent");
    assert_eq!(world.attempts(&dispatch).await, ["transient 451", "accepted 250"]);
    assert_eq!(world.mails().len(), 1);
    let token = world.token_of(&dispatch).await;
    world.pass(TimeDelta::seconds(30 * 60 - 1)).await;
    assert_eq!(world.inspect(&token).await, "good", "30 minutes count from the attempt");
}

#[tokio::test]
async fn the_delays_grow_and_a_mail_that_max_age_leaves_no_further_try_is_exhausted() {
    let world = world_with([Step::reply_at(At::Rcpt, "450 4.2.1 busy").always()]).await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    for delay in [5, 15, 60, 180, 480, 900] {
        next_attempt(&world, &dispatch, delay).await;
    }
    while world.state(&dispatch).await == "pending" {
        next_attempt(&world, &dispatch, 900).await;
    }
    assert_eq!(world.state(&dispatch).await, "dead exhausted");
    let attempts = world.attempts(&dispatch).await;
    assert!(attempts.iter().all(|one| one == "transient 450"));
    // 5 s + 15 s + 1 min + 3 min + 8 min, and 15 min for what is left of 2 hours, ± 20 %.
    assert!((12..=16).contains(&attempts.len()), "{} attempts", attempts.len());
    assert_eq!(world.mails().len(), 0);
}

#[tokio::test]
async fn a_permanent_reply_to_the_recipient_is_the_end_after_one_attempt() {
    let world = world_with([Step::reply_at(At::Rcpt, "550 5.1.1 no such user")]).await;
    world.member("bob").await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "dead rejected");
    assert_eq!(world.attempts(&dispatch).await, ["permanent 550"]);
    world.pass(TimeDelta::minutes(30)).await;
    let other = world.ask_reset("bob").await;
    world.until_idle().await;
    assert_eq!(world.attempts(&dispatch).await.len(), 1);
    assert_eq!(world.state(&other).await, "sent", "the fault was the recipient's alone");
}

#[tokio::test]
async fn without_a_broker_no_notice_is_kept() {
    let world = world_with([Step::reply_at(At::Rcpt, "550 5.1.1 no such user")]).await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "dead rejected");
    assert_eq!(world.number("select count(*) from notices").await, 0);
}

#[tokio::test]
async fn a_permanent_reply_after_the_dot_is_the_end_after_one_attempt() {
    let world = world_with([Step::reply_at(At::Dot, "554 5.7.1 looks like spam")]).await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "dead rejected");
    assert_eq!(world.attempts(&dispatch).await, ["permanent 554"]);
}

#[tokio::test]
async fn a_refused_login_is_the_integrations_fault_and_mail_goes_out_once_it_is_mended() {
    let refused = Step::reply_at(At::Auth, "535 5.7.8 bad credentials");
    let sink = Sink::builder().usual().auth("PLAIN", "user", "secret").script([refused]);
    let world = World::with(Setup { sink, login: "user:secret@", ..Setup::default() }).await;
    world.member("ada").await;
    world.member("bob").await;
    let first = world.ask_reset("ada").await;
    until("the login was refused", async || !world.attempts(&first).await.is_empty()).await;
    assert_eq!(world.attempts(&first).await, ["integration 535"]);
    assert_eq!(world.state(&first).await, "pending");
    let open = world.app(0).engine.sender.as_ref().unwrap().lanes.open_circuits();
    assert_eq!(open.len(), 1);
    let second = world.ask_reset("bob").await;
    assert_eq!(world.attempts(&second).await, [""; 0], "it waits behind the open circuit");
    world.pass(TimeDelta::seconds(10)).await;
    world.until_idle().await;
    assert_eq!((world.state(&first).await, world.state(&second).await), ("sent".into(), "sent".into()));
    assert_eq!(world.attempts(&first).await, ["integration 535", "accepted 250"]);
    assert_eq!(charged(&world).await, 2, "one for each mail, none for the login");
    assert_eq!(world.sink.mails()[0].user.as_deref(), Some("user"));
}

#[tokio::test]
async fn a_refused_mail_command_in_a_group_delays_that_mail_and_the_connection_goes_on() {
    let world = world_with([Step::reply_at(At::Mail, "451 4.3.0 later")]).await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.attempts(&dispatch).await, ["transient 451"]);
    next_attempt(&world, &dispatch, 5).await;
    assert_eq!(world.state(&dispatch).await, "sent");
    assert!(world.sink.mails()[0].is_pipelined);
    assert_eq!(world.mails().len(), 1);
    assert_eq!(world.sink.connections(), 1);
}

#[tokio::test]
async fn a_connection_lost_before_the_dot_is_tried_again_and_nothing_is_doubled() {
    let world = world_with([Step::new(At::Body, Fault::CutAfter(100))]).await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.attempts(&dispatch).await, ["transient"]);
    next_attempt(&world, &dispatch, 5).await;
    assert_eq!(world.attempts(&dispatch).await, ["transient", "accepted 250"]);
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test]
async fn a_connection_lost_after_the_dot_is_counted_and_doubles_with_the_same_message_id_at_most() {
    let recorder: &'static PrometheusRecorder =
        Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    // Of the whole binary, so that the application's own threads see it; no other test looks at it.
    metrics::set_global_recorder(recorder).unwrap();
    let world = world_with([Step::new(At::Dot, Fault::TakeAndClose)]).await;
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "pending");
    assert_eq!(world.attempts(&dispatch).await, ["transient"]);
    next_attempt(&world, &dispatch, 5).await;
    assert_eq!(world.state(&dispatch).await, "sent");
    let mails = world.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!((&mails[0].message_id, &mails[0].token), (&mails[1].message_id, &mails[1].token));
    let metrics = recorder.handle().render();
    assert!(metrics.contains("\nsignalpost_smtp_uncertain_total "), "{metrics}");
}

#[tokio::test]
async fn a_421_on_an_idle_connection_costs_the_next_mail_nothing() {
    let world =
        world_with([Step::new(At::Idle, Fault::Reply("421 4.4.2 idle for too long".to_owned()))]).await;
    world.ask_reset("ada").await;
    world.until_idle().await;
    world.pass(TimeDelta::seconds(10)).await;
    let second = world.ask_reset("ada").await;
    world.until_idle().await;
    assert_eq!(world.state(&second).await, "sent", "at once, on a new connection");
    assert_eq!(world.attempts(&second).await, ["accepted 250"]);
    assert_eq!((world.mails().len(), world.sink.connections()), (2, 2));
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_its_time_limit_and_a_try() {
    let limits = Limits { command: SHORT, envelope: SHORT, ..Limits::default() };
    let sink = Sink::builder().usual().script([Step::silence_at(At::Rcpt)]);
    let world = World::with(Setup { sink, limits, ..Setup::default() }).await;
    world.member("ada").await;
    let begun = Instant::now();
    let dispatch = world.ask_reset("ada").await;
    world.until_idle().await;
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(world.attempts(&dispatch).await, ["transient"]);
    next_attempt(&world, &dispatch, 5).await;
    assert_eq!(world.state(&dispatch).await, "sent");
}

#[tokio::test]
async fn a_server_that_does_not_greet_is_the_integrations_fault() {
    let limits = Limits { greeting: SHORT, ..Limits::default() };
    let sink = Sink::builder().usual().script([Step::silence_at(At::Greeting)]);
    let world = World::with(Setup { sink, limits, ..Setup::default() }).await;
    world.member("ada").await;
    let dispatch = world.ask_reset("ada").await;
    until("it gave up", async || !world.attempts(&dispatch).await.is_empty()).await;
    assert_eq!(world.attempts(&dispatch).await, ["integration"]);
    world.pass(TimeDelta::seconds(10)).await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "sent");
    assert_eq!(charged(&world).await, 1);
}

#[tokio::test]
async fn without_pipelining_the_commands_go_one_by_one() {
    let world = World::with_sink(Sink::builder()).await;
    world.member("ada").await;
    for _ in 0..3 {
        world.ask_reset("ada").await;
        world.until_idle().await;
    }
    assert_eq!(world.mails().len(), 3);
    assert!(world.sink.mails().iter().all(|mail| !mail.is_pipelined));
    assert_eq!(world.sink.connections(), 1);
}

#[tokio::test]
async fn a_paused_integration_holds_mail_back_without_charging_it() {
    let world = world_with([]).await;
    world.pause().await;
    let dispatch = world.ask_reset("ada").await;
    world.pass(TimeDelta::minutes(90)).await;
    assert_eq!(world.state(&dispatch).await, "pending");
    assert_eq!(world.attempts(&dispatch).await, [""; 0]);
    assert_eq!(world.sink.connections(), 0);
    world.resume().await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "sent");
    assert_eq!(charged(&world).await, 1);
    let token = world.token_of(&dispatch).await;
    world.pass(TimeDelta::minutes(29)).await;
    assert_eq!(world.inspect(&token).await, "good", "30 minutes count from the attempt");
}

#[tokio::test]
async fn mail_that_waited_longer_than_max_age_is_expired_and_never_sent() {
    let world = world_with([]).await;
    world.pause().await;
    let dispatch = world.ask_reset("ada").await;
    world.pass(TimeDelta::hours(2)).await;
    world.resume().await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "dead expired");
    assert_eq!(world.attempts(&dispatch).await, [""; 0]);
    assert_eq!(world.sink.connections(), 0);
}
