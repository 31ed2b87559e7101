//! Step 4: one transaction for a batch of events. Reads the identities, locks the members, lets the pure
//! steps decide, writes. Commits nothing and sends nothing: the caller does, in that order.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::absences::{ABOUT_ABSENCE, Answered};
use super::accounts::Accounts;
use super::drafts::{Drafts, Prepared, Told};
use super::entries::refusal_row;
use super::identities::{fill_echoes, set_known_aside};
use super::lanes::Reservation;
use super::notices::Notices;
use super::throttle::Throttles;
use super::write::write;
use crate::domain::catalogue::Catalogue;
use crate::domain::change::{Absence, Change};
use crate::domain::dispatch::Owed;
use crate::domain::event::{Planned, Reason, Refusal};
use crate::domain::id::{EventId, ProjectId};
use crate::domain::keys::Keyring;
use crate::domain::member::MemberRef;
use crate::domain::token::Purpose;
use crate::store::rows::{AnsweredRow, MemberId, MemberKey, RefusalRow};
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
    /// The types of events of our own, with their outcomes: those of a flow, and those that followed.
    pub own: Vec<(String, &'static str)>,
    /// The templates of the dispatches that are cancelled.
    pub cancelled: Vec<String>,
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

/// A batch, and the events that follow from it, by their places.
pub(super) struct Batch<'a> {
    given: &'a [Prepared],
    own: Vec<Prepared>,
}

impl Batch<'_> {
    pub(super) fn at(&self, place: usize) -> &Prepared {
        self.given.get(place).unwrap_or_else(|| &self.own[place - self.given.len()])
    }

    fn push(&mut self, own: Prepared) -> usize {
        self.own.push(own);
        self.given.len() + self.own.len() - 1
    }
}

/// Plans a batch inside an open transaction.
pub async fn plan(
    tx: &mut Tx,
    desk: &Desk<'_>,
    given: &[Prepared],
    reservation: &mut Reservation,
) -> Result<Plan, PlanError> {
    let mut planned: Vec<Option<Planned>> = vec![None; given.len()];
    let echoes = set_known_aside(tx, desk.now, given, &mut planned).await?;
    let mut order: Vec<usize> = (0..given.len()).filter(|place| planned[*place].is_none()).collect();
    order.retain(|place| !echoes.contains_key(place));
    order.sort_by_key(|place| given[*place].incoming.time);
    let accounts = read_accounts(tx, order.iter().map(|place| &given[*place])).await?;

    let mut batch = Batch { given, own: Vec::new() };
    let mut drafts = Drafts::new(accounts, desk.now, StdRng::from_rng(&mut rand::rng()));
    drafts.throttles =
        Throttles::read(tx, desk, &drafts.accounts, order.iter().map(|at| (*at, &given[*at]))).await?;
    let mut told: HashMap<usize, Told> = HashMap::new();
    for place in order {
        #[cfg(test)]
        planted_panic(&given[place]);
        match drafts.apply(place, &given[place]) {
            Ok(one) => drop(told.insert(place, one)),
            Err(refusal) => planned[place] = Some(refused(desk.now, refusal)),
        }
        for own in std::mem::take(&mut drafts.follow_ups) {
            let place = batch.push(own);
            // One of our own making, about a member who was found a moment ago: not refused.
            if let Ok(one) = drafts.apply(place, batch.at(place)) {
                told.insert(place, one);
            }
        }
    }
    let written = write(tx, desk, &batch, (&drafts, &told), reservation).await?;
    for (place, answer) in written.answers {
        if let Some(planned) = planned.get_mut(place) {
            *planned = Some(answer);
        }
    }
    let planned = fill_echoes(&planned, &echoes, given, desk.now);
    note_refusals(tx, desk, given, &planned).await?;
    let issued = drafts.issues.keys().map(|(_, purpose)| *purpose).collect();
    let own = given.iter().chain(&batch.own).enumerate().filter(|(_, event)| event.own);
    let own = own
        .filter_map(|(place, event)| Some((event.incoming.kind.clone(), told.get(&place)?.outcome.name())));
    let (own, cancelled) = (own.collect(), written.cancelled);
    Ok(Plan { planned, owed: written.owed, unheld: written.unheld, issued, own, cancelled })
}

/// Notes the refused ones, so that a publisher can look them up. An unknown member is not noted here: the
/// event may be tried again.
async fn note_refusals(
    tx: &mut Tx,
    desk: &Desk<'_>,
    batch: &[Prepared],
    planned: &[Planned],
) -> Result<(), StoreError> {
    let mut notices = Notices::new(desk.catalogue, desk.now);
    let noted = batch.iter().zip(planned).filter_map(|(event, planned)| match planned {
        Planned::Refused { event: id, refusal } if refusal.reason != Reason::UnknownMember => {
            notices.refused(&event.incoming, *id, refusal);
            Some(refusal_row(*id, &event.incoming, refusal, desk.now))
        }
        _ => None,
    });
    let rows: Vec<RefusalRow> = noted.collect();
    if !rows.is_empty() {
        db!(tx, events::insert_refusals(&rows))?;
    }
    notices.write(tx).await
}

pub(super) fn refused(now: DateTime<Utc>, refusal: Refusal) -> Planned {
    Planned::Refused { event: EventId::new_at(now), refusal }
}

/// Locks the members that the events name, in key order, and reads their tokens.
async fn read_accounts<'a>(
    tx: &mut Tx,
    events: impl Iterator<Item = &'a Prepared>,
) -> Result<Accounts, StoreError> {
    let (mut keys, mut absences) = (HashSet::new(), Vec::new());
    for event in events {
        if let Change::OutOfOffice(name, absence) = &event.change {
            absences.push((event.project.id, name, absence));
        }
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
    let mut accounts = Accounts::new(members, tokens);
    accounts.answered = read_answered(tx, &accounts, absences).await?;
    Ok(accounts)
}

/// What is known of the mails that automatic replies answer.
async fn read_answered(
    tx: &mut Tx,
    accounts: &Accounts,
    absences: Vec<(ProjectId, &MemberRef, &Absence)>,
) -> Result<Answered, StoreError> {
    let row = |(project, name, absence): (ProjectId, &MemberRef, &Absence)| {
        let member = accounts.find(project, name).ok()?;
        Some(AnsweredRow::new(&member, absence.answered.clone()?, absence.dispatch.map(|id| id.0)))
    };
    let rows: Vec<AnsweredRow> = absences.into_iter().filter_map(row).collect();
    if rows.is_empty() {
        return Ok(Answered::default());
    }
    let counted = db!(tx, absences::counted(&rows))?;
    let about = db!(tx, absences::about_absence(&rows, &ABOUT_ABSENCE))?;
    let counted =
        counted.into_iter().map(|(project, member, answered)| ((ProjectId(project), member), answered));
    Ok(Answered::new(counted.collect(), about.into_iter().collect()))
}

#[cfg(test)]
fn planted_panic(event: &Prepared) {
    assert!(event.incoming.data.get("panic").is_none(), "planted by a test");
}
