//! Ids as the outside sees them: a prefix that names the kind, then 32 hexadecimal digits. Opaque to clients.
//! Those of events, dispatches and the like are version 7 UUIDs, which sort by time and find their partition.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{NoContext, Timestamp, Uuid};

/// A text that is no id of the wanted kind.
#[derive(Debug, thiserror::Error)]
#[error("is not an id that starts with `{0}_`")]
pub struct InvalidId(&'static str);

/// A new version 7 UUID of that time.
#[expect(clippy::cast_sign_loss, reason = "no event is older than 1970")]
pub fn new_at(now: DateTime<Utc>) -> Uuid {
    Uuid::new_v7(Timestamp::from_unix(NoContext, now.timestamp() as u64, now.timestamp_subsec_nanos()))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id of that time.
            pub fn new_at(now: DateTime<Utc>) -> Self {
                Self(new_at(now))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix(concat!($prefix, "_")).filter(|digits| digits.len() == 32);
                digits.and_then(|digits| Uuid::try_parse(digits).ok()).map(Self).ok_or(InvalidId($prefix))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A project, a tenant.
    ProjectId = "prj",
    /// An event, accepted or refused.
    EventId = "evt",
    /// One e-mail owed to one recipient.
    DispatchId = "dsp",
    /// A stored rule.
    AutomationId = "aut",
    /// A way to send.
    IntegrationId = "int",
    /// A refused message in the dead queue.
    DeadMessageId = "msg",
    /// An API key (not the key itself).
    ApiKeyId = "key",
    /// A row of the audit.
    AuditId = "aud",
    /// Who may use the console.
    OperatorId = "opr",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_another_kind_is_refused() {
        let id = EventId(Uuid::from_u128(7));
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        assert!("dsp_00000000000000000000000000000007".parse::<EventId>().is_err());
        assert!("evt_7".parse::<EventId>().is_err());
    }

    #[test]
    fn ids_sort_by_time() {
        let early = EventId::new_at("2026-01-01T00:00:00Z".parse().unwrap());
        let late = EventId::new_at("2026-01-01T00:00:01Z".parse().unwrap());
        assert!(early < late);
    }
}
