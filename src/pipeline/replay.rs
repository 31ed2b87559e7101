//! Dead dispatches planned again, decided under the lock of their members: the automation and address of now, and
//! a fresh token unless other mails of the event carry the one that is there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::accounts::Accounts;
use super::drafts::SUPERSEDED;
use super::entries::message_id;
use super::plan;
use super::rearm::Verdict;
use super::settle::count_end;
use super::slots::Request;
use crate::domain::address::fold;
use crate::domain::catalogue::{Automation, Catalogue};
use crate::domain::change::Change;
use crate::domain::id::{AutomationId, DispatchId, ProjectId};
use crate::domain::token::{Purpose, TokenId};
use crate::store::rows::{AgainRow, DeadRow, MemberId, MemberKey, TokenRow, json};
use crate::store::{StoreError, Tx, db};

/// Locks the members, in key order as planning does, and reads their tokens.
pub(super) async fn read_accounts(tx: &mut Tx, dead: &[DeadRow]) -> Result<Accounts, StoreError> {
    let key = |row: &DeadRow| MemberKey { project: row.project_id, kind: "id", key: row.member_id.clone() };
    let mut keys: Vec<MemberKey> = dead.iter().map(key).collect();
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
}

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
        }
    }

    pub(super) fn decide(&mut self, row: &DeadRow) -> Verdict {
        let Some(automation) = current(self.desk.catalogue, row) else { return Verdict::NoAutomation };
        let key = (ProjectId(row.project_id), row.member_id.clone());
        let Some(member) = self.accounts.member(&key).filter(|member| member.is_live()) else {
            return Verdict::Superseded;
        };
        let address = member.email.clone();
        let was = row.purpose.as_deref().and_then(Purpose::from_name);
        // Of two mails about one change, one goes where the member was before.
        let recipient = match (Change::read(&row.kind, &row.data()), was) {
            (_, Some(Purpose::UndoEmailChange)) => row.recipient.clone(),
            (Ok(Change::EmailChangeRequested(_, new_email)), _) => new_email.to_string(),
            _ => address,
        };
        let carries = match automation.token.map(|plan| plan.purpose) {
            Some(Purpose::UndoEmailChange) => was.filter(|was| *was == Purpose::UndoEmailChange),
            other => other,
        };
        let token = match carries.map(|purpose| self.token(row, &automation, purpose)) {
            Some(None) => return Verdict::Superseded,
            Some(Some(token)) => Some(token),
            None => None,
        };
        self.rows.push(self.again(row, &automation, (recipient, carries, token)));
        Verdict::Done
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
        if let Some(issued) = self.tokens.get(&place) {
            self.carriers.entry(place).or_default().push(row.id);
            return Some(TokenId(issued.id));
        }
        let key = (ProjectId(row.project_id), row.member_id.clone());
        let scope = if purpose == Purpose::UndoEmailChange { fold(&row.recipient) } else { String::new() };
        let (id, payload) = match self.accounts.token_of(&(key.clone(), purpose, scope.clone()), row.event_id)
        {
            Some(stored) if !stored.is_live => return None,
            Some(stored) if stored.dispatches.iter().any(|carrier| !self.asked.contains(carrier)) => {
                return Some(TokenId(stored.id));
            }
            Some(stored) => (TokenId::random(&mut self.chance), stored.payload.clone()),
            None => (TokenId::random(&mut self.chance), "{}".to_owned()),
        };
        if payload == "{}" && matches!(purpose, Purpose::ChangeEmail | Purpose::UndoEmailChange) {
            // The row that says which addresses it is about is another's now.
            return None;
        }
        if self.accounts.request_token((&key, purpose, &scope), row.time, 0) == Request::Superseded {
            return None;
        }
        let lifetime = automation.token.map(|plan| plan.lifetime).unwrap_or_default();
        self.carriers.entry(place).or_default().push(row.id);
        let token = TokenRow {
            project_id: row.project_id,
            member_id: row.member_id.clone(),
            purpose: purpose.name(),
            scope,
            payload,
            id: id.0,
            key_id: self.desk.keys.current_id().to_owned(),
            event_id: row.event_id,
            dispatches: String::new(),
            lifetime_s: i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
            requested_at: row.time,
            expires_at: self.desk.now + TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::MAX),
        };
        self.tokens.insert(place, token);
        Some(id)
    }

    /// Returns those that were still dead: another may have armed them meanwhile.
    pub(super) async fn write(self, tx: &mut Tx) -> Result<HashSet<Uuid>, StoreError> {
        if self.rows.is_empty() {
            return Ok(HashSet::new());
        }
        if !self.accounts.unwanted.is_empty() {
            for template in db!(tx, dispatches::cancel(&self.accounts.unwanted, SUPERSEDED))? {
                count_end(&template, "cancelled");
            }
        }
        let done = db!(tx, rearm::again(&self.rows))?.into_iter().collect();
        let mut tokens = self.tokens;
        for (place, token) in &mut tokens {
            token.dispatches = json(self.carriers.get(place).map_or(&[][..], Vec::as_slice));
        }
        let tokens: Vec<TokenRow> = tokens.into_values().collect();
        if !tokens.is_empty() {
            db!(tx, tokens::issue(&tokens))?;
        }
        Ok(done)
    }
}

fn current(catalogue: &Catalogue, row: &DeadRow) -> Option<Arc<Automation>> {
    let automation = catalogue.automations.get(&AutomationId(row.automation_id));
    automation.filter(|automation| automation.enabled).cloned()
}
