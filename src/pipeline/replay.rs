//! Dead dispatches planned again, decided under the lock of their members: the automation and address of now, and
//! a fresh token unless other mails of the event carry the one that is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::accounts::Accounts;
use super::drafts::{Prepared, SUPERSEDED};
use super::entries::message_id;
use super::matching::{Asked, MOVED};
use super::plan;
use super::rearm::Verdict;
use super::slots::Request;
use crate::domain::address::fold;
use crate::domain::catalogue::{Automation, Catalogue};
use crate::domain::change::Change;
use crate::domain::event::Incoming;
use crate::domain::id::{AutomationId, DispatchId, ProjectId};
use crate::domain::token::{Purpose, TokenId};
use crate::store::rows::{AgainRow, DeadRow, MemberId, MemberKey, StateRow, TokenRow, json};
use crate::store::{StoreError, Tx, db};

/// Locks the members of the dead ones, in key order as planning does, and reads their tokens. What of them is still
/// dead is to be read after this: nobody else arms it then.
pub(super) async fn lock_accounts(
    tx: &mut Tx,
    project: ProjectId,
    states: &[StateRow],
) -> Result<Accounts, StoreError> {
    let dead = states.iter().filter(|row| row.state == "dead");
    let key = |row: &StateRow| MemberKey { project: project.0, kind: "id", key: row.member_id.clone() };
    let mut keys: Vec<MemberKey> = dead.map(key).collect();
    keys.sort();
    keys.dedup();
    if keys.is_empty() {
        return Ok(Accounts::default());
    }
    let members = db!(tx, members::lock(&keys))?;
    let ids: Vec<MemberId> =
        members.iter().map(|one| MemberId { project: one.project_id.0, member: one.id.clone() }).collect();
    let tokens = if ids.is_empty() { Vec::new() } else { db!(tx, tokens::of_members(&ids))? };
    Ok(Accounts::new(members, tokens))
}

/// A token that stays, with those that carried it and those that do from now on.
#[derive(Default)]
struct Joined {
    before: Vec<Uuid>,
    new: Vec<Uuid>,
}

/// A batch that is planned again.
pub(super) struct Replay<'a> {
    desk: &'a plan::Desk<'a>,
    accounts: Accounts,
    chance: StdRng,
    /// All that are asked for, to see whether a token has another carrier.
    asked: HashSet<Uuid>,
    rows: Vec<AgainRow>,
    tokens: HashMap<(Uuid, Purpose), TokenRow>,
    carriers: HashMap<(Uuid, Purpose), Vec<Uuid>>,
    joined: BTreeMap<Uuid, Joined>,
}

/// Where a mail goes, and of what purpose a token it carries.
type Way = (String, Option<Purpose>);

impl<'a> Replay<'a> {
    pub(super) fn new(desk: &'a plan::Desk<'a>, accounts: Accounts, dead: &[DeadRow]) -> Self {
        Self {
            desk,
            accounts,
            chance: StdRng::from_rng(&mut rand::rng()),
            asked: dead.iter().map(|row| row.id).collect(),
            rows: Vec::new(),
            tokens: HashMap::new(),
            carriers: HashMap::new(),
            joined: BTreeMap::new(),
        }
    }

    /// Later requests must come first.
    pub(super) fn decide(&mut self, row: &DeadRow) -> Verdict {
        let Some(automation) = current(self.desk.catalogue, row) else { return Verdict::NoAutomation };
        let (recipient, carries) = match self.way(row, &automation) {
            Ok(way) => way,
            Err(verdict) => return verdict,
        };
        let token = match carries.map(|purpose| self.token(row, &automation, purpose)) {
            Some(None) => return Verdict::Superseded,
            Some(Some(token)) => Some(token),
            None => None,
        };
        self.rows.push(self.again(row, &automation, (recipient, carries, token)));
        Verdict::Done
    }

    /// By the rules that planning goes by, as the automation and the member are now.
    fn way(&self, row: &DeadRow, automation: &Automation) -> Result<Way, Verdict> {
        let key = (ProjectId(row.project_id), row.member_id.clone());
        let member = self.accounts.member(&key).filter(|member| member.is_live());
        let member = member.ok_or(Verdict::Superseded)?;
        let event = self.prepared(row).ok_or(Verdict::NoAutomation)?;
        let was = row.purpose.as_deref().and_then(Purpose::from_name);
        let is_undo = was == Some(Purpose::UndoEmailChange);
        let moved = is_undo || is_of_move(row, &event.change, automation);
        let asked = Asked::new(&event, Some(member), moved, self.desk.now);
        if !asked.is_asked(automation) || asked.why_not(automation).is_some() {
            return Err(Verdict::NoAutomation);
        }
        let purpose = automation.token.map(|plan| plan.purpose);
        Ok(match &event.change {
            // Of two mails about one change, one goes where the member was before, and it alone carries a token.
            _ if moved => (row.recipient.clone(), purpose.filter(|_| is_undo)),
            Change::EmailChangeRequested(_, new_email) => (new_email.to_string(), purpose),
            _ => (member.email.clone(), purpose),
        })
    }

    /// The event as it was planned, but as young as its replay.
    fn prepared(&self, row: &DeadRow) -> Option<Prepared> {
        let project = self.desk.catalogue.project(ProjectId(row.project_id))?;
        let data = row.data();
        let change = match project.event_types.get(&row.kind) {
            Some(_) => Change::read_registered(&data),
            None => Change::read(&row.kind, &data),
        };
        let incoming = Incoming {
            project: project.slug.clone(),
            source: String::new(),
            id: String::new(),
            kind: row.kind.clone(),
            time: row.time,
            received_at: row.time,
            data,
            traceparent: None,
        };
        let (project, since) = (project.clone(), self.desk.now);
        Some(Prepared { incoming, project, change: change.ok()?, own: false, since, client: None })
    }

    fn again(
        &self,
        row: &DeadRow,
        automation: &Automation,
        (recipient, purpose, token): (String, Option<Purpose>, Option<TokenId>),
    ) -> AgainRow {
        let now = self.desk.now;
        let id = DispatchId(row.id);
        AgainRow {
            id: row.id,
            automation_version: automation.version,
            integration_id: automation.integration_id.0,
            template: automation.template.clone(),
            recipient,
            purpose: purpose.map(Purpose::name),
            token_id: token.map(|token| token.0.simple().to_string()),
            message_id: message_id(self.desk, automation, id, row.planned() + 1),
            due_at: now,
            expires_at: now + TimeDelta::from_std(automation.max_age).unwrap_or(TimeDelta::MAX),
        }
    }

    /// A fresh token, shared by all automations of the event. One that other mails of the event carry stays, or
    /// their links would end. `None`: it was used, or something later was there before.
    fn token(&mut self, row: &DeadRow, automation: &Automation, purpose: Purpose) -> Option<TokenId> {
        let place = (row.event_id, purpose);
        let lifetime = automation.token.map(|plan| plan.lifetime.as_secs()).unwrap_or_default();
        let lifetime_s = i64::try_from(lifetime).unwrap_or(i64::MAX);
        if let Some(issued) = self.tokens.get_mut(&place) {
            issued.lifetime_s = issued.lifetime_s.max(lifetime_s);
            self.carriers.entry(place).or_default().push(row.id);
            return Some(TokenId(issued.id));
        }
        let member = (ProjectId(row.project_id), row.member_id.clone());
        let scope = if purpose == Purpose::UndoEmailChange { fold(&row.recipient) } else { String::new() };
        let key = (member, purpose, scope);
        let (id, payload) = match self.accounts.token_of(&key, row.event_id) {
            Some(stored) if !stored.is_live => return None,
            Some(stored) if stored.dispatches.iter().any(|carrier| !self.asked.contains(carrier)) => {
                let joined = self.joined.entry(stored.id).or_default();
                joined.before.clone_from(&stored.dispatches);
                joined.new.push(row.id);
                return Some(TokenId(stored.id));
            }
            Some(stored) => (TokenId::random(&mut self.chance), stored.payload.clone()),
            None => (TokenId::random(&mut self.chance), "{}".to_owned()),
        };
        if payload == "{}" && matches!(purpose, Purpose::ChangeEmail | Purpose::UndoEmailChange) {
            // The row that says which addresses it is about is another's now.
            return None;
        }
        if self.accounts.request_again(&key, row.time, row.event_id) == Request::Superseded {
            return None;
        }
        self.carriers.entry(place).or_default().push(row.id);
        let token = TokenRow {
            project_id: row.project_id,
            member_id: row.member_id.clone(),
            purpose: purpose.name(),
            scope: key.2,
            payload,
            id: id.0,
            key_id: self.desk.keys.current_id().to_owned(),
            event_id: row.event_id,
            dispatches: String::new(),
            lifetime_s,
            requested_at: row.time,
            // Counted from when it is sent.
            expires_at: self.desk.now + TimeDelta::try_seconds(lifetime_s).unwrap_or(TimeDelta::MAX),
        };
        self.tokens.insert(place, token);
        Some(id)
    }

    /// Returns those that were still dead. A token that none of them carries is not issued: it would end the one
    /// that is there.
    pub(super) async fn write(self, tx: &mut Tx) -> Result<HashSet<Uuid>, StoreError> {
        if self.rows.is_empty() {
            return Ok(HashSet::new());
        }
        if !self.accounts.unwanted.is_empty() {
            db!(tx, dispatches::cancel(&self.accounts.unwanted, SUPERSEDED))?;
        }
        let done: HashSet<Uuid> = db!(tx, rearm::again(&self.rows))?.into_iter().collect();
        let mut tokens = Vec::new();
        for (place, token) in self.tokens {
            let carriers = self.carriers.get(&place).into_iter().flatten();
            let carriers: Vec<Uuid> = carriers.filter(|id| done.contains(id)).copied().collect();
            if !carriers.is_empty() {
                tokens.push(TokenRow { dispatches: json(&carriers), ..token });
            }
        }
        if !tokens.is_empty() {
            db!(tx, tokens::issue(&tokens))?;
        }
        for (token, Joined { before, new }) in self.joined {
            let is_new = |id: &Uuid| done.contains(id) && !before.contains(id);
            let new: Vec<Uuid> = new.into_iter().filter(is_new).collect();
            if !new.is_empty() {
                db!(tx, tokens::carried(token, &[before, new].concat()))?;
            }
        }
        Ok(done)
    }
}

fn current(catalogue: &Catalogue, row: &DeadRow) -> Option<Arc<Automation>> {
    catalogue.automations.get(&AutomationId(row.automation_id)).cloned()
}

/// Whether the event moved the member to another address.
fn is_of_move(row: &DeadRow, change: &Change, automation: &Automation) -> bool {
    match change {
        Change::EmailChanged { .. } => true,
        Change::Created(profile) | Change::Updated(profile) => {
            let went_elsewhere =
                profile.email.as_ref().is_some_and(|email| email.key() != fold(&row.recipient));
            automation.event_type == MOVED || went_elsewhere
        }
        _ => false,
    }
}
