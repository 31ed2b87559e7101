//! Rows of dispatches that are armed again, and of throttles, as they travel to and from the query files.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::rows::{time, time_option};

/// A dead dispatch with its event, to be planned again.
#[derive(sqlx::FromRow)]
pub struct DeadRow {
    pub id: Uuid,
    pub project_id: Uuid,
    pub event_id: Uuid,
    pub automation_id: Uuid,
    pub member_id: String,
    pub recipient: String,
    pub purpose: Option<String>,
    pub message_id: String,
    pub kind: String,
    pub time: DateTime<Utc>,
    pub data: String,
}

impl DeadRow {
    pub fn data(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }

    /// How many times it was planned again: the number in its Message-ID.
    pub fn planned(&self) -> u32 {
        let number = self.message_id.split(['.', '@']).nth(1);
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

/// A dispatch that is planned again.
#[derive(Serialize)]
pub struct AgainRow {
    #[serde(with = "uuid::serde::simple")]
    pub id: Uuid,
    pub automation_version: i32,
    #[serde(with = "uuid::serde::simple")]
    pub integration_id: Uuid,
    pub template: String,
    pub recipient: String,
    pub purpose: Option<&'static str>,
    pub token_id: Option<String>,
    pub message_id: String,
    #[serde(serialize_with = "time::serialize")]
    pub due_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize")]
    pub expires_at: DateTime<Utc>,
}

/// Where a dispatch stands.
#[derive(sqlx::FromRow)]
pub struct StateRow {
    pub id: Uuid,
    pub member_id: String,
    pub state: String,
    pub expires_at: DateTime<Utc>,
}

/// A throttle to be read, or written.
#[derive(Serialize)]
pub struct ThrottleRow {
    #[serde(with = "uuid::serde::simple")]
    pub project: Uuid,
    pub fingerprint: String,
    #[serde(serialize_with = "time_option::serialize")]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time_option::serialize")]
    pub ends_at: Option<DateTime<Utc>>,
    pub count: u32,
}

/// Octets as one bind carries them.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
