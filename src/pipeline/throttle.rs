//! Step 3: holds back the mail that a stranger can cause: so many of a type to one recipient, so many by one client
//! of a public route. Notices of what was done are never held back. Addresses are kept as keyed fingerprints.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::Accounts;
use super::drafts::Prepared;
use super::plan::Desk;
use crate::domain::address::fold;
use crate::domain::catalogue::Rate;
use crate::domain::change::{Change, ResetReason};
use crate::domain::id::ProjectId;
use crate::store::rows::{ThrottleRow, hex};
use crate::store::{StoreError, Tx, db};

const RECIPIENT: &str = "recipient";
const CLIENT: &str = "client";

type Key = (ProjectId, [u8; 32]);

/// What was let through since a moment.
#[derive(Clone, Copy)]
struct Window {
    started_at: DateTime<Utc>,
    count: u32,
    ends_at: DateTime<Utc>,
}

/// The throttles of a batch.
#[derive(Default)]
pub struct Throttles {
    /// By the places of the events, each with the reason that it gives.
    keys: HashMap<usize, Vec<(Key, Rate, &'static str)>>,
    windows: HashMap<Key, Window>,
    changed: Vec<Key>,
}

impl Throttles {
    /// Reads what the events of a batch are held against, in one statement; none for most batches.
    pub async fn read<'a>(
        tx: &mut Tx,
        desk: &Desk<'_>,
        accounts: &Accounts,
        events: impl Iterator<Item = (usize, &'a Prepared)>,
    ) -> Result<Self, StoreError> {
        let keys = events.filter_map(|(place, event)| Some((place, keys(desk, accounts, event)?)));
        let keys: HashMap<usize, Vec<_>> = keys.collect();
        let mut asked: Vec<Key> = keys.values().flatten().map(|(key, ..)| *key).collect();
        asked.sort_unstable();
        asked.dedup();
        let mut windows = HashMap::new();
        if !asked.is_empty() {
            let asked: Vec<ThrottleRow> = asked.into_iter().map(|key| row(&key, None)).collect();
            for (project, fingerprint, started_at, count, ends_at) in db!(tx, throttles::read(&asked))? {
                let Ok(fingerprint) = <[u8; 32]>::try_from(fingerprint) else { continue };
                let window = Window { started_at, count: count.unsigned_abs(), ends_at };
                windows.insert((ProjectId(project), fingerprint), window);
            }
        }
        Ok(Self { keys, windows, changed: Vec::new() })
    }

    /// Counts an event that is about to cause mail; which throttle holds it back, if one does.
    pub fn hold_back(&mut self, place: usize, now: DateTime<Utc>) -> Option<&'static str> {
        let keys = self.keys.remove(&place)?;
        let is_full = |key: &Key, rate: &Rate| {
            self.windows.get(key).is_some_and(|window| window.ends_at > now && window.count >= rate.count)
        };
        if let Some((.., why)) = keys.iter().find(|(key, rate, _)| is_full(key, rate)) {
            return Some(why);
        }
        for (key, rate, _) in keys {
            let length = TimeDelta::seconds(i64::try_from(rate.seconds).unwrap_or(i64::MAX / 1000));
            let fresh = Window { started_at: now, count: 0, ends_at: now + length };
            let window = self.windows.entry(key).or_insert(fresh);
            if window.ends_at <= now {
                *window = fresh;
            }
            window.count += 1;
            self.changed.push(key);
        }
        None
    }

    /// Writes what was counted.
    pub async fn write(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let mut changed = self.changed.clone();
        changed.sort_unstable();
        changed.dedup();
        let rows: Vec<ThrottleRow> = changed.iter().map(|key| row(key, self.windows.get(key))).collect();
        if rows.is_empty() { Ok(()) } else { db!(tx, throttles::put(&rows)) }
    }
}

/// What holds an event back; `None` for one that no stranger causes.
fn keys(desk: &Desk<'_>, accounts: &Accounts, event: &Prepared) -> Option<Vec<(Key, Rate, &'static str)>> {
    let project = event.project.id;
    let recipient = match &event.change {
        _ if event.own => return None,
        Change::ResetRequested(name, ResetReason::Member) => {
            fold(&accounts.member(&accounts.find(project, name).ok()?)?.email)
        }
        Change::EmailChangeRequested(_, new_email) => new_email.key(),
        _ => return None,
    };
    let key = |parts: &[&[u8]]| {
        let parts = [&[b"throttle" as &[u8], project.0.as_bytes()], parts].concat();
        (project, desk.keys.fingerprint(&parts))
    };
    let throttle = &event.project.settings.throttle;
    let kind = event.incoming.kind.as_bytes();
    let mut keys =
        vec![(key(&[RECIPIENT.as_bytes(), kind, recipient.as_bytes()]), throttle.recipient, RECIPIENT)];
    if let Some(client) = event.client {
        keys.push((key(&[CLIENT.as_bytes(), client.to_string().as_bytes()]), throttle.client, CLIENT));
    }
    Some(keys)
}

fn row(key: &Key, window: Option<&Window>) -> ThrottleRow {
    ThrottleRow {
        project: key.0.0,
        fingerprint: hex(&key.1),
        started_at: window.map(|window| window.started_at),
        ends_at: window.map(|window| window.ends_at),
        count: window.map_or(0, |window| window.count),
    }
}
