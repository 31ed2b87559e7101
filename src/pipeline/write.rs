//! Step 4: writes what was decided, each table in one statement for the whole batch, in the order in which
//! everybody locks: members, dispatches, tokens.

use std::collections::HashMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::accounts::{Accounts, MemberKey};
use super::drafts::{Drafts, Issue, MEMBER_DELETED, SUPERSEDED, Told};
use super::entries::{dispatch_row, event_row, owed};
use super::lanes::Reservation;
use super::notices::Notices;
use super::plan::{Batch, Desk, PlanError};
use crate::domain::dispatch::Owed;
use crate::domain::event::Planned;
use crate::domain::id::{DispatchId, EventId};
use crate::domain::token::Purpose;
use crate::store::rows::{AnsweredRow, DispatchRow, MemberId, MemberRow, TokenRow, json};
use crate::store::{StoreError, Tx, db};

pub(super) struct Written {
    pub(super) answers: Vec<(usize, Planned)>,
    pub(super) owed: Vec<Owed>,
    pub(super) unheld: bool,
    /// The templates of dispatches that are cancelled.
    pub(super) cancelled: Vec<String>,
}

type Decided<'a> = (&'a Drafts, &'a HashMap<usize, Told>);

pub(super) async fn write(
    tx: &mut Tx,
    desk: &Desk<'_>,
    batch: &Batch<'_>,
    (drafts, told): Decided<'_>,
    reservation: &mut Reservation,
) -> Result<Written, PlanError> {
    let mut places: Vec<usize> = told.keys().copied().collect();
    places.sort_unstable();
    let ids: HashMap<usize, EventId> =
        places.iter().map(|place| (*place, EventId::new_at(desk.now))).collect();
    let cancelled = write_accounts(tx, desk, &drafts.accounts).await?;
    write_tokens(tx, desk, batch, drafts, &ids).await?;
    drafts.throttles.write(tx).await?;

    let mut dispatches: HashMap<usize, Vec<DispatchId>> = HashMap::new();
    let mut rows = Vec::with_capacity(drafts.mails.len());
    let mut written = Written { answers: Vec::new(), owed: Vec::new(), unheld: false, cancelled };
    for draft in &drafts.mails {
        dispatches.entry(draft.event).or_default().push(draft.id);
        let row = dispatch_row(desk, batch.at(draft.event), (draft, drafts), ids[&draft.event]);
        let row = DispatchRow { holder: reservation.take_for(&row), ..row };
        written.unheld |= row.holder.is_none() && row.state == "pending";
        if row.holder.is_some() {
            written.owed.extend(owed(desk, batch.at(draft.event), (draft, drafts), &row));
        }
        if row.state == "cancelled" {
            written.cancelled.push(row.template.clone());
        }
        rows.push(row);
    }
    let mut notices = Notices::new(desk.catalogue, desk.now);
    let mut events = Vec::with_capacity(places.len());
    for place in places {
        let mails = dispatches.remove(&place).unwrap_or_default();
        events.push(event_row(batch.at(place), ids[&place], &told[&place], &mails));
        notices.planned(batch.at(place), ids[&place], &told[&place], &mails);
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
    notices.write(tx).await?;
    Ok(written)
}

/// Returns the templates of the dispatches that are cancelled.
async fn write_accounts(
    tx: &mut Tx,
    desk: &Desk<'_>,
    accounts: &Accounts,
) -> Result<Vec<String>, StoreError> {
    let mut cancelled = Vec::new();
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
        cancelled.extend(db!(tx, dispatches::cancel(&accounts.unwanted, SUPERSEDED))?);
    }
    if !gone.is_empty() {
        cancelled.extend(db!(tx, dispatches::cancel_members(&gone, MEMBER_DELETED))?);
    }
    if !accounts.ended.is_empty() {
        db!(tx, tokens::end(&accounts.ended, desk.now))?;
    }
    if !accounts.answered.new.is_empty() {
        let row = |(member, answered): &(MemberKey, String)| AnsweredRow::new(member, answered.clone(), None);
        let rows: Vec<AnsweredRow> = accounts.answered.new.iter().map(row).collect();
        db!(tx, absences::insert(&rows, desk.now))?;
    }
    Ok(cancelled)
}

async fn write_tokens(
    tx: &mut Tx,
    desk: &Desk<'_>,
    batch: &Batch<'_>,
    drafts: &Drafts,
    ids: &HashMap<usize, EventId>,
) -> Result<(), StoreError> {
    let mut carriers: HashMap<(usize, Purpose), Vec<Uuid>> = HashMap::new();
    for draft in &drafts.mails {
        if let Some(purpose) = draft.purpose {
            carriers.entry((draft.event, purpose)).or_default().push(draft.id.0);
        }
    }
    let carriers =
        |key: &(usize, Purpose)| carriers.get(key).map_or_else(|| "[]".to_owned(), |ids| json(ids));
    let row = |(key, issue): (&(usize, Purpose), &Issue)| TokenRow {
        project_id: issue.member.0.0,
        member_id: issue.member.1.clone(),
        purpose: key.1.name(),
        scope: issue.scope.clone(),
        payload: issue.payload.clone(),
        id: issue.id.0,
        key_id: desk.keys.current_id().to_owned(),
        event_id: ids[&key.0].0,
        dispatches: carriers(key),
        lifetime_s: i64::try_from(issue.lifetime.as_secs()).unwrap_or(i64::MAX),
        requested_at: batch.at(key.0).incoming.time,
        expires_at: desk.now + TimeDelta::from_std(issue.lifetime).unwrap_or(TimeDelta::MAX),
    };
    let rows: Vec<TokenRow> = drafts.issues.iter().map(row).collect();
    if !rows.is_empty() {
        db!(tx, tokens::issue(&rows))?;
    }
    Ok(())
}
