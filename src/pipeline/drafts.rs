//! Step 3, pure: what an event does, and the mails and tokens that it owes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use serde_json::json;

use super::absences::Counted;
use super::accounts::{Accounts, Applied, MemberKey};
use super::matching::{self, Asked, CONDITION_FAILED, CONDITION_FALSE, Match, SHOWN_AUTOMATIONS, TOO_OLD};
use super::slots::{Request, Which};
use super::throttle::Throttles;
use crate::domain::address::fold;
use crate::domain::catalogue::{Automation, Project, TokenPlan};
use crate::domain::change::{Absence, Change};
use crate::domain::event::{Incoming, Outcome, Refusal};
use crate::domain::id::{self, DispatchId, EventId};
use crate::domain::member::MemberRef;
use crate::domain::token::{Purpose, TokenId};

/// The source of events that Signalpost tells of itself.
pub const OWN_SOURCE: &str = "signalpost";
/// Why a dispatch of a request that a later one replaced is cancelled.
pub const SUPERSEDED: &str = "superseded";
/// Why a dispatch to a deleted member is cancelled.
pub const MEMBER_DELETED: &str = "member-deleted";

/// `by` of an own `account.email-changed` that takes back the one before it.
pub const BY_UNDO: &str = "undo";

/// An event whose project is known and whose data were read.
#[derive(Clone)]
pub struct Prepared {
    pub incoming: Incoming,
    pub project: Arc<Project>,
    pub change: Change,
    /// Made by Signalpost itself: what it tells of is done in the same transaction.
    pub own: bool,
    /// From when on it is within an automation's `max_age`: its time, or that of its replay.
    pub since: DateTime<Utc>,
    /// Who asked, on a public route.
    pub client: Option<IpAddr>,
}

/// A dispatch before it is written.
pub struct Draft {
    pub id: DispatchId,
    /// The place of its event in the batch.
    pub event: usize,
    pub automation: Arc<Automation>,
    pub member: MemberKey,
    pub recipient: String,
    /// Of the token that it carries.
    pub purpose: Option<Purpose>,
    pub cancelled: Option<&'static str>,
}

/// A token to be issued.
#[derive(Clone)]
pub struct Issue {
    pub id: TokenId,
    pub member: MemberKey,
    pub lifetime: Duration,
    /// The address that was left, of the way back to it.
    pub scope: String,
    /// JSON: the addresses of an e-mail change.
    pub payload: String,
}

/// What an event came to.
pub struct Told {
    pub outcome: Outcome,
    pub reason: Option<&'static str>,
    pub member: Option<MemberKey>,
    pub automations: Vec<Match>,
    /// What it tells of was taken over: it was neither outdated nor of no account.
    pub had_effect: bool,
}

/// The mails and tokens of a batch.
pub struct Drafts {
    pub accounts: Accounts,
    pub mails: Vec<Draft>,
    pub issues: HashMap<(usize, Purpose), Issue>,
    /// Events that follow from the one just applied, to be applied next.
    pub follow_ups: Vec<Prepared>,
    /// How many automations that do not match are told.
    pub shown: usize,
    pub throttles: Throttles,
    now: DateTime<Utc>,
    /// Cryptographically secure: token ids come from it.
    chance: StdRng,
}

/// An event that was applied, as the mails that it owes see it.
struct Happened<'a> {
    place: usize,
    event: &'a Prepared,
    member: &'a MemberKey,
    /// The address that the member had before it.
    moved_from: Option<&'a str>,
}

impl Drafts {
    pub fn new(accounts: Accounts, now: DateTime<Utc>, chance: StdRng) -> Self {
        let (mails, issues, follow_ups) = (Vec::new(), HashMap::new(), Vec::new());
        let throttles = Throttles::default();
        Self { accounts, mails, issues, follow_ups, shown: SHOWN_AUTOMATIONS, throttles, now, chance }
    }

    /// Applies one event, and drafts what it owes. Events must come in the order of their times.
    pub fn apply(&mut self, place: usize, event: &Prepared) -> Result<Told, Refusal> {
        let applied = self.change(event)?;
        self.drop_losers();
        let (member, old) = match applied {
            Applied::Stale(member) => return Ok(Told::without_mail(Outcome::Stale, None, member)),
            Applied::Kept(member, why) => return Ok(Told::without_mail(Outcome::Applied, Some(why), member)),
            Applied::To(member) => (member, None),
            Applied::Moved(member, old) => (member, Some(old)),
        };
        let happened = Happened { place, event, member: &member, moved_from: old.as_deref() };
        let asked = Asked::new(event, self.accounts.member(&member), old.is_some(), self.now);
        let (matches, chosen) = matching::matching(&asked, self.shown);
        if let (false, Some(why)) = (chosen.is_empty(), self.throttles.hold_back(place, self.now)) {
            let told = Told::without_mail(Outcome::Throttled, Some(why), member);
            return Ok(Told { automations: matches, had_effect: true, ..told });
        }
        for automation in &chosen {
            self.draft(&happened, automation);
        }
        self.drop_losers();
        let too_old = matches.iter().any(|one| one.why == Some(TOO_OLD));
        let refused = matches.iter().any(|one| matches!(one.why, Some(CONDITION_FALSE | CONDITION_FAILED)));
        let outcome = match (chosen.is_empty(), too_old) {
            (false, _) => Outcome::Dispatched,
            (true, true) => Outcome::Stale,
            (true, false) if event.change.only_mails() && refused => Outcome::ConditionFalse,
            (true, false) if event.change.only_mails() => Outcome::NoAutomation,
            (true, false) => Outcome::Applied,
        };
        let (member, reason) = (Some(member), None);
        Ok(Told { outcome, reason, member, automations: matches, had_effect: true })
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
            Change::ResetRequested(name, _)
            | Change::OutOfOfficeWarned(name)
            | Change::OnVacation(name)
            | Change::Registered(name) => accounts.find(project, name).map(Applied::To),
            Change::PasswordChanged(name, _) => {
                let member = accounts.sign_of_life(project, name)?;
                // Not the undo of an e-mail change: a thief would change the password to end it.
                let ended = [Purpose::ResetPassword, Purpose::ChangeEmail, Purpose::Notifications];
                accounts.end_tokens(&member, time, (Which::Earlier, &ended));
                Ok(Applied::To(member))
            }
            Change::EmailChangeRequested(name, new_email) => {
                accounts.ask_email((project, name), new_email).map(Applied::To)
            }
            Change::EmailChanged { member, new_email, old_email } => {
                let done = old_email.as_ref().filter(|_| event.own);
                accounts.change_email((project, member), new_email, time, done)
            }
            Change::AdministratorGranted(name) => accounts.grant(project, name).map(Applied::To),
            Change::OutOfOffice(name, absence) => self.absence(event, name, absence),
        }
    }

    /// Counts an automatic reply. What it comes to is an event of its own, with its own automations and mails.
    fn absence(&mut self, event: &Prepared, name: &MemberRef, absence: &Absence) -> Result<Applied, Refusal> {
        let member = self.accounts.find(event.project.id, name)?;
        let limit = event.project.settings.out_of_office.limit;
        let (kind, count) = match self.accounts.count_absence(&member, absence, limit) {
            Counted::Not(why) => return Ok(Applied::Kept(member, why)),
            Counted::Warned(count) => ("account.out-of-office-warned", count),
            Counted::OnVacation(count) => ("account.on-vacation", count),
        };
        let mut data = json!({ "member": member.1, "count": count, "limit": limit });
        if let Some(matched) = &absence.matched {
            data["matched"] = matched.as_str().into();
        }
        let traceparent = event.incoming.traceparent.clone();
        self.follow_ups.push(Prepared::own(&event.project, (kind, data), self.now, traceparent)?);
        Ok(Applied::To(member))
    }

    fn draft(&mut self, happened: &Happened<'_>, automation: &Arc<Automation>) {
        for (recipient, carries) in self.recipients(happened, automation.token) {
            let plan = automation.token.filter(|_| carries);
            let superseded = plan.is_some_and(|plan| !self.issue(happened, plan));
            self.mails.push(Draft {
                id: DispatchId::new_at(self.now),
                event: happened.place,
                automation: automation.clone(),
                member: happened.member.clone(),
                recipient,
                purpose: plan.map(|plan| plan.purpose),
                cancelled: superseded.then_some(SUPERSEDED),
            });
        }
    }

    /// Who gets the mail follows from the type of the event, and whether it carries the token.
    fn recipients(&self, happened: &Happened<'_>, plan: Option<TokenPlan>) -> Vec<(String, bool)> {
        let Some(stored) = self.accounts.member(happened.member).map(|member| member.email.clone()) else {
            return Vec::new();
        };
        let is_undo = plan.is_some_and(|plan| plan.purpose == Purpose::UndoEmailChange);
        match (happened.moved_from, &happened.event.change) {
            // It was undone: there is no way back to what was undone, or that would go to whoever did it.
            (Some(_), _) if happened.event.is_undo() => vec![(stored, !is_undo)],
            // Only the way back goes to the address that was left: any other token would hand the account over.
            (Some(old), _) => vec![(old.to_owned(), is_undo), (stored, !is_undo)],
            (None, Change::EmailChangeRequested(_, new_email)) => vec![(new_email.to_string(), true)],
            (None, _) => vec![(stored, true)],
        }
    }

    /// All automations of one event share one token a purpose; the longest lifetime counts.
    fn issue(&mut self, happened: &Happened<'_>, plan: TokenPlan) -> bool {
        let TokenPlan { purpose, lifetime } = plan;
        if let Some(issue) = self.issues.get_mut(&(happened.place, purpose)) {
            issue.lifetime = issue.lifetime.max(lifetime);
            return true;
        }
        let old = happened.moved_from.filter(|_| purpose == Purpose::UndoEmailChange);
        let scope = old.map(fold).unwrap_or_default();
        let (time, member) = (happened.event.incoming.time, happened.member);
        if self.accounts.request_token((member, purpose, &scope), time, happened.place) == Request::Superseded
        {
            return false;
        }
        let id = TokenId::random(&mut self.chance);
        let payload = self.payload(happened, purpose);
        let issue = Issue { id, member: member.clone(), lifetime, scope, payload };
        self.issues.insert((happened.place, purpose), issue);
        true
    }

    /// What the token's row keeps for the day on which it is used.
    fn payload(&self, happened: &Happened<'_>, purpose: Purpose) -> String {
        let payload = match (&happened.event.change, happened.moved_from) {
            (Change::EmailChangeRequested(_, new_email), _) if purpose == Purpose::ChangeEmail => {
                json!({ "new_email": new_email })
            }
            (_, Some(old)) if purpose == Purpose::UndoEmailChange => {
                let new = self.accounts.member(happened.member).map(|member| &member.email);
                json!({ "old_email": old, "new_email": new })
            }
            _ => json!({}),
        };
        payload.to_string()
    }

    fn drop_losers(&mut self) {
        for (event, purpose) in std::mem::take(&mut self.accounts.losers) {
            self.issues.remove(&(event, purpose));
            let carries = |draft: &Draft| draft.purpose == Some(purpose);
            self.cancel(|draft| draft.event == event && carries(draft), SUPERSEDED);
        }
    }

    fn cancel(&mut self, which: impl Fn(&Draft) -> bool, reason: &'static str) {
        for draft in self.mails.iter_mut().filter(|draft| which(draft)) {
            draft.cancelled.get_or_insert(reason);
        }
    }
}

impl Told {
    fn without_mail(outcome: Outcome, reason: Option<&'static str>, member: MemberKey) -> Self {
        Self { outcome, reason, member: Some(member), automations: Vec::new(), had_effect: false }
    }
}

impl Prepared {
    /// Whether a change of the address takes back the one before it.
    fn is_undo(&self) -> bool {
        self.own && self.incoming.data.get("by").is_some_and(|by| by == BY_UNDO)
    }

    /// An event that Signalpost tells of itself, at this moment.
    pub fn own(
        project: &Arc<Project>,
        (kind, data): (&str, serde_json::Value),
        now: DateTime<Utc>,
        traceparent: Option<String>,
    ) -> Result<Self, Refusal> {
        let change = Change::read(kind, &data)?;
        let incoming = Incoming {
            project: project.slug.clone(),
            source: OWN_SOURCE.to_owned(),
            id: EventId::new_at(now).to_string(),
            kind: kind.to_owned(),
            time: now,
            received_at: now,
            data,
            traceparent,
        };
        Ok(Self { incoming, project: project.clone(), change, own: true, since: now, client: None })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use serde_json::json;

    use super::super::fixture::{ACME, RESET, at, automation, built_in, incoming, prepared, project};
    use super::super::matching::DISABLED;
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

    fn apply(drafts: &mut Drafts, project: &Arc<Project>, kind: &str, data: serde_json::Value) -> Told {
        let place = drafts.mails.len() + 100;
        drafts.apply(place, &prepared(project, incoming(&place.to_string(), kind, at(0), data))).unwrap()
    }

    /// Each mail, as `template to purpose`.
    fn mails(drafts: &Drafts) -> Vec<String> {
        let mail = |mail: &Draft| {
            let purpose = mail.purpose.map_or("", Purpose::name);
            format!("{} {} {purpose}", mail.automation.template, mail.recipient).trim().to_owned()
        };
        drafts.mails.iter().filter(|mail| mail.cancelled.is_none()).map(mail).collect()
    }

    #[test]
    fn who_gets_which_mail_follows_from_the_type_alone() {
        let kinds = ["account.password-changed", "account.email-change-requested", "account.email-changed"];
        let kinds = kinds.into_iter().chain(["account.administrator-granted", "account.on-vacation"]);
        let project = project(kinds.map(built_in).collect());
        let (ada, new) = ("ada@example.com", "ada@new.example");
        let undo = format!("change-email {ada} undo-email-change");
        for (kind, data, wanted) in [
            ("password-changed", json!({ "email": ada }), vec![format!("change-password {ada}")]),
            (
                "email-change-requested",
                json!({ "member": "mem_ada", "new_email": new, "email": "eve@evil.example" }),
                vec![format!("change-email-confirm {new} change-email")],
            ),
            (
                "email-changed",
                json!({ "member": "mem_ada", "new_email": new, "old_email": "eve@evil.example" }),
                vec![undo.clone(), format!("change-email {new}")],
            ),
            ("email-changed", json!({ "member": "mem_ada", "new_email": "ADA@example.com" }), vec![]),
            ("updated", json!({ "id": "mem_ada", "email": new }), vec![undo, format!("change-email {new}")]),
            ("updated", json!({ "id": "mem_ada", "first_name": "Ada" }), vec![]),
            (
                "administrator-granted",
                json!({ "member": ada }),
                vec![format!("reset-password-confirm {ada} reset-password")],
            ),
            (
                "on-vacation",
                json!({ "member": ada, "count": 2 }),
                vec![format!("out-of-office-change {ada} notifications")],
            ),
        ] {
            let mut drafts = drafts();
            let told = apply(&mut drafts, &project, &format!("account.{kind}"), data.clone());
            assert_eq!(mails(&drafts), wanted, "{kind} {data}");
            let outcome = if wanted.is_empty() { Outcome::Applied } else { Outcome::Dispatched };
            assert_eq!(told.outcome, outcome, "{kind} {data}");
        }
    }

    #[test]
    fn the_tokens_of_an_e_mail_change_keep_its_addresses() {
        let project =
            project(vec![built_in("account.email-change-requested"), built_in("account.email-changed")]);
        let mut drafts = drafts();
        let data = json!({ "member": "mem_ada", "new_email": "ada@new.example" });
        apply(&mut drafts, &project, "account.email-change-requested", data.clone());
        let asked = drafts.issues.values().next().unwrap().clone();
        assert_eq!(
            (asked.scope.as_str(), asked.payload.as_str()),
            ("", r#"{"new_email":"ada@new.example"}"#)
        );
        apply(&mut drafts, &project, "account.email-changed", data);
        assert_eq!(drafts.issues.len(), 1, "the change ends what was asked for before");
        let undo = drafts.issues.values().next().unwrap();
        let payload = r#"{"new_email":"ada@new.example","old_email":"ada@example.com"}"#;
        assert_eq!((undo.scope.as_str(), undo.payload.as_str()), ("ada@example.com", payload));
        assert_eq!(mails(&drafts).len(), 2, "and takes its mail away");
    }

    #[test]
    fn an_automatic_reply_becomes_an_event_of_its_own() {
        let project = project(vec![built_in("account.on-vacation")]);
        let mut drafts = drafts();
        let mut follow_ups = Vec::new();
        for reply in 0..3 {
            let data =
                json!({ "member": "mem_ada", "message_id": format!("<{reply}@x>"), "matched": "away" });
            let told = apply(&mut drafts, &project, "account.out-of-office-detected", data);
            assert_eq!(told.outcome, Outcome::Applied);
            follow_ups.append(&mut drafts.follow_ups);
        }
        let said: Vec<_> =
            follow_ups.iter().map(|own| (own.incoming.kind.as_str(), &own.incoming.data)).collect();
        let data = |count: u32| json!({ "member": "mem_ada", "count": count, "limit": 2, "matched": "away" });
        let (first, second) = (data(1), data(2));
        assert_eq!(said, [("account.out-of-office-warned", &first), ("account.on-vacation", &second)]);
        assert!(follow_ups.iter().all(|own| own.own));
        assert!(drafts.mails.is_empty(), "the reply itself is answered by nothing");
    }

    #[test]
    fn a_token_that_has_no_meaning_for_an_event_keeps_its_automation_from_sending() {
        let odd = Automation { event_type: RESET.to_owned(), ..built_in("account.email-changed") };
        let (mut drafts, project) = (drafts(), project(vec![odd]));
        let told = apply(&mut drafts, &project, RESET, json!({ "member": "mem_ada" }));
        assert_eq!((told.outcome, drafts.mails.len()), (Outcome::NoAutomation, 0));
        assert!(told.automations[0].why.is_some());
    }
}
