//! A dispatch: one e-mail owed to one recipient. Its states, its tries, and when the next one is made.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::id::{AutomationId, DispatchId, EventId, IntegrationId, ProjectId};
use super::member::Member;
use super::token::{Purpose, TokenId};

/// Delays after the first, second, … charged try; the last one repeats: 5 s, 15 s, 1 min, 3 min, 8 min, 15 min, …
const RETRY_DELAYS: [u64; 6] = [5, 15, 60, 180, 480, 900];
/// Each delay is spread by so much to either side.
const JITTER: f64 = 0.2;

/// The delay before the next try after `charged` tries; `chance` in 0.0..1.0 spreads it by ± 20 %.
pub fn retry_delay(charged: u32, chance: f64) -> Duration {
    let step = (charged.max(1) as usize - 1).min(RETRY_DELAYS.len() - 1);
    let spread = 1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0);
    Duration::from_secs(RETRY_DELAYS[step]).mul_f64(spread)
}

/// Why a dispatch is dead. The names are part of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadReason {
    /// A permanent reply.
    Rejected,
    /// It was tried, and no further try would be within `max_age`.
    Exhausted,
    /// `max_age` ran out while it waited.
    Expired,
    Unrenderable,
}

impl DeadReason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Unrenderable => "unrenderable",
        }
    }
}

/// The class of a try, as shown and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Accepted,
    Transient,
    Permanent,
    /// Not this mail's fault: not charged.
    Integration,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Integration => "integration",
        }
    }
}

/// One try at a dispatch, with what the server said.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub at: DateTime<Utc>,
    pub class: Class,
    pub code: Option<u16>,
    pub reply: String,
}

/// A dispatch that is in this worker's hands: all that rendering and sending need.
#[derive(Clone, Debug)]
pub struct Owed {
    pub id: DispatchId,
    pub project_id: ProjectId,
    pub event_id: EventId,
    pub automation_id: AutomationId,
    /// The one that it was planned with.
    pub automation_version: i32,
    pub integration_id: IntegrationId,
    pub template: String,
    pub recipient: String,
    pub message_id: String,
    pub token: Option<OwedToken>,
    /// Data of the event, which the template may show.
    pub event: Facts,
    pub member: Addressee,
    pub expires_at: DateTime<Utc>,
    /// Tries shown so far, and those that count for the back-off.
    pub attempts: u32,
    pub charged: u32,
    /// When the event was received.
    pub received_at: DateTime<Utc>,
    /// When it came into this worker's hands.
    pub taken_at: DateTime<Utc>,
    /// The publisher's trace.
    pub traceparent: Option<String>,
}

/// What the mail says about the event.
#[derive(Clone, Debug)]
pub struct Facts {
    pub kind: String,
    pub time: DateTime<Utc>,
    pub data: serde_json::Value,
}

/// What the mail says about the member.
#[derive(Clone, Debug, Default)]
pub struct Addressee {
    pub id: String,
    pub username: String,
    /// The stored one; the recipient may be another.
    pub email: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub locale: Option<String>,
    pub is_admin: bool,
    pub on_vacation: bool,
}

impl Addressee {
    pub fn of(member: &Member) -> Self {
        Self {
            id: member.id.clone(),
            username: member.username.clone(),
            email: member.email.clone(),
            first_name: member.first_name.clone(),
            last_name: member.last_name.clone(),
            locale: member.locale.clone(),
            is_admin: member.is_admin,
            on_vacation: member.on_vacation,
        }
    }
}

/// The token that a dispatch carries: made into text only when the mail is.
#[derive(Clone, Debug)]
pub struct OwedToken {
    pub purpose: Purpose,
    pub id: TokenId,
    pub key_id: String,
    pub lifetime: Duration,
}

/// What one try came to: the row's next state.
#[derive(Clone, Debug)]
pub enum Settled {
    Sent,
    /// Tried again at that time.
    Again(DateTime<Utc>),
    Dead(DeadReason),
    /// Given back as it was, to be fetched again from that time on if one is given: not charged.
    Released(Option<DateTime<Utc>>),
    /// Its token was replaced or ended meanwhile.
    Superseded,
}

/// What becomes of a charged transient failure: the next time, or the end if that is past `expires_at`.
pub fn after_transient(owed: &Owed, now: DateTime<Utc>, chance: f64) -> Settled {
    let delay = TimeDelta::from_std(retry_delay(owed.charged + 1, chance)).unwrap_or(TimeDelta::MAX);
    let next = now + delay;
    if next >= owed.expires_at { Settled::Dead(DeadReason::Exhausted) } else { Settled::Again(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_quarter_of_an_hour_and_are_spread_by_a_fifth() {
        let middle: Vec<u64> = (1..9).map(|tries| retry_delay(tries, 0.5).as_secs()).collect();
        assert_eq!(middle, [5, 15, 60, 180, 480, 900, 900, 900]);
        assert_eq!(retry_delay(1, 0.0), Duration::from_secs(4));
        assert_eq!(retry_delay(1, 1.0), Duration::from_secs(6));
    }
}
