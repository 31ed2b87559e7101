//! Step 4, pure: the rows that a planned event becomes.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::drafts::{Draft, Drafts, Prepared, Told};
use super::plan::Desk;
use crate::domain::catalogue::Automation;
use crate::domain::dispatch::{Addressee, Facts, Owed, OwedToken};
use crate::domain::event::{Incoming, MAX_ATTRIBUTE, Refusal};
use crate::domain::id::{AutomationId, DispatchId, EventId, IntegrationId, ProjectId};
use crate::domain::token::Purpose;
use crate::mail::message::domain_of;
use crate::store::rows::{DispatchRow, EventRow, RefusalRow, hex, json};

/// A refusal as it is noted, without the body.
pub fn refusal_row(id: EventId, incoming: &Incoming, refusal: &Refusal, now: DateTime<Utc>) -> RefusalRow {
    RefusalRow {
        id: id.0,
        project: clean(&incoming.project),
        source: clean(&incoming.source),
        source_id: clean(&incoming.id),
        kind: clean(&incoming.kind),
        reason: refusal.reason.name(),
        field: refusal.field.as_deref().map(clean),
        detail: clean(&refusal.detail),
        received_at: now,
    }
}

/// An accepted event as it is written.
pub fn event_row(event: &Prepared, id: EventId, told: &Told, mails: &[DispatchId]) -> EventRow {
    let incoming = &event.incoming;
    EventRow {
        id: id.0,
        project_id: event.project.id.0,
        source: incoming.source.clone(),
        source_id: incoming.id.clone(),
        fingerprint: hex(&incoming.fingerprint()),
        kind: incoming.kind.clone(),
        time: incoming.time,
        received_at: incoming.received_at,
        outcome: told.outcome.name(),
        reason: told.reason.map(str::to_owned),
        member_id: told.member.as_ref().map(|key| key.1.clone()),
        data: incoming.data.to_string(),
        automations: json(&told.automations),
        dispatches: json(&mails.iter().map(|id| id.0).collect::<Vec<Uuid>>()),
        traceparent: incoming.traceparent.clone(),
    }
}

/// A dispatch as it is written; nobody holds it yet.
pub fn dispatch_row(
    desk: &Desk<'_>,
    event: &Prepared,
    (draft, drafts): (&Draft, &Drafts),
    event_id: EventId,
) -> DispatchRow {
    let automation = &draft.automation;
    let token = draft.purpose.and_then(|purpose| drafts.issues.get(&(draft.event, purpose)));
    DispatchRow {
        id: draft.id.0,
        project_id: event.project.id.0,
        event_id: event_id.0,
        automation_id: automation.id.0,
        automation_version: automation.version,
        integration_id: automation.integration_id.0,
        template: automation.template.clone(),
        member_id: draft.member.1.clone(),
        recipient: draft.recipient.clone(),
        purpose: draft.purpose.map(Purpose::name),
        token_id: token.map(|issue| issue.id.0.simple().to_string()),
        message_id: message_id(desk, automation, draft.id, 0),
        state: if draft.cancelled.is_some() { "cancelled" } else { "pending" },
        reason: draft.cancelled,
        holder: None,
        due_at: desk.now,
        expires_at: event.since + TimeDelta::from_std(automation.max_age).unwrap_or(TimeDelta::MAX),
        created_at: desk.now,
    }
}

/// The Message-ID of a dispatch that was planned so many times before.
pub fn message_id(desk: &Desk<'_>, automation: &Automation, id: DispatchId, planned: u32) -> String {
    let sender = desk.catalogue.integrations.get(&automation.integration_id).map(|one| one.sender.as_str());
    let domain = sender
        .and_then(|sender| domain_of(sender.trim_end_matches('>')))
        .unwrap_or_else(|| "localhost".to_owned());
    format!("<{}.{planned}@{domain}>", id.0.simple())
}

/// The dispatch as it lies in this worker's hands.
pub fn owed(
    desk: &Desk<'_>,
    event: &Prepared,
    (draft, drafts): (&Draft, &Drafts),
    row: &DispatchRow,
) -> Option<Owed> {
    let member = drafts.accounts.member(&draft.member)?;
    let token = draft.purpose.and_then(|purpose| {
        let issue = drafts.issues.get(&(draft.event, purpose))?;
        let key_id = desk.keys.current_id().to_owned();
        Some(OwedToken { purpose, id: issue.id, key_id, lifetime: issue.lifetime })
    });
    let incoming = &event.incoming;
    Some(Owed {
        id: draft.id,
        project_id: ProjectId(row.project_id),
        event_id: EventId(row.event_id),
        automation_id: AutomationId(row.automation_id),
        automation_version: row.automation_version,
        integration_id: IntegrationId(row.integration_id),
        template: row.template.clone(),
        recipient: row.recipient.clone(),
        message_id: row.message_id.clone(),
        token,
        event: Facts { kind: incoming.kind.clone(), time: incoming.time, data: incoming.data.clone() },
        member: Addressee::of(member),
        expires_at: row.expires_at,
        attempts: 0,
        charged: 0,
        received_at: incoming.received_at,
        taken_at: desk.now,
        traceparent: incoming.traceparent.clone(),
    })
}

/// What a wrong message said, made fit for a column: no NUL, and not long.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(MAX_ATTRIBUTE).collect()
}
