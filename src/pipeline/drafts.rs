//! Step 3, pure: which automations an event matches, and the mails and tokens that it owes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use serde::Serialize;

use super::accounts::{Accounts, Applied, MemberKey, Request, Which};
use crate::domain::catalogue::{Automation, Project};
use crate::domain::change::Change;
use crate::domain::condition::Condition;
use crate::domain::dispatch::{Addressee, Facts};
use crate::domain::event::{Incoming, Outcome, Refusal};
use crate::domain::id::{self, AutomationId, DispatchId};
use crate::domain::member::Member;
use crate::domain::token::{Purpose, TokenId};

/// Why a dispatch of a request that a later one replaced is cancelled.
pub const SUPERSEDED: &str = "superseded";
/// Why a dispatch to a deleted member is cancelled.
pub const MEMBER_DELETED: &str = "member-deleted";
/// How many automations that did not match are kept with an event.
const SHOWN_AUTOMATIONS: usize = 20;

/// An event whose project is known and whose data were read.
#[derive(Clone)]
pub struct Prepared {
    pub incoming: Incoming,
    pub project: Arc<Project>,
    pub change: Change,
}

/// A dispatch before it is written.
pub struct Draft {
    pub id: DispatchId,
    /// The place of its event in the batch.
    pub event: usize,
    pub automation: Arc<Automation>,
    pub member: MemberKey,
    pub recipient: String,
    pub cancelled: Option<&'static str>,
}

/// A token to be issued.
#[derive(Clone)]
pub struct Issue {
    pub id: TokenId,
    pub member: MemberKey,
    pub lifetime: Duration,
}

/// What an event came to.
pub struct Told {
    pub outcome: Outcome,
    pub member: Option<MemberKey>,
    pub automations: Vec<Match>,
}

/// An automation of the event's type, kept with the event.
#[derive(Serialize)]
pub struct Match {
    pub automation: AutomationId,
    pub name: String,
    pub matched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// The mails and tokens of a batch.
pub struct Drafts {
    pub accounts: Accounts,
    pub mails: Vec<Draft>,
    pub issues: HashMap<(usize, Purpose), Issue>,
    now: DateTime<Utc>,
    /// Cryptographically secure: token ids come from it.
    chance: StdRng,
}

impl Drafts {
    pub fn new(accounts: Accounts, now: DateTime<Utc>, chance: StdRng) -> Self {
        Self { accounts, mails: Vec::new(), issues: HashMap::new(), now, chance }
    }

    /// Applies one event, and drafts what it owes. Events must come in the order of their times.
    pub fn apply(&mut self, place: usize, event: &Prepared) -> Result<Told, Refusal> {
        let applied = self.change(event)?;
        self.drop_losers();
        let member = match applied {
            Applied::Stale(member) => {
                return Ok(Told { outcome: Outcome::Stale, member: Some(member), automations: Vec::new() });
            }
            Applied::To(member) => member,
        };
        let (matches, chosen) = self.matching(event, &member);
        for automation in &chosen {
            self.draft(place, event, automation, &member);
        }
        self.drop_losers();
        let too_old = matches.iter().any(|one| one.why == Some(TOO_OLD));
        let refused = matches.iter().any(|one| matches!(one.why, Some(CONDITION_FALSE | CONDITION_FAILED)));
        let outcome = match (&event.change, chosen.is_empty(), too_old) {
            (_, false, _) => Outcome::Dispatched,
            (_, true, true) => Outcome::Stale,
            (Change::ResetRequested(..) | Change::PasswordChanged(..), ..) if refused => {
                Outcome::ConditionFalse
            }
            (Change::ResetRequested(..) | Change::PasswordChanged(..), ..) => Outcome::NoAutomation,
            _ => Outcome::Applied,
        };
        Ok(Told { outcome, member: Some(member), automations: matches })
    }

    fn change(&mut self, event: &Prepared) -> Result<Applied, Refusal> {
        let (project, time) = (event.project.id, event.incoming.time);
        let accounts = &mut self.accounts;
        match &event.change {
            Change::SignedIn(name) => accounts.sign_of_life(project, name).map(Applied::To),
            Change::Created(profile) => {
                let new_id = format!("mem_{}", id::new_at(self.now).simple());
                accounts.put(project, profile, time, Some(&new_id))
            }
            Change::Updated(profile) => accounts.put(project, profile, time, None),
            Change::Deleted(name) => {
                let applied = accounts.delete(project, name, time)?;
                if let Applied::To(member) = &applied {
                    self.cancel(|draft| draft.member == *member, MEMBER_DELETED);
                }
                Ok(applied)
            }
            Change::ResetRequested(name, _) => accounts.find(project, name).map(Applied::To),
            Change::PasswordChanged(name, _) => {
                let member = accounts.sign_of_life(project, name)?;
                // Not the undo of an e-mail change: a thief would change the password to end it.
                let ended = [Purpose::ResetPassword, Purpose::ChangeEmail, Purpose::Notifications];
                accounts.end_tokens(&member, time, (Which::Earlier, &ended));
                Ok(Applied::To(member))
            }
        }
    }

    /// The automations of the event's type that send, and all of them with the reason why others do not.
    fn matching(&self, event: &Prepared, member: &MemberKey) -> (Vec<Match>, Vec<Arc<Automation>>) {
        let age = self.now - event.incoming.time;
        let of_type = event.project.automations.get(&event.incoming.kind).map_or(&[][..], Vec::as_slice);
        let asked = Asked::new(event, self.accounts.member(member));
        let why = |automation: &Automation| why_not(automation, age, &asked);
        let (mut matches, mut chosen, mut others) = (Vec::new(), Vec::new(), 0);
        for automation in of_type {
            let why = why(automation);
            if why.is_none() {
                chosen.push(automation.clone());
            } else {
                others += 1;
            }
            if why.is_none() || others <= SHOWN_AUTOMATIONS {
                let name = automation.name.clone();
                matches.push(Match { automation: automation.id, name, matched: why.is_none(), why });
            }
        }
        (matches, chosen)
    }

    fn draft(&mut self, place: usize, event: &Prepared, automation: &Arc<Automation>, member: &MemberKey) {
        let Some(recipient) = self.accounts.member(member).map(|member| member.email.clone()) else { return };
        let superseded = automation.token.is_some_and(|plan| {
            !self.issue(place, event.incoming.time, member, (plan.purpose, plan.lifetime))
        });
        self.mails.push(Draft {
            id: DispatchId::new_at(self.now),
            event: place,
            automation: automation.clone(),
            member: member.clone(),
            recipient,
            cancelled: superseded.then_some(SUPERSEDED),
        });
    }

    /// All automations of one event share one token a purpose; the longest lifetime counts.
    fn issue(
        &mut self,
        place: usize,
        time: DateTime<Utc>,
        member: &MemberKey,
        plan: (Purpose, Duration),
    ) -> bool {
        let (purpose, lifetime) = plan;
        if let Some(issue) = self.issues.get_mut(&(place, purpose)) {
            issue.lifetime = issue.lifetime.max(lifetime);
            return true;
        }
        if self.accounts.request_token(member, purpose, time, place) == Request::Superseded {
            return false;
        }
        let issue = Issue { id: TokenId::random(&mut self.chance), member: member.clone(), lifetime };
        self.issues.insert((place, purpose), issue);
        true
    }

    fn drop_losers(&mut self) {
        for (event, purpose) in std::mem::take(&mut self.accounts.losers) {
            self.issues.remove(&(event, purpose));
            let carries = |draft: &Draft| draft.automation.token.is_some_and(|plan| plan.purpose == purpose);
            self.cancel(|draft| draft.event == event && carries(draft), SUPERSEDED);
        }
    }

    fn cancel(&mut self, which: impl Fn(&Draft) -> bool, reason: &'static str) {
        for draft in self.mails.iter_mut().filter(|draft| which(draft)) {
            draft.cancelled.get_or_insert(reason);
        }
    }
}

const TOO_OLD: &str = "the event is older than max_age";
const DISABLED: &str = "it is switched off";
pub(super) const CONDITION_FALSE: &str = "its condition does not hold";
pub(super) const CONDITION_FAILED: &str = "its condition could not be evaluated";

/// What conditions ask, made ready once for all automations of an event.
pub(super) struct Asked<'a> {
    event: Facts,
    member: Addressee,
    project: &'a Project,
}

impl<'a> Asked<'a> {
    pub(super) fn new(event: &'a Prepared, member: Option<&Member>) -> Self {
        let incoming = &event.incoming;
        let facts = Facts { kind: incoming.kind.clone(), time: incoming.time, data: incoming.data.clone() };
        Self { event: facts, member: member.map(Addressee::of).unwrap_or_default(), project: &event.project }
    }

    fn refuses(&self, condition: &Condition) -> Option<&'static str> {
        match condition.holds(&self.event, &self.member, (&self.project.name, &self.project.slug)) {
            Ok(true) => None,
            Ok(false) => Some(CONDITION_FALSE),
            Err(_) => Some(CONDITION_FAILED),
        }
    }
}

/// Why an automation of the event's type sends nothing.
pub(super) fn why_not(automation: &Automation, age: TimeDelta, asked: &Asked<'_>) -> Option<&'static str> {
    if !automation.enabled {
        return Some(DISABLED);
    }
    if age > TimeDelta::from_std(automation.max_age).unwrap_or(TimeDelta::MAX) {
        return Some(TOO_OLD);
    }
    automation.condition.as_ref().and_then(|condition| asked.refuses(condition))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use serde_json::json;

    use super::super::fixture::{ACME, RESET, at, automation, incoming, prepared, project};
    use super::*;
    use crate::domain::change::Profile;

    fn drafts() -> Drafts {
        let mut accounts = Accounts::default();
        let email = crate::domain::address::EmailAddress::parse("ada@example.com").unwrap();
        let ada = Profile { id: Some("mem_ada".to_owned()), email: Some(email), ..Profile::default() };
        accounts.put(ACME, &ada, at(-1), Some("mem_new")).unwrap();
        Drafts::new(accounts, at(0), StdRng::seed_from_u64(1))
    }

    fn told(drafts: &mut Drafts, project: &Arc<Project>, (place, kind): (usize, &str), time: i64) -> Told {
        let event = incoming(&place.to_string(), kind, at(time), json!({ "member": "mem_ada" }));
        drafts.apply(place, &prepared(project, event)).unwrap()
    }

    fn cancelled(drafts: &Drafts) -> Vec<Option<&'static str>> {
        drafts.mails.iter().map(|mail| mail.cancelled).collect()
    }

    #[test]
    fn the_newest_request_of_a_batch_has_the_token_and_the_others_are_cancelled() {
        let (mut drafts, project) = (drafts(), project(vec![automation("Reset", 1800)]));
        for place in 0..3 {
            told(&mut drafts, &project, (place, RESET), i64::try_from(place).unwrap());
        }
        assert_eq!(cancelled(&drafts), [Some(SUPERSEDED), Some(SUPERSEDED), None]);
        assert_eq!(drafts.issues.keys().collect::<Vec<_>>(), [&(2, Purpose::ResetPassword)]);
    }

    #[test]
    fn all_automations_of_an_event_share_one_token_with_the_longest_lifetime() {
        let automations = vec![automation("A", 60), automation("B", 3600), automation("C", 1800)];
        let (mut drafts, project) = (drafts(), project(automations));
        told(&mut drafts, &project, (0, RESET), 0);
        assert_eq!(cancelled(&drafts), [None; 3]);
        let issues: Vec<&Issue> = drafts.issues.values().collect();
        assert_eq!(issues.len(), 1);
        assert_eq!(issues[0].lifetime, Duration::from_hours(1));
    }

    #[test]
    fn a_change_of_the_password_cancels_the_requests_before_it_and_none_after_it() {
        let (mut drafts, project) = (drafts(), project(vec![automation("Reset", 1800)]));
        told(&mut drafts, &project, (0, RESET), 0);
        told(&mut drafts, &project, (1, "account.password-changed"), 10);
        told(&mut drafts, &project, (2, RESET), 20);
        assert_eq!(cancelled(&drafts), [Some(SUPERSEDED), None]);
        assert_eq!(drafts.issues.len(), 1);
    }

    #[test]
    fn a_deletion_cancels_what_the_batch_owes_the_member() {
        let (mut drafts, project) = (drafts(), project(vec![automation("Reset", 1800)]));
        told(&mut drafts, &project, (0, RESET), 0);
        told(&mut drafts, &project, (1, "account.deleted"), 10);
        assert!(drafts.mails.iter().all(|mail| mail.cancelled.is_some()));
        assert!(drafts.issues.is_empty());
    }

    #[test]
    fn what_does_not_match_is_told_with_the_reason() {
        let off = Automation { enabled: false, ..automation("Off", 1800) };
        let short = Automation { max_age: Duration::from_mins(1), ..automation("Short", 1800) };
        let (mut drafts, project) = (drafts(), project(vec![off, short, automation("On", 1800)]));
        let late = told(&mut drafts, &project, (0, RESET), -61_000);
        let why: Vec<_> = late.automations.iter().map(|one| one.why).collect();
        assert_eq!(why, [Some(DISABLED), Some(TOO_OLD), None]);
        assert_eq!((late.outcome, drafts.mails.len()), (Outcome::Dispatched, 1));
        let later = told(&mut drafts, &project, (1, RESET), -7_200_001);
        assert_eq!((later.outcome, drafts.mails.len()), (Outcome::Stale, 1));
    }
}
