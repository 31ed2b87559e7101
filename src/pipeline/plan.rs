//! Step 4: one transaction for a batch of events. Reads the identities, locks the members, lets the pure
//! steps decide, writes. Commits nothing and sends nothing: the caller does, in that order.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::accounts::Accounts;
use super::drafts::{Drafts, Prepared, Told};
use super::entries::{dispatch_row, event_row, owed, refusal_row};
use super::lanes::Reservation;
use crate::domain::catalogue::Catalogue;
use crate::domain::dispatch::Owed;
use crate::domain::event::{Planned, Reason, Refusal};
use crate::domain::id::{DispatchId, EventId};
use crate::domain::keys::Keyring;
use crate::domain::token::Purpose;
use crate::store::rows::{
    DispatchRow, IdentityKey, KnownIdentity, MemberId, MemberKey, MemberRow, RefusalRow, TokenRow, json,
};
use crate::store::{StoreError, Tx, db};

/// What planning goes by; the time, the chance and the holder are given.
pub struct Desk<'a> {
    pub catalogue: &'a Catalogue,
    pub keys: &'a Keyring,
    pub now: DateTime<Utc>,
}

/// What became of each event of a batch, in its order, and what this worker has in hand once it is committed.
pub struct Plan {
    pub planned: Vec<Planned>,
    pub owed: Vec<Owed>,
    /// Rows were written that no worker holds: others are to be told after the commit.
    pub unheld: bool,
    /// The purposes of the tokens that were issued.
    pub issued: Vec<Purpose>,
}

/// A batch that was not planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Another worker took one of the identities meanwhile: plan again, and see it as known.
    #[error("another worker was quicker with one of the events")]
    Raced,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Plans a batch inside an open transaction.
pub async fn plan(
    tx: &mut Tx,
    desk: &Desk<'_>,
    batch: &[Prepared],
    reservation: &mut Reservation,
) -> Result<Plan, PlanError> {
    let mut planned: Vec<Option<Planned>> = vec![None; batch.len()];
    let echoes = set_known_aside(tx, desk, batch, &mut planned).await?;
    let mut order: Vec<usize> = (0..batch.len()).filter(|place| planned[*place].is_none()).collect();
    order.retain(|place| !echoes.contains_key(place));
    order.sort_by_key(|place| batch[*place].incoming.time);
    let accounts = read_accounts(tx, order.iter().map(|place| &batch[*place])).await?;

    let chance = StdRng::from_rng(&mut rand::rng());
    let mut drafts = Drafts::new(accounts, desk.now, chance);
    let mut told: HashMap<usize, Told> = HashMap::new();
    for place in order {
        #[cfg(test)]
        planted_panic(&batch[place]);
        match drafts.apply(place, &batch[place]) {
            Ok(one) => drop(told.insert(place, one)),
            Err(refusal) => planned[place] = Some(refused(desk.now, refusal)),
        }
    }
    let written = write(tx, desk, batch, (&drafts, &told), reservation).await?;
    for (place, answer) in written.answers {
        planned[place] = Some(answer);
    }
    let planned = fill_echoes(&planned, &echoes, batch, desk.now);
    note_refusals(tx, desk, batch, &planned).await?;
    let issued = drafts.issues.keys().map(|(_, purpose)| *purpose).collect();
    Ok(Plan { planned, owed: written.owed, unheld: written.unheld, issued })
}

/// Notes the refused ones, so that a publisher can look them up. An unknown member is not noted here: the
/// event may be tried again.
async fn note_refusals(
    tx: &mut Tx,
    desk: &Desk<'_>,
    batch: &[Prepared],
    planned: &[Planned],
) -> Result<(), StoreError> {
    let noted = batch.iter().zip(planned).filter_map(|(event, planned)| match planned {
        Planned::Refused { event: id, refusal } if refusal.reason != Reason::UnknownMember => {
            Some(refusal_row(*id, &event.incoming, refusal, desk.now))
        }
        _ => None,
    });
    let rows: Vec<RefusalRow> = noted.collect();
    if !rows.is_empty() {
        db!(tx, events::insert_refusals(&rows))?;
    }
    Ok(())
}

fn refused(now: DateTime<Utc>, refusal: Refusal) -> Planned {
    Planned::Refused { event: EventId::new_at(now), refusal }
}

fn identity(event: &Prepared) -> IdentityKey {
    IdentityKey {
        project: event.project.id.0,
        source: event.incoming.source.clone(),
        source_id: event.incoming.id.clone(),
    }
}

/// Answers the events that were accepted before. Returns the repetitions within the batch: each place with
/// the place of the first of its identity.
async fn set_known_aside(
    tx: &mut Tx,
    desk: &Desk<'_>,
    batch: &[Prepared],
    planned: &mut [Option<Planned>],
) -> Result<HashMap<usize, usize>, StoreError> {
    let mut first: HashMap<IdentityKey, usize> = HashMap::new();
    let mut echoes = HashMap::new();
    for (place, event) in batch.iter().enumerate() {
        match first.entry(identity(event)) {
            std::collections::hash_map::Entry::Vacant(entry) => drop(entry.insert(place)),
            std::collections::hash_map::Entry::Occupied(entry) => drop(echoes.insert(place, *entry.get())),
        }
    }
    let keys: Vec<IdentityKey> = first.keys().cloned().collect();
    for known in db!(tx, events::known(&keys))? {
        let key = IdentityKey {
            project: known.project_id,
            source: known.source.clone(),
            source_id: known.source_id.clone(),
        };
        let Some(place) = first.get(&key) else { continue };
        planned[*place] = Some(repeated(&known, &batch[*place], desk.now));
    }
    Ok(echoes)
}

fn repeated(known: &KnownIdentity, event: &Prepared, now: DateTime<Utc>) -> Planned {
    if known.fingerprint != event.incoming.fingerprint() {
        return refused(now, id_reused());
    }
    Planned::Duplicate {
        event: EventId(known.event_id),
        outcome: known.outcome.clone().unwrap_or_default(),
        dispatches: known.dispatches.as_deref().map(read_ids).unwrap_or_default(),
    }
}

fn id_reused() -> Refusal {
    Refusal::new(Reason::IdReused, "this id was used for an event with another type or other data")
        .in_field("id")
}

/// Ids of dispatches as kept in a column.
pub fn read_ids(text: &str) -> Vec<DispatchId> {
    let ids: Vec<Uuid> = serde_json::from_str(text).unwrap_or_default();
    ids.into_iter().map(DispatchId).collect()
}

/// A repetition within the batch gets the answer of the first.
fn fill_echoes(
    planned: &[Option<Planned>],
    echoes: &HashMap<usize, usize>,
    batch: &[Prepared],
    now: DateTime<Utc>,
) -> Vec<Planned> {
    let answer = |place: usize| planned[place].clone();
    let of_echo = |place: usize, first: usize| {
        if batch[place].incoming.fingerprint() != batch[first].incoming.fingerprint() {
            return refused(now, id_reused());
        }
        match answer(first) {
            Some(Planned::Accepted { event, outcome, dispatches }) => {
                Planned::Duplicate { event, outcome: outcome.to_owned(), dispatches }
            }
            Some(other) => other,
            None => refused(now, id_reused()),
        }
    };
    let all = (0..batch.len()).map(|place| match echoes.get(&place) {
        Some(first) => of_echo(place, *first),
        // Each place that is no echo was answered: known, refused, or written.
        None => answer(place).unwrap_or_else(|| refused(now, id_reused())),
    });
    all.collect()
}

/// Locks the members that the events name, in key order, and reads their tokens.
async fn read_accounts<'a>(
    tx: &mut Tx,
    events: impl Iterator<Item = &'a Prepared>,
) -> Result<Accounts, StoreError> {
    let mut keys = HashSet::new();
    for event in events {
        for name in event.change.names() {
            let (kind, key) = name.parts();
            keys.insert((event.project.id.0, kind, key.to_owned()));
        }
    }
    let mut keys: Vec<MemberKey> =
        keys.into_iter().map(|(project, kind, key)| MemberKey { project, kind, key }).collect();
    if keys.is_empty() {
        return Ok(Accounts::default());
    }
    keys.sort();
    let members = db!(tx, members::lock(&keys))?;
    let ids: Vec<MemberId> =
        members.iter().map(|one| MemberId { project: one.project_id.0, member: one.id.clone() }).collect();
    let tokens = if ids.is_empty() { Vec::new() } else { db!(tx, tokens::of_members(&ids))? };
    Ok(Accounts::new(members, tokens))
}

struct Written {
    answers: Vec<(usize, Planned)>,
    owed: Vec<Owed>,
    unheld: bool,
}

type Decided<'a> = (&'a Drafts, &'a HashMap<usize, Told>);

async fn write(
    tx: &mut Tx,
    desk: &Desk<'_>,
    batch: &[Prepared],
    (drafts, told): Decided<'_>,
    reservation: &mut Reservation,
) -> Result<Written, PlanError> {
    let mut places: Vec<usize> = told.keys().copied().collect();
    places.sort_unstable();
    let ids: HashMap<usize, EventId> =
        places.iter().map(|place| (*place, EventId::new_at(desk.now))).collect();
    write_accounts(tx, desk, &drafts.accounts).await?;
    write_tokens(tx, desk, batch, drafts, &ids).await?;

    let mut dispatches: HashMap<usize, Vec<DispatchId>> = HashMap::new();
    let mut rows = Vec::with_capacity(drafts.mails.len());
    let mut written = Written { answers: Vec::new(), owed: Vec::new(), unheld: false };
    for draft in &drafts.mails {
        dispatches.entry(draft.event).or_default().push(draft.id);
        let row = dispatch_row(desk, &batch[draft.event], (draft, drafts), ids[&draft.event]);
        let row = DispatchRow { holder: reservation.take_for(&row), ..row };
        written.unheld |= row.holder.is_none() && row.state == "pending";
        if row.holder.is_some() {
            written.owed.extend(owed(desk, &batch[draft.event], (draft, drafts), &row));
        }
        rows.push(row);
    }
    let mut events = Vec::with_capacity(places.len());
    for place in places {
        let mails = dispatches.remove(&place).unwrap_or_default();
        events.push(event_row(&batch[place], ids[&place], &told[&place], &mails));
        let outcome = told[&place].outcome.name();
        written.answers.push((place, Planned::Accepted { event: ids[&place], outcome, dispatches: mails }));
    }
    if !events.is_empty() {
        if db!(tx, events::claim_identities(&events))? < events.len() as u64 {
            return Err(PlanError::Raced);
        }
        db!(tx, events::insert(&events))?;
    }
    if !rows.is_empty() {
        db!(tx, dispatches::insert(&rows))?;
    }
    Ok(written)
}

async fn write_accounts(tx: &mut Tx, desk: &Desk<'_>, accounts: &Accounts) -> Result<(), StoreError> {
    let rows: Vec<MemberRow<'_>> = accounts.changed().into_iter().map(MemberRow::of).collect();
    if !rows.is_empty() {
        db!(tx, members::put(&rows))?;
    }
    // Dispatches before tokens, as senders lock them, and each in key order: nobody waits in a circle.
    let gone: Vec<MemberId> =
        accounts.deleted.iter().map(|key| MemberId { project: key.0.0, member: key.1.clone() }).collect();
    if !accounts.unwanted.is_empty() && !gone.is_empty() {
        db!(tx, dispatches::lock_open(&accounts.unwanted, &gone))?;
    }
    if !accounts.unwanted.is_empty() {
        db!(tx, dispatches::cancel(&accounts.unwanted, super::drafts::SUPERSEDED))?;
    }
    if !gone.is_empty() {
        db!(tx, dispatches::cancel_members(&gone, super::drafts::MEMBER_DELETED))?;
    }
    if !accounts.ended.is_empty() {
        db!(tx, tokens::end(&accounts.ended, desk.now))?;
    }
    Ok(())
}

async fn write_tokens(
    tx: &mut Tx,
    desk: &Desk<'_>,
    batch: &[Prepared],
    drafts: &Drafts,
    ids: &HashMap<usize, EventId>,
) -> Result<(), StoreError> {
    let mut carriers: HashMap<(usize, Purpose), Vec<Uuid>> = HashMap::new();
    for draft in &drafts.mails {
        if let Some(plan) = draft.automation.token {
            carriers.entry((draft.event, plan.purpose)).or_default().push(draft.id.0);
        }
    }
    let carriers =
        |key: &(usize, Purpose)| carriers.get(key).map_or_else(|| "[]".to_owned(), |ids| json(ids));
    let row = |(key, issue): (&(usize, Purpose), &super::drafts::Issue)| TokenRow {
        project_id: issue.member.0.0,
        member_id: issue.member.1.clone(),
        purpose: key.1.name(),
        id: issue.id.0,
        key_id: desk.keys.current_id().to_owned(),
        event_id: ids[&key.0].0,
        dispatches: carriers(key),
        lifetime_s: i64::try_from(issue.lifetime.as_secs()).unwrap_or(i64::MAX),
        requested_at: batch[key.0].incoming.time,
        expires_at: desk.now + TimeDelta::from_std(issue.lifetime).unwrap_or(TimeDelta::MAX),
    };
    let rows: Vec<TokenRow> = drafts.issues.iter().map(row).collect();
    if !rows.is_empty() {
        db!(tx, tokens::issue(&rows))?;
    }
    Ok(())
}

#[cfg(test)]
fn planted_panic(event: &Prepared) {
    assert!(event.incoming.data.get("panic").is_none(), "planted by a test");
}
