//! Account events: what arrives, who said it, what becomes of it. CloudEvents 1.0 in our words.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::id::{DispatchId, EventId};

/// The largest message, in octets.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// The deepest nesting of `data`.
pub const MAX_NESTING: usize = 32;
/// The longest id, source or type, in octets.
pub const MAX_ATTRIBUTE: usize = 255;
/// How far ahead of our clock an event's time may be.
pub const MAX_AHEAD: TimeDelta = TimeDelta::minutes(5);

/// An event as decoded, before anything was looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// The project's slug: from the routing key, or the API key's project.
    pub project: String,
    pub source: String,
    /// The publisher's id: with project and source the event's identity.
    pub id: String,
    /// The full type, `account.…`.
    pub kind: String,
    /// When it happened; arrival if the publisher did not say.
    pub time: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub data: Value,
    pub traceparent: Option<String>,
}

impl Incoming {
    /// Equal for the same type and data, compared as JSON values: object keys are kept sorted.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.kind.as_bytes());
        hash.update([0]);
        hash.update(self.data.to_string().as_bytes());
        hash.finalize().into()
    }
}

/// Why an event is refused. The names are part of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    Invalid,
    UnknownType,
    UnknownProject,
    UnknownMember,
    EmailInUse,
    IdReused,
    Poison,
}

impl Reason {
    pub const ALL: [Self; 7] = [
        Self::Invalid,
        Self::UnknownType,
        Self::UnknownProject,
        Self::UnknownMember,
        Self::EmailInUse,
        Self::IdReused,
        Self::Poison,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnknownType => "unknown-type",
            Self::UnknownProject => "unknown-project",
            Self::UnknownMember => "unknown-member",
            Self::EmailInUse => "email-in-use",
            Self::IdReused => "id-reused",
            Self::Poison => "poison",
        }
    }
}

/// An event that is not accepted: why, in which field, and a sentence for the publisher.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub reason: Reason,
    pub field: Option<String>,
    pub detail: String,
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, field: None, detail: detail.into() }
    }

    /// `invalid`, naming the field: the detail reads "`field` is …".
    pub fn invalid(field: &str, what: &str) -> Self {
        Self { reason: Reason::Invalid, field: Some(field.to_owned()), detail: format!("`{field}` {what}") }
    }

    #[must_use]
    pub fn in_field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }
}

/// What an accepted event ended in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// One dispatch or more is owed.
    Dispatched,
    /// A record changed, no mail is owed.
    Applied,
    NoAutomation,
    /// There are automations, and the condition of none holds.
    ConditionFalse,
    /// More mail than a stranger may cause was held back.
    Throttled,
    Stale,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatched => "dispatched",
            Self::Applied => "applied",
            Self::NoAutomation => "no-automation",
            Self::ConditionFalse => "condition-false",
            Self::Throttled => "throttled",
            Self::Stale => "stale",
        }
    }
}

/// What became of an event once it was planned.
#[derive(Clone, Debug, PartialEq)]
pub enum Planned {
    Accepted {
        event: EventId,
        outcome: &'static str,
        dispatches: Vec<DispatchId>,
    },
    /// The same identity and content again: the first answer.
    Duplicate {
        event: EventId,
        outcome: String,
        dispatches: Vec<DispatchId>,
    },
    Refused {
        event: EventId,
        refusal: Refusal,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_ignores_key_order_and_time_but_not_data() {
        let at = DateTime::UNIX_EPOCH;
        let event = |data: &str, time| Incoming {
            project: "p".into(),
            source: "s".into(),
            id: "1".into(),
            kind: "account.created".into(),
            time,
            received_at: at,
            data: serde_json::from_str(data).unwrap(),
            traceparent: None,
        };
        let one = event(r#"{"a":1,"b":2}"#, at).fingerprint();
        assert_eq!(one, event(r#"{"b":2,"a":1}"#, at + MAX_AHEAD).fingerprint());
        assert_ne!(one, event(r#"{"b":2,"a":3}"#, at).fingerprint());
    }
}
