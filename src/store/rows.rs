//! Rows as they travel to and from the query files: one struct for both databases. Those that are written
//! become a JSON array; ids are written as 32 hexadecimal digits and times as sqlx writes them into SQLite.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use uuid::Uuid;

pub use super::armed::{
    AgainRow, DeadRow, EndedRow, ExpiredRow, NoticeRow, SettledRow, StateRow, TakenNotice, ThrottleRow, hex,
};
use crate::domain::address::fold;
use crate::domain::dispatch::Attempt;
use crate::domain::id::ProjectId;
use crate::domain::member::Member;

/// Times as RFC 3339 text that sorts.
pub mod time {
    use super::{DateTime, SecondsFormat, Serializer, Utc};

    pub(crate) fn serialize<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(*at))
    }

    /// As sqlx encodes a time for SQLite, so that stored texts compare.
    pub(crate) fn text(at: DateTime<Utc>) -> String {
        at.to_rfc3339_opts(SecondsFormat::AutoSi, false)
    }
}

/// A time that may be absent.
pub mod time_option {
    use super::{DateTime, Serialize, Serializer, Utc, time};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(
        at: &Option<DateTime<Utc>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(time::text).serialize(serializer)
    }
}

/// Rows as one bind.
pub fn json<T: Serialize>(rows: &[T]) -> String {
    // Only a map with keys that are no strings fails to serialize, and no row has one.
    serde_json::to_string(rows).unwrap_or_default()
}

/// Ids as one bind.
pub fn ids(ids: &[Uuid]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
    json(&ids)
}

/// A key under which a member is looked up.
#[derive(Serialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberKey {
    #[serde(with = "uuid::serde::simple")]
    pub project: Uuid,
    pub kind: &'static str,
    pub key: String,
}

/// A member to be written whole; password and creation time stay as they are when it exists.
#[derive(Serialize)]
pub struct MemberRow<'a> {
    #[serde(with = "uuid::serde::simple")]
    pub project_id: Uuid,
    #[serde(flatten)]
    pub member: &'a Member,
    pub username_key: String,
    pub email_key: String,
    #[serde(serialize_with = "time::serialize")]
    pub applied_at: DateTime<Utc>,
    #[serde(serialize_with = "time_option::serialize")]
    pub tokens_ended_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time_option::serialize")]
    pub deleted_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time::serialize")]
    pub created_at: DateTime<Utc>,
}

impl<'a> MemberRow<'a> {
    pub fn of(member: &'a Member) -> Self {
        Self {
            project_id: member.project_id.0,
            member,
            username_key: fold(&member.username),
            email_key: fold(&member.email),
            applied_at: member.applied_at,
            tokens_ended_at: member.tokens_ended_at,
            deleted_at: member.deleted_at,
            created_at: member.created_at,
        }
    }
}

/// An identity and what it must match.
#[derive(Serialize, Clone, PartialEq, Eq, Hash)]
pub struct IdentityKey {
    #[serde(with = "uuid::serde::simple")]
    pub project: Uuid,
    pub source: String,
    pub source_id: String,
}

/// What is known of an identity.
#[derive(sqlx::FromRow, Clone)]
pub struct KnownIdentity {
    pub project_id: Uuid,
    pub source: String,
    pub source_id: String,
    pub fingerprint: Vec<u8>,
    pub event_id: Uuid,
    pub outcome: Option<String>,
    pub dispatches: Option<String>,
}

/// An accepted event, with its identity.
#[derive(Serialize)]
pub struct EventRow {
    #[serde(with = "uuid::serde::simple")]
    pub id: Uuid,
    #[serde(with = "uuid::serde::simple")]
    pub project_id: Uuid,
    pub source: String,
    pub source_id: String,
    pub fingerprint: String,
    pub kind: String,
    #[serde(serialize_with = "time::serialize")]
    pub time: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize")]
    pub received_at: DateTime<Utc>,
    pub outcome: &'static str,
    pub reason: Option<String>,
    pub member_id: Option<String>,
    pub data: String,
    pub automations: String,
    pub dispatches: String,
    pub traceparent: Option<String>,
}

/// A refused event.
#[derive(Serialize)]
pub struct RefusalRow {
    #[serde(with = "uuid::serde::simple")]
    pub id: Uuid,
    pub project: String,
    pub source: String,
    pub source_id: String,
    pub kind: String,
    pub reason: &'static str,
    pub field: Option<String>,
    pub detail: String,
    #[serde(serialize_with = "time::serialize")]
    pub received_at: DateTime<Utc>,
}

/// A dispatch to be written.
#[derive(Serialize)]
pub struct DispatchRow {
    #[serde(with = "uuid::serde::simple")]
    pub id: Uuid,
    #[serde(with = "uuid::serde::simple")]
    pub project_id: Uuid,
    #[serde(with = "uuid::serde::simple")]
    pub event_id: Uuid,
    #[serde(with = "uuid::serde::simple")]
    pub automation_id: Uuid,
    pub automation_version: i32,
    #[serde(with = "uuid::serde::simple")]
    pub integration_id: Uuid,
    pub template: String,
    pub member_id: String,
    pub recipient: String,
    pub purpose: Option<&'static str>,
    pub token_id: Option<String>,
    pub message_id: String,
    pub state: &'static str,
    pub reason: Option<&'static str>,
    pub holder: Option<i64>,
    #[serde(serialize_with = "time::serialize")]
    pub due_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize")]
    pub expires_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize")]
    pub created_at: DateTime<Utc>,
}

/// Names one token slot.
#[derive(Serialize, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId {
    #[serde(with = "uuid::serde::simple")]
    pub project: Uuid,
    pub member: String,
}

/// A mail that an automatic reply of a member answers.
#[derive(Serialize)]
pub struct AnsweredRow {
    #[serde(with = "uuid::serde::simple")]
    pub project: Uuid,
    pub member: String,
    pub answered: String,
    pub dispatch: Option<String>,
}

impl AnsweredRow {
    pub fn new(member: &(ProjectId, String), answered: String, dispatch: Option<Uuid>) -> Self {
        let dispatch = dispatch.map(|id| id.simple().to_string());
        Self { project: member.0.0, member: member.1.clone(), answered, dispatch }
    }
}

/// A token to be issued, in place of the one before it.
#[derive(Serialize)]
pub struct TokenRow {
    #[serde(with = "uuid::serde::simple")]
    pub project_id: Uuid,
    pub member_id: String,
    pub purpose: &'static str,
    pub scope: String,
    pub payload: String,
    #[serde(with = "uuid::serde::simple")]
    pub id: Uuid,
    pub key_id: String,
    #[serde(with = "uuid::serde::simple")]
    pub event_id: Uuid,
    pub dispatches: String,
    pub lifetime_s: i64,
    #[serde(serialize_with = "time::serialize")]
    pub requested_at: DateTime<Utc>,
    #[serde(serialize_with = "time::serialize")]
    pub expires_at: DateTime<Utc>,
}

/// A token as stored.
#[derive(sqlx::FromRow, Clone)]
pub struct StoredToken {
    pub project_id: Uuid,
    pub member_id: String,
    pub purpose: String,
    pub scope: String,
    pub payload: String,
    pub id: Uuid,
    pub event_id: Uuid,
    pub dispatches: String,
    pub requested_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub used_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// What one try came to.
#[derive(Serialize)]
pub struct SettleRow {
    #[serde(with = "uuid::serde::simple")]
    pub dispatch_id: Uuid,
    pub new_state: &'static str,
    pub new_reason: Option<&'static str>,
    #[serde(serialize_with = "time_option::serialize")]
    pub next_at: Option<DateTime<Utc>>,
    pub shown: i32,
    pub charge: i32,
    #[serde(serialize_with = "time_option::serialize")]
    pub tried_at: Option<DateTime<Utc>>,
    pub class: Option<&'static str>,
    pub code: Option<u16>,
    pub reply: Option<String>,
}

/// A try after the first.
#[derive(Serialize)]
pub struct AttemptRow {
    #[serde(with = "uuid::serde::simple")]
    pub dispatch_id: Uuid,
    pub number: i32,
    #[serde(serialize_with = "time::serialize")]
    pub tried_at: DateTime<Utc>,
    pub class: &'static str,
    pub code: Option<u16>,
    pub reply: String,
}

impl AttemptRow {
    pub fn new(dispatch_id: Uuid, number: i32, attempt: &Attempt) -> Self {
        Self {
            dispatch_id,
            number,
            tried_at: attempt.at,
            class: attempt.class.name(),
            code: attempt.code,
            reply: attempt.reply.clone(),
        }
    }
}

/// How many dispatches of an integration a worker can take.
#[derive(Serialize)]
pub struct Slots {
    #[serde(with = "uuid::serde::simple")]
    pub integration: Uuid,
    pub slots: usize,
}

/// A dispatch that was claimed, with what its mail needs.
#[derive(sqlx::FromRow)]
pub struct ClaimedRow {
    pub id: Uuid,
    pub project_id: Uuid,
    pub event_id: Uuid,
    pub automation_id: Uuid,
    pub integration_id: Uuid,
    pub template: String,
    pub recipient: String,
    pub message_id: String,
    pub purpose: Option<String>,
    pub token_id: Option<Uuid>,
    pub key_id: Option<String>,
    pub lifetime_s: Option<i64>,
    pub expires_at: DateTime<Utc>,
    pub attempts: i32,
    pub charged: i32,
    pub cancel_reason: Option<String>,
    pub kind: String,
    pub time: DateTime<Utc>,
    pub data: String,
    pub received_at: DateTime<Utc>,
    pub traceparent: Option<String>,
    pub automation_version: i32,
    pub member_id: String,
    pub username: String,
    pub member_email: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub locale: Option<String>,
    pub is_admin: bool,
    pub on_vacation: bool,
}
