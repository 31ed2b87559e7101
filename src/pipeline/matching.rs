//! Step 3, pure: which automations an event matches, and why others do not.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::drafts::Prepared;
use crate::domain::catalogue::Automation;
use crate::domain::change::Change;
use crate::domain::id::AutomationId;
use crate::domain::token::Purpose;

/// How many automations that did not match are kept with an event.
const SHOWN_AUTOMATIONS: usize = 20;

pub(super) const TOO_OLD: &str = "the event is older than max_age";
pub(super) const DISABLED: &str = "it is switched off";
const UNFIT: &str = "its token has no meaning for this event";

/// An automation of the event's type, kept with the event.
#[derive(Serialize)]
pub struct Match {
    pub automation: AutomationId,
    pub name: String,
    pub matched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// The automations that send, and all of them with the reason why others do not. Those of
/// `account.email-changed` are asked by every event that moved the member.
pub fn matching(event: &Prepared, moved: bool, now: DateTime<Utc>) -> (Vec<Match>, Vec<Arc<Automation>>) {
    const MOVED: &str = "account.email-changed";
    let kind = event.incoming.kind.as_str();
    let of_type = |kind: &str| event.project.automations.get(kind).map_or(&[][..], Vec::as_slice);
    let also = if moved && kind != MOVED { of_type(MOVED) } else { &[] };
    let (mut matches, mut chosen, mut others) = (Vec::new(), Vec::new(), 0);
    for automation in of_type(kind).iter().chain(also) {
        let why = why_not(automation, event, moved, now);
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

/// Why an automation does not send; `None`: it does.
fn why_not(
    automation: &Automation,
    event: &Prepared,
    moved: bool,
    now: DateTime<Utc>,
) -> Option<&'static str> {
    if !automation.enabled {
        return Some(DISABLED);
    }
    let fits = automation.token.is_none_or(|plan| match plan.purpose {
        Purpose::UndoEmailChange => moved,
        Purpose::ChangeEmail => matches!(event.change, Change::EmailChangeRequested(..)),
        Purpose::ResetPassword | Purpose::Notifications => true,
    });
    if !fits {
        return Some(UNFIT);
    }
    let max_age = TimeDelta::from_std(automation.max_age).unwrap_or(TimeDelta::MAX);
    (now - event.since > max_age).then_some(TOO_OLD)
}
