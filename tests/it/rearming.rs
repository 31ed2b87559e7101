//! Dead dispatches: sent again as planned, planned again, given up; and what an event that is replayed does.

use chrono::TimeDelta;
use serde_json::{Value, json};
use signalpost::domain::id::{DispatchId, EventId, ProjectId};
use signalpost::pipeline::rearm::{Rearm, Verdicts};
use signalpost::pipeline::{Payload, Submission, decode};

use super::support::sink::{At, Sink, Step};
use super::world::World;

/// The mail server refuses the first so many recipients for good.
async fn refusing(times: usize) -> World {
    let steps = (0..times).map(|_| Step::reply_at(At::Rcpt, "550 5.1.1 no such user"));
    let world = World::with_sink(Sink::builder().usual().script(steps)).await;
    world.members(["ada".to_owned(), "bob".to_owned()]).await;
    world
}

fn rearm(world: &World) -> &Rearm {
    &world.app(0).engine.rearm
}

fn project(world: &World) -> ProjectId {
    world.app(0).engine.live.current().projects["acme"].id
}

fn id(text: &str) -> DispatchId {
    text.parse().unwrap()
}

/// What became of the one dispatch that was asked for, once all is done.
async fn verdict(world: &World, verdicts: Verdicts) -> &'static str {
    let [(_, verdict)] = verdicts[..] else { panic!("{verdicts:?}") };
    world.until_idle().await;
    verdict.name()
}

async fn retry(world: &World, dispatch: &str) -> &'static str {
    verdict(world, rearm(world).retry(project(world), &[id(dispatch)]).await.unwrap()).await
}

async fn replay(world: &World, dispatch: &str) -> &'static str {
    verdict(world, rearm(world).replay(project(world), &[id(dispatch)]).await.unwrap()).await
}

/// Tells an event again: as a repetition, or as a replay.
async fn tell(world: &World, event: &Value, replay: bool) {
    let incoming = decode::read_structured(event.clone(), "acme", world.clock.now()).unwrap();
    let (answer, planned) = tokio::sync::oneshot::channel();
    let submission =
        Submission { payload: Payload::Event(incoming), suspect: false, replay, client: None, answer };
    world.app(0).engine.intake.submit.send(submission).await.unwrap();
    planned.await.unwrap();
    world.until_idle().await;
}

async fn dead_reset(world: &World, member: &str) -> String {
    let dispatch = world.ask_reset(member).await;
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "dead rejected");
    dispatch
}

#[tokio::test]
async fn a_retry_sends_the_same_mail_and_only_within_its_max_age() {
    let world = refusing(2).await;
    let dispatch = dead_reset(&world, "ada").await;
    let other = dead_reset(&world, "bob").await;
    let message_id = world.dispatch(&dispatch).await["message_id"].clone();
    world.pass(TimeDelta::minutes(100)).await;
    assert_eq!(retry(&world, &dispatch).await, "done");
    assert_eq!(world.state(&dispatch).await, "sent");
    assert_eq!(world.dispatch(&dispatch).await["message_id"], message_id);
    assert_eq!(world.attempts(&dispatch).await, ["permanent 550", "accepted 250"]);
    assert_eq!(world.inspect(&world.token_of(&dispatch).await).await, "good");
    assert_eq!(retry(&world, &dispatch).await, "unfit", "what was sent is not sent again");
    world.pass(TimeDelta::minutes(21)).await;
    assert_eq!(retry(&world, &other).await, "expired");
    assert_eq!(retry(&world, &DispatchId(uuid::Uuid::nil()).to_string()).await, "unknown");
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test]
async fn a_replay_plans_again_with_a_fresh_token_and_message_id_and_a_max_age_from_now() {
    let world = refusing(2).await;
    let dispatch = dead_reset(&world, "ada").await;
    let message_id = world.dispatch(&dispatch).await["message_id"].as_str().unwrap().to_owned();
    world.pass(TimeDelta::hours(5)).await;
    assert_eq!(replay(&world, &dispatch).await, "done");
    assert_eq!(world.state(&dispatch).await, "dead rejected", "the second refusal of the server");
    assert_eq!(replay(&world, &dispatch).await, "done");
    assert_eq!(world.state(&dispatch).await, "sent");
    let token = world.token_of(&dispatch).await;
    assert_eq!(world.inspect(&token).await, "good");
    let sent_as = world.dispatch(&dispatch).await["message_id"].as_str().unwrap().to_owned();
    assert_eq!(sent_as, message_id.replace(".0@", ".2@"));
    assert_eq!(world.attempts(&dispatch).await, ["permanent 550", "permanent 550", "accepted 250"]);
}

#[tokio::test]
async fn a_replay_goes_to_the_address_of_now() {
    let world = refusing(1).await;
    let changed = world.publish("password-changed", json!({ "member": "ada" })).await.dispatch();
    world.until_idle().await;
    assert_eq!(world.state(&changed).await, "dead rejected");
    world.publish("email-changed", json!({ "member": "ada", "new_email": "ada@new.example" })).await;
    world.until_idle().await;
    let before = world.mails().len();
    assert_eq!(replay(&world, &changed).await, "done");
    assert_eq!(world.mails()[before].recipient, "ada@new.example");
}

#[tokio::test]
async fn a_replay_is_refused_when_a_later_request_or_a_change_of_the_account_is_there() {
    let world = refusing(2).await;
    let dispatch = dead_reset(&world, "ada").await;
    let other = dead_reset(&world, "bob").await;
    world.pass(TimeDelta::seconds(10)).await;
    let token = world.reset_token("ada").await;
    world.publish("password-changed", json!({ "member": "bob" })).await;
    world.until_idle().await;
    let mails = world.mails().len();
    for dead in [&dispatch, &other] {
        assert_eq!(replay(&world, dead).await, "superseded");
        assert_eq!(retry(&world, dead).await, "superseded");
        assert_eq!(world.state(dead).await, "dead rejected");
    }
    assert_eq!((world.mails().len(), world.inspect(&token).await.as_str()), (mails, "good"));
}

#[tokio::test]
async fn the_mails_of_one_event_share_their_token_through_a_replay_and_one_that_was_used_is_not_issued_again()
{
    let world = refusing(1).await;
    world.second_reset_automation().await;
    let answer = world.publish("password-reset-requested", json!({ "member": "ada" })).await;
    world.until_idle().await;
    let ids: Vec<String> = answer.json["dispatches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    let mut dead = None;
    let mut sent = None;
    for id in &ids {
        match world.state(id).await.as_str() {
            "sent" => sent = Some(id),
            state => {
                assert_eq!(state, "dead rejected");
                dead = Some(id);
            }
        }
    }
    let (dead, sent) = (dead.unwrap(), sent.unwrap());
    let token = world.token_of(sent).await;
    let event: EventId = answer.json["event_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        verdict(&world, rearm(&world).replay_events(project(&world), &[event]).await.unwrap()).await,
        "done"
    );
    assert_eq!(world.token_of(dead).await, token, "the link that was sent stays good");
    assert_eq!(world.inspect(&token).await, "good");
    assert_eq!(world.complete(&token).await.status, 200);
    world.sql("update dispatches set state = 'dead', reason = 'rejected'").await;
    assert_eq!(replay(&world, dead).await, "superseded");
}

#[tokio::test]
async fn a_repetition_arms_nothing_and_a_replay_what_is_dead() {
    let world = refusing(1).await;
    let event = world.event("password-reset-requested", &json!({ "member": "ada" }));
    let dispatch = world.post("/v1/events", event.clone()).await.dispatch();
    world.until_idle().await;
    assert_eq!(world.state(&dispatch).await, "dead rejected");
    tell(&world, &event, false).await;
    assert_eq!(world.state(&dispatch).await, "dead rejected");
    for _ in 0..2 {
        tell(&world, &event, true).await;
        assert_eq!(world.state(&dispatch).await, "sent");
        assert_eq!(world.mails().len(), 1, "what was sent is not touched");
    }
}

#[tokio::test]
async fn an_event_that_was_never_accepted_is_young_again_when_it_is_replayed() {
    let world = refusing(0).await;
    let event = world.event("password-reset-requested", &json!({ "member": "ada" }));
    world.pass(TimeDelta::hours(3)).await;
    tell(&world, &event, true).await;
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test]
async fn what_waits_is_cancelled_and_what_is_dead_is_given_up() {
    let world = refusing(1).await;
    let dead = dead_reset(&world, "ada").await;
    world.pause().await;
    let waiting = world.ask_reset("bob").await;
    let both = [id(&dead), id(&waiting)];
    let names = |verdicts: Verdicts| verdicts.into_iter().map(|(_, one)| one.name()).collect::<Vec<_>>();
    assert_eq!(names(rearm(&world).cancel(project(&world), &both).await.unwrap()), ["unfit", "done"]);
    assert_eq!(names(rearm(&world).discard(project(&world), &both).await.unwrap()), ["done", "unfit"]);
    world.resume().await;
    world.until_idle().await;
    assert_eq!(world.state(&dead).await, "cancelled discarded");
    assert_eq!(world.state(&waiting).await, "cancelled operator");
    assert_eq!(world.mails().len(), 0);
}
