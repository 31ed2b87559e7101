//! Dead dispatches: sent again as planned, planned again, given up; and what an event that is replayed does.

use chrono::TimeDelta;
use serde_json::{Value, json};
use signalpost::domain::id::{DispatchId, EventId, ProjectId};
use signalpost::pipeline::rearm::{Rearm, Verdicts};
use signalpost::pipeline::{Payload, Submission, decode};

use super::support::sink::{At, Sink, Step};
use super::world::{Answer, World};

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

/// The dispatches that an answer names.
fn dispatches(answer: &Answer) -> Vec<String> {
    let ids = answer.json["dispatches"].as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// What is stored is as a program without our checks would have left it.
async fn store(world: &World, statement: &'static str) {
    assert_eq!(world.sql(statement).await, 1, "{statement}");
    world.sql("update catalogue set revision = revision + 1").await;
    world.nudge().await;
}

/// Ada moves, and both mails about it are refused: the one to the address that was left, and the other.
async fn dead_move(world: &World) -> [String; 2] {
    let answer =
        world.publish("email-changed", json!({ "member": "ada", "new_email": "ada@new.example" })).await;
    world.until_idle().await;
    let mut dead = dispatches(&answer);
    for one in &dead {
        assert_eq!(world.state(one).await, "dead rejected");
    }
    if world.dispatch(&dead[0]).await["to"] != "ada@example.com" {
        dead.reverse();
    }
    dead.try_into().unwrap()
}

#[tokio::test]
async fn an_event_that_is_replayed_twice_at_once_loses_no_mail() {
    let names = || (0..12).map(|number| format!("member-{number}"));
    let steps = names().map(|_| Step::reply_at(At::Rcpt, "550 5.1.1 no such user"));
    let world = World::with_sink(Sink::builder().usual().script(steps)).await;
    world.members(names()).await;
    let mut dead = Vec::new();
    for name in names() {
        let answer = world.publish("password-reset-requested", json!({ "member": name })).await;
        let event: EventId = answer.json["event_id"].as_str().unwrap().parse().unwrap();
        dead.push((event, answer.dispatch()));
    }
    world.until_idle().await;
    for (event, dispatch) in dead {
        assert_eq!(world.state(&dispatch).await, "dead rejected");
        let events = [event];
        let replay = || rearm(&world).replay_events(project(&world), &events);
        let (one, other) = tokio::join!(replay(), replay());
        let armed = one.unwrap().into_iter().chain(other.unwrap()).filter(|(_, one)| one.name() == "done");
        assert_eq!(armed.count(), 1);
        world.until_idle().await;
        assert_eq!(world.state(&dispatch).await, "sent");
        assert_eq!(world.inspect(&world.token_of(&dispatch).await).await, "good");
    }
}

#[tokio::test]
async fn events_that_are_replayed_together_are_all_armed() {
    let world = refusing(2).await;
    let events =
        ["ada", "bob"].map(|name| world.event("password-reset-requested", &json!({ "member": name })));
    let mut dead = Vec::new();
    for event in &events {
        dead.push(world.post("/v1/events", event.clone()).await.dispatch());
    }
    world.until_idle().await;
    tokio::join!(tell(&world, &events[0], true), tell(&world, &events[1], true));
    for dispatch in &dead {
        assert_eq!(world.state(dispatch).await, "sent");
    }
}

#[tokio::test]
async fn the_address_that_was_left_gets_no_token_but_the_one_back_in_a_replay_too() {
    let world = refusing(2).await;
    let [old, new] = dead_move(&world).await;
    store(&world, "update automations set purpose = 'reset-password' where name = 'E-mail address changed'")
        .await;
    assert_eq!(replay(&world, &old).await, "no-automation");
    assert_eq!(replay(&world, &new).await, "no-automation");
    assert_eq!(world.mails().len(), 0);
    store(
        &world,
        "update automations set purpose = 'undo-email-change' where name = 'E-mail address changed'",
    )
    .await;
    assert_eq!(replay(&world, &old).await, "done");
    assert_eq!(replay(&world, &new).await, "done");
    let mails: Vec<_> =
        world.mails().into_iter().map(|mail| (mail.recipient, mail.token.is_some())).collect();
    assert_eq!(mails, [("ada@example.com".to_owned(), true), ("ada@new.example".to_owned(), false)]);
}

#[tokio::test]
async fn a_notice_to_the_address_that_was_left_is_replayed_to_that_address() {
    let world = refusing(2).await;
    store(&world, "update automations set purpose = null where name = 'E-mail address changed'").await;
    let [old, new] = dead_move(&world).await;
    for one in [&old, &new] {
        assert_eq!(replay(&world, one).await, "done");
    }
    let recipients: Vec<_> = world.mails().into_iter().map(|mail| mail.recipient).collect();
    assert_eq!(recipients, ["ada@example.com", "ada@new.example"]);
}

#[tokio::test]
async fn a_replay_asks_whether_the_automation_is_still_for_the_event() {
    let world = refusing(1).await;
    let dispatch = dead_reset(&world, "ada").await;
    let automation = |text: &str| {
        format!(
            "[project]\nslug = 'acme'\n[[automations]]\nname = 'Reset password'\ncondition = \"{text}\"\n"
        )
    };
    world.apply(&automation("event.reason == 'admin'")).await.unwrap();
    world.nudge().await;
    assert_eq!(replay(&world, &dispatch).await, "no-automation");
    world.apply(&automation("event.reason == 'member'")).await.unwrap();
    store(&world, "update automations set event_type = 'account.signed-in' where name = 'Reset password'")
        .await;
    assert_eq!(replay(&world, &dispatch).await, "no-automation");
    store(
        &world,
        "update automations set event_type = 'account.password-reset-requested' where name = 'Reset password'",
    )
    .await;
    assert_eq!(replay(&world, &dispatch).await, "done");
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_not_confirmed_gets_no_token_but_the_one_that_confirms_it() {
    let world = refusing(0).await;
    store(&world, "update automations set purpose = 'reset-password' where name = 'Confirm e-mail address'")
        .await;
    let data = json!({ "member": "ada", "new_email": "thief@example.com" });
    let answer = world.publish("email-change-requested", data).await;
    assert_eq!(answer.said(), (202, "no-automation"));
    let event = world.get(&format!("/v1/events/{}", answer.json["event_id"].as_str().unwrap())).await;
    let why = event.json["automations"][0]["why"].as_str().unwrap();
    assert!(why.contains("only change-email"), "{why}");
    world.until_idle().await;
    assert_eq!(world.mails().len(), 0);
}

#[tokio::test]
async fn a_request_of_the_same_moment_is_not_replaced_by_a_replay() {
    let world = refusing(1).await;
    let dispatch = dead_reset(&world, "ada").await;
    let token = world.reset_token("ada").await;
    assert_eq!(replay(&world, &dispatch).await, "superseded");
    assert_eq!(world.inspect(&token).await, "good");
}

#[tokio::test]
async fn a_retry_mails_nobody_who_was_deleted() {
    let world = refusing(1).await;
    let changed = world.publish("password-changed", json!({ "member": "ada" })).await.dispatch();
    world.until_idle().await;
    assert_eq!(world.state(&changed).await, "dead rejected");
    world.publish("deleted", json!({ "member": "ada" })).await;
    assert_eq!(retry(&world, &changed).await, "superseded");
    assert_eq!(replay(&world, &changed).await, "superseded");
    assert_eq!(world.mails().len(), 0);
}

#[tokio::test]
async fn a_mail_that_joins_the_token_of_others_is_taken_away_with_them() {
    let world = refusing(2).await;
    world.second_reset_automation().await;
    store(
        &world,
        "update automations set purpose = null, template = 'change-password' where name = 'Second'",
    )
    .await;
    let answer = world.publish("password-reset-requested", json!({ "member": "ada" })).await;
    world.until_idle().await;
    let mut dead = dispatches(&answer);
    if world.dispatch(&dead[0]).await["automation"] == "Second" {
        dead.reverse();
    }
    let [first, second]: [String; 2] = dead.try_into().unwrap();
    assert_eq!(replay(&world, &first).await, "done");
    store(
        &world,
        "update automations set purpose = 'reset-password', template = 'reset-password-confirm' where name = 'Second'",
    )
    .await;
    world.pause().await;
    let replayed = rearm(&world).replay(project(&world), &[id(&second)]).await.unwrap();
    assert_eq!(replayed[0].1.name(), "done");
    assert_eq!(world.state(&second).await, "pending");
    world.pass(TimeDelta::seconds(10)).await;
    world.ask_reset("ada").await;
    assert_eq!(world.state(&second).await, "cancelled superseded");
}

#[tokio::test]
async fn what_stays_dead_when_its_event_is_replayed_gets_a_new_copy() {
    const COPIED: &str = "select count(*) from dispatches where state = 'dead' and copied_due_at = due_at";
    let world = refusing(1).await;
    let answer = world.publish("password-reset-requested", json!({ "member": "ada" })).await;
    world.until_idle().await;
    assert_eq!(world.sql("update dispatches set copied_due_at = due_at").await, 1);
    world.pass(TimeDelta::seconds(10)).await;
    world.reset_token("ada").await;
    assert_eq!(replay(&world, &answer.dispatch()).await, "superseded");
    assert_eq!(world.number(COPIED).await, 1, "its copy lies there still");
    let event: EventId = answer.json["event_id"].as_str().unwrap().parse().unwrap();
    let told = rearm(&world).replay_events(project(&world), &[event]).await.unwrap();
    assert_eq!(verdict(&world, told).await, "superseded");
    assert_eq!(world.number(COPIED).await, 0, "the message that brought the event back was its copy");
}
