//! Rows as they are read and shown: one struct for both databases.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::address::fold;
use crate::domain::id::ProjectId;

/// A project as stored.
#[derive(sqlx::FromRow)]
pub struct ProjectRow {
    pub id: ProjectId,
    pub slug: String,
    pub name: String,
    pub settings: String,
    pub paused: bool,
}

/// A registered event type.
#[derive(sqlx::FromRow, Clone)]
pub struct EventTypeRow {
    pub project_id: ProjectId,
    #[sqlx(rename = "type")]
    pub kind: String,
    pub schema: String,
}

/// An event as shown.
#[derive(sqlx::FromRow, Clone)]
pub struct StoredEvent {
    pub id: Uuid,
    pub source: String,
    pub source_id: String,
    #[sqlx(rename = "type")]
    pub kind: String,
    pub time: DateTime<Utc>,
    pub outcome: String,
    pub reason: Option<String>,
    pub field: Option<String>,
    pub automations: String,
    pub dispatches: String,
}

/// A dispatch as shown.
#[derive(sqlx::FromRow, Clone)]
pub struct StoredDispatch {
    pub id: Uuid,
    pub event_id: Uuid,
    pub automation_id: Uuid,
    pub template: String,
    pub recipient: String,
    pub state: String,
    pub reason: Option<String>,
    pub message_id: String,
    pub due_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
    pub bounced_at: Option<DateTime<Utc>>,
    pub bounce_status: Option<String>,
    pub bounce_diagnostic: Option<String>,
    pub first_at: Option<DateTime<Utc>>,
    pub first_class: Option<String>,
    pub first_code: Option<i32>,
    pub first_reply: Option<String>,
}

/// Which dispatches are listed: those that fit all that is said.
#[derive(Default)]
pub struct DispatchFilter {
    /// As shown: `sending` is one that a worker has in hand.
    pub state: Option<String>,
    pub reason: Option<String>,
    pub event: Option<Uuid>,
    /// Its id.
    pub member: Option<String>,
    /// Planned then or later.
    pub since: Option<DateTime<Utc>>,
}

/// That a mail came back, as its report says (RFC 3464).
pub struct StoredBounce {
    pub at: DateTime<Utc>,
    pub status: Option<String>,
    pub diagnostic: Option<String>,
}

/// What a reply is about.
#[derive(sqlx::FromRow, Clone)]
pub struct AnsweredDispatch {
    pub id: Uuid,
    pub project_id: Uuid,
    pub integration_id: Uuid,
    pub member_id: String,
    pub message_id: String,
    pub recipient: String,
    /// As it is now; none of a member who is gone.
    pub member_email: Option<String>,
}

impl AnsweredDispatch {
    /// Whether it went to the address that the member has now. Another's mailbox says nothing of the member.
    pub fn went_to_member(&self) -> bool {
        self.member_email.as_deref().is_some_and(|email| fold(email) == fold(&self.recipient))
    }
}

/// A try after the first, as shown.
#[derive(sqlx::FromRow, Clone)]
pub struct StoredAttempt {
    pub at: DateTime<Utc>,
    pub class: String,
    pub code: Option<i32>,
    pub reply: Option<String>,
}

/// A try after the first, with the dispatch that it was a try at.
#[derive(sqlx::FromRow, Clone)]
pub struct StoredAttemptOf {
    pub dispatch_id: Uuid,
    #[sqlx(flatten)]
    pub attempt: StoredAttempt,
}

/// A key as shown; the key itself was shown once.
#[derive(sqlx::FromRow, Clone)]
pub struct StoredKey {
    pub id: Uuid,
    pub project_id: Uuid,
    pub name: String,
    pub scopes: String,
    pub created_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Who may use the console, as shown.
#[derive(sqlx::FromRow, Clone)]
pub struct StoredOperator {
    pub id: Uuid,
    pub email: String,
    /// `owner`, `editor` or `viewer`.
    pub role: String,
    pub created_at: DateTime<Utc>,
}

/// A captured mail; `sealed` opens only with the key and its dispatch's id.
#[derive(sqlx::FromRow, Clone)]
pub struct StoredCapture {
    pub dispatch_id: Uuid,
    pub captured_at: DateTime<Utc>,
    pub sealed: Vec<u8>,
}

/// What an `Idempotency-Key` has done; without a status it is being done.
#[derive(sqlx::FromRow)]
pub struct StoredOnce {
    pub request: Vec<u8>,
    pub status: Option<i32>,
    /// Which record the answer told of.
    pub answer: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// Who changed what, on what, from where. Written in the transaction of the change, never changed.
#[derive(sqlx::FromRow, Clone)]
pub struct AuditEntry {
    pub id: Uuid,
    pub project_id: Uuid,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub client: Option<String>,
}

/// A dead dispatch as shown.
#[derive(sqlx::FromRow, Clone)]
pub struct DeadDispatch {
    pub id: Uuid,
    pub event_id: Uuid,
    pub automation_id: Uuid,
    pub template: String,
    pub recipient: String,
    pub reason: String,
    pub detail: Option<String>,
    pub at: DateTime<Utc>,
    pub source: String,
    pub source_id: String,
    #[sqlx(rename = "type")]
    pub kind: String,
}

/// The event of a dead dispatch, to be copied.
#[derive(sqlx::FromRow, Clone)]
pub struct DeadEvent {
    pub id: Uuid,
    pub slug: String,
    pub reason: String,
    pub detail: Option<String>,
    pub source: String,
    pub source_id: String,
    #[sqlx(rename = "type")]
    pub kind: String,
    pub time: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub data: String,
    pub traceparent: Option<String>,
    /// Of an earlier death.
    pub had_copy: bool,
}

/// What is wanted of the dead dispatches of a project.
#[derive(Clone, Copy, Default)]
pub struct DeadLike<'a> {
    pub reason: Option<&'a str>,
    /// The event's full type.
    pub kind: Option<&'a str>,
    pub since: Option<DateTime<Utc>>,
}
