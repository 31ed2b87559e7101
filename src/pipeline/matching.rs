//! Step 3, pure: which automations an event matches, and why others do not.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::drafts::Prepared;
use crate::domain::catalogue::Automation;
use crate::domain::change::Change;
use crate::domain::condition::Told;
use crate::domain::dispatch::{Addressee, Facts};
use crate::domain::id::AutomationId;
use crate::domain::member::Member;
use crate::domain::token::Purpose;

/// How many automations that did not match are kept with an event.
pub(super) const SHOWN_AUTOMATIONS: usize = 20;

pub(super) const TOO_OLD: &str = "the event is older than max_age";
pub(super) const DISABLED: &str = "it is switched off";
pub(super) const CONDITION_FALSE: &str = "its condition does not hold";
pub(super) const CONDITION_FAILED: &str = "its condition could not be evaluated";
const UNFIT: &str = "its token has no meaning for this event";
const ONLY_CHANGE: &str = "of tokens only change-email may go to an address that is not confirmed yet";
const ONLY_UNDO: &str = "of tokens only undo-email-change may be sent when the address has changed";

/// The type whose automations are asked by every event that moved the member.
pub(super) const MOVED: &str = "account.email-changed";

/// An automation of the event's type, kept with the event.
#[derive(Serialize)]
pub struct Match {
    pub automation: AutomationId,
    pub name: String,
    pub matched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// An event, and what its automations are asked about it, made ready once for all of them.
pub struct Asked<'a> {
    pub event: &'a Prepared,
    /// Whether it moved the member to another address.
    moved: bool,
    now: DateTime<Utc>,
    facts: Facts,
    member: Addressee,
}

impl<'a> Asked<'a> {
    pub fn new(event: &'a Prepared, member: Option<&Member>, moved: bool, now: DateTime<Utc>) -> Self {
        let incoming = &event.incoming;
        let facts = Facts { kind: incoming.kind.clone(), time: incoming.time, data: incoming.data.clone() };
        Self { event, moved, now, facts, member: member.map(Addressee::of).unwrap_or_default() }
    }

    /// Of the event's type, and those of [`MOVED`] if it moved the member.
    fn automations(&self) -> impl Iterator<Item = &'a Arc<Automation>> + use<'a> {
        let event = self.event;
        let kind = event.incoming.kind.as_str();
        let of_type = |kind: &str| event.project.automations.get(kind).map_or(&[][..], Vec::as_slice);
        let also = if self.moved && kind != MOVED { of_type(MOVED) } else { &[] };
        of_type(kind).iter().chain(also)
    }

    /// Whether an automation is one of those.
    pub(super) fn is_asked(&self, automation: &Automation) -> bool {
        let asked = automation.event_type.as_str();
        asked == self.event.incoming.kind || self.moved && asked == MOVED
    }

    /// Why its token cannot be sent with this event, whose mail may go to an address that nobody has confirmed, or
    /// to one that was left: any token but the one made for that would hand the account over.
    fn unfit(&self, purpose: Purpose) -> Option<&'static str> {
        let is_asked_for = matches!(self.event.change, Change::EmailChangeRequested(..));
        match purpose {
            Purpose::UndoEmailChange if self.moved => None,
            Purpose::ChangeEmail if is_asked_for => None,
            _ if self.moved => Some(ONLY_UNDO),
            _ if is_asked_for => Some(ONLY_CHANGE),
            Purpose::UndoEmailChange | Purpose::ChangeEmail => Some(UNFIT),
            Purpose::ResetPassword | Purpose::Notifications => None,
        }
    }

    /// Why an automation does not send; `None`: it does.
    pub(super) fn why_not(&self, automation: &Automation) -> Option<&'static str> {
        if !automation.enabled {
            return Some(DISABLED);
        }
        if let Some(unfit) = automation.token.and_then(|plan| self.unfit(plan.purpose)) {
            return Some(unfit);
        }
        let max_age = TimeDelta::from_std(automation.max_age).unwrap_or(TimeDelta::MAX);
        if self.now - self.event.since > max_age {
            return Some(TOO_OLD);
        }
        let condition = automation.condition.as_ref()?;
        let project = &self.event.project;
        let told = Told {
            event: &self.facts,
            event_type: &automation.event_type,
            member: &self.member,
            project: (&project.name, &project.slug),
        };
        match condition.holds(&told) {
            Ok(true) => None,
            Ok(false) => Some(CONDITION_FALSE),
            Err(_) => Some(CONDITION_FAILED),
        }
    }
}

/// The automations that send, and all of them with the reason why others do not.
pub fn matching(asked: &Asked<'_>, shown: usize) -> (Vec<Match>, Vec<Arc<Automation>>) {
    let (mut matches, mut chosen, mut others) = (Vec::new(), Vec::new(), 0);
    for (one, automation) in each(asked) {
        if one.matched {
            chosen.push(automation.clone());
        } else {
            others += 1;
        }
        if one.matched || others <= shown {
            matches.push(one);
        }
    }
    (matches, chosen)
}

/// Every automation that is asked, with what it says.
fn each<'a>(asked: &'a Asked<'_>) -> impl Iterator<Item = (Match, &'a Arc<Automation>)> {
    asked.automations().map(|automation| {
        let why = asked.why_not(automation);
        let name = automation.name.clone();
        (Match { automation: automation.id, name, matched: why.is_none(), why }, automation)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::super::fixture::{RESET, at, automation, incoming, prepared, project};
    use super::*;
    use crate::domain::catalogue::{Catalogue, Project, TokenPlan};
    use crate::domain::condition::Condition;
    use crate::domain::id::ProjectId;

    #[test]
    fn with_a_change_of_the_address_goes_only_the_token_that_was_made_for_it() {
        const ASKED: &str = "account.email-change-requested";
        let fits = |kind: &str, moved: bool, purpose: Purpose| {
            let project = project(Vec::new());
            let data = json!({ "member": "mem_ada", "new_email": "ada@new.example" });
            let event = prepared(&project, incoming("1", kind, at(0), data));
            let token = Some(TokenPlan { purpose, lifetime: purpose.default_lifetime() });
            let automation = Automation { event_type: kind.to_owned(), token, ..automation("One", 1800) };
            Asked::new(&event, None, moved, at(0)).why_not(&automation).is_none()
        };
        for purpose in Purpose::ALL {
            assert_eq!(fits(ASKED, false, purpose), purpose == Purpose::ChangeEmail, "{purpose:?}");
            assert_eq!(fits(MOVED, true, purpose), purpose == Purpose::UndoEmailChange, "{purpose:?}");
            let elsewhere = matches!(purpose, Purpose::ResetPassword | Purpose::Notifications);
            assert_eq!(fits(RESET, false, purpose), elsewhere, "{purpose:?}");
        }
    }

    /// A catalogue of so many projects, the last of them with so many automations, ten of which are asked.
    fn catalogue(projects: u128, automations: usize) -> (Catalogue, ProjectId) {
        let asked = Automation {
            condition: Some(Condition::stored("event.reason == 'admin' and member.is_admin")),
            ..automation("Asked", 1800)
        };
        let mut by_type: HashMap<String, Vec<Arc<Automation>>> = HashMap::new();
        for number in 0..automations {
            let kind = if number < 10 { RESET.to_owned() } else { format!("billing.type-{number}") };
            by_type.entry(kind).or_default().push(Arc::new(asked.clone()));
        }
        let mut catalogue = Catalogue::default();
        for number in 0..projects {
            let id = ProjectId(uuid::Uuid::from_u128(number + 1));
            let slug = format!("project-{number}");
            let automations =
                if number + 1 == projects { std::mem::take(&mut by_type) } else { HashMap::new() };
            let one =
                Arc::new(Project { id, slug: slug.clone(), automations, ..(*project(Vec::new())).clone() });
            catalogue.by_id.insert(id, one.clone());
            catalogue.projects.insert(slug, one);
        }
        (catalogue, ProjectId(uuid::Uuid::from_u128(projects)))
    }

    /// What one event costs, at best.
    fn cost((catalogue, id): &(Catalogue, ProjectId)) -> Duration {
        const EVENTS: u32 = 200;
        let run = || {
            let start = Instant::now();
            for _ in 0..EVENTS {
                let project = catalogue.project(*id).unwrap();
                let data = json!({ "member": "mem_ada", "reason": "admin" });
                let event = prepared(project, incoming("1", RESET, at(0), data));
                let asked = Asked::new(&event, None, false, at(0));
                assert_eq!(matching(&asked, SHOWN_AUTOMATIONS).0.len(), 10);
            }
            start.elapsed() / EVENTS
        };
        (0..15).map(|_| run()).min().unwrap()
    }

    #[test]
    fn ten_thousand_projects_and_automations_cost_an_event_no_more_than_ten() {
        let (few, many) = (catalogue(10, 10), catalogue(10_000, 10_000));
        // Taken in turns, so that what else runs here slows both down.
        let pairs: Vec<_> = (0..3).map(|_| (cost(&few), cost(&many))).collect();
        let best = |of: fn(&(Duration, Duration)) -> Duration| pairs.iter().map(of).min().unwrap();
        let (few, many) = (best(|pair| pair.0), best(|pair| pair.1));
        println!("an event costs {few:?} among ten, {many:?} among ten thousand");
        assert!(many <= few.mul_f64(1.2), "{few:?} and {many:?}");
    }
}
