//! Many rounds of mixed batches over few members, planned by two processes at once while mail is sent, fails
//! and is tried again: one live token a member, the newest that the account's changes allow; no deadlock, and
//! nothing left over. PostgreSQL only, since SQLite has one writer.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use signalpost::domain::event::{Incoming, Planned};
use signalpost::pipeline::Payload;
use signalpost::store::Store;
use sqlx::Row as _;

use super::support::services::Services;
use super::support::sink::{At, Fault, Sink};
use super::world::{Setup, World};

const MEMBERS: usize = 12;
/// Events that each of two processes plans in a round.
const EVENTS: usize = 12;
/// Between two rounds.
const STEP: TimeDelta = TimeDelta::milliseconds(200);
/// A request is taken to be from before a change that is so much later.
const COARSE: TimeDelta = TimeDelta::seconds(1);

/// What the members' tokens must come to.
#[derive(Default)]
struct Model {
    requested: HashMap<String, DateTime<Utc>>,
    changed: HashMap<String, DateTime<Utc>>,
}

impl Model {
    fn heard(&mut self, incoming: &Incoming, planned: &Planned) {
        let Planned::Accepted { outcome, .. } = planned else { return };
        let Some(id) = ["member", "id"].iter().find_map(|name| incoming.data[*name].as_str()) else { return };
        let latest = match incoming.kind.as_str() {
            "account.password-reset-requested" => &mut self.requested,
            "account.password-changed" => &mut self.changed,
            "account.updated" if *outcome == "dispatched" => &mut self.changed,
            _ => return,
        };
        let entry = latest.entry(id.to_owned()).or_insert(incoming.time);
        *entry = (*entry).max(incoming.time);
    }
}

fn event(world: &World, chance: &mut StdRng, number: u64) -> Incoming {
    let member = chance.random_range(0..MEMBERS);
    let id = format!("mem_m{member}");
    let now = world.clock.now();
    let (kind, data): (&str, Value) = match chance.random_range(0..100) {
        0..60 => ("password-reset-requested", json!({ "member": id })),
        60..72 => ("password-changed", json!({ "member": id })),
        72..82 => {
            // Always another address: an update without one ends no token.
            ("updated", json!({ "id": id, "email": format!("m{member}.{number}@example.com") }))
        }
        82..92 => ("signed-in", json!({ "member": id })),
        // Made by both at once, without an id.
        _ => {
            let name = format!("n{}", number / 4);
            ("created", json!({ "username": name, "email": format!("{name}@example.com") }))
        }
    };
    Incoming {
        project: "acme".to_owned(),
        source: "/campaign".to_owned(),
        // Some are delivered to both.
        id: if chance.random_range(0..10) == 0 {
            format!("twice-{kind}-{id}-{data}-{}", number / 8)
        } else {
            number.to_string()
        },
        kind: format!("account.{kind}"),
        time: now - TimeDelta::milliseconds(chance.random_range(0..3000)),
        received_at: now,
        data,
        traceparent: None,
    }
}

async fn deadlocks(pool: &sqlx::PgPool) -> i64 {
    let query = "select deadlocks from pg_stat_database where datname = current_database()";
    // Counters are reported with a delay of up to a second.
    sqlx::query("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_planners_and_their_senders_leave_one_right_token_a_member_and_never_deadlock() {
    if !Services::wants_postgres() {
        return;
    }
    let rounds = if Services::is_campaign() { 10_000 } else { 200 };
    let flaky = |at, _: &str| {
        (at == At::Rcpt && rand::random_range(0..4) == 0).then(|| Fault::Reply("451 4.3.0 later".to_owned()))
    };
    let sink = Sink::builder().usual().choose(flaky).keep_bodies(false);
    let world = World::with(Setup { sink, nodes: 2, connections: 8, ..Setup::default() }).await;
    world.members((0..MEMBERS).map(|number| format!("m{number}"))).await;
    let Store::Pg(pool) = &world.store else { unreachable!() };
    world.pass(TimeDelta::seconds(10)).await;

    let (mut model, mut chance, mut number) = (Model::default(), StdRng::seed_from_u64(7), 0);
    let mut refused: HashMap<&str, usize> = HashMap::new();
    for round in 0..rounds {
        let mut submissions = Vec::new();
        for place in 0..2 * EVENTS {
            number += 1;
            let incoming = event(&world, &mut chance, number);
            let intake = world.app(place % 2).engine.intake.clone();
            submissions.push(async move {
                let planned = intake.submit(Payload::Event(incoming.clone())).await.unwrap();
                (incoming, planned)
            });
        }
        for (incoming, planned) in join_all(submissions).await {
            if let Planned::Refused { refusal, .. } = &planned {
                *refused.entry(refusal.reason.name()).or_default() += 1;
            }
            model.heard(&incoming, &planned);
        }
        world.clock.advance(STEP);
        if round % 8 == 0 {
            world.nudge().await;
        }
        if round % 100 == 99 {
            check_tokens(pool, &model).await;
            assert_eq!(deadlocks(pool).await, 0, "in round {round}");
        }
    }
    check_tokens(pool, &model).await;
    while world.number("select count(*) from dispatches where state = 'pending'").await > 0 {
        world.pass(TimeDelta::minutes(15)).await;
        world.until_idle().await;
    }
    assert_eq!(deadlocks(pool).await, 0);
    assert!(refused.keys().all(|reason| ["id-reused", "email-in-use"].contains(reason)), "{refused:?}");
}

/// A live token is of the newest request, unless the account was changed after it.
async fn check_tokens(pool: &sqlx::PgPool, model: &Model) {
    let query = "select member_id, requested_at, ended_at is null as good from tokens \
                 where purpose = 'reset-password'";
    for row in sqlx::query(query).fetch_all(pool).await.unwrap() {
        let member: String = row.get("member_id");
        let (requested, is_good): (DateTime<Utc>, bool) = (row.get("requested_at"), row.get("good"));
        let newest = model.requested[&member];
        let changed = model.changed.get(&member).copied().unwrap_or(DateTime::UNIX_EPOCH);
        if is_good {
            assert!(
                changed <= requested + COARSE,
                "{member}: of {requested}, and the account changed at {changed}"
            );
            // One that a change ended in its own batch left no trace but the change.
            let is_newest = requested == newest || newest <= changed;
            assert!(is_newest, "{member}: of {requested}, and one was asked for at {newest}");
        } else {
            // A change of the address ends every token, those too that were asked for after its time.
            assert!(model.changed.contains_key(&member), "{member}: ended without a change");
        }
    }
}
