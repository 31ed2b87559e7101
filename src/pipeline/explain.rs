//! What would become of an event: decided by the same pure steps that plan it, from records that are only read.
//! The mails carry a sample token. Sends nothing, stores nothing.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Serialize;

use super::accounts::Accounts;
use super::drafts::{Draft, Drafts, Prepared};
use super::matching::Match;
use super::render::{self, Desk, Shown};
use crate::domain::catalogue::{Automation, Project, TokenPlan};
use crate::domain::dispatch::{Addressee, Facts, Owed, OwedToken};
use crate::domain::event::Refusal;
use crate::domain::id::{DispatchId, EventId};
use crate::domain::token::TokenId;
use crate::mail::templates::Rendered;
use crate::store::{Store, StoreError, db};

/// Stands where a token would; it opens nothing.
pub const SAMPLE_TOKEN: &str = "SAMPLE-token-that-opens-nothing-00000000000";

/// What would become of an event.
#[derive(Serialize)]
pub struct Explained {
    #[serde(rename = "type")]
    pub kind: String,
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Every automation that is asked, with the reason why one does not match.
    pub automations: Vec<Match>,
    pub mails: Vec<Sample>,
}

/// A mail that would be sent, with a sample token.
#[derive(Serialize)]
pub struct Sample {
    pub automation: String,
    pub template: String,
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why it could not be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An event that is not explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("{}", .0.detail)]
    Refused(Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Explains one event.
pub async fn explain(store: &Store, desk: &Desk<'_>, event: &Prepared) -> Result<Explained, ExplainError> {
    let mut members = Vec::new();
    let mut c = store.read().await?;
    for name in event.change.names() {
        members.extend(db!(c, members::find(event.project.id.0, &name))?);
    }
    drop(c);
    members.dedup_by(|one, other| one.id == other.id);
    let mut drafts = Drafts::new(Accounts::new(members, Vec::new()), desk.now, StdRng::seed_from_u64(0));
    drafts.shown = usize::MAX;
    let told = drafts.apply(0, event).map_err(ExplainError::Refused)?;
    let mails = drafts.mails.iter().filter(|draft| draft.cancelled.is_none());
    Ok(Explained {
        kind: event.incoming.kind.clone(),
        outcome: told.outcome.name(),
        reason: told.reason,
        member: told.member.map(|key| key.1),
        automations: told.automations,
        mails: mails.map(|draft| sample(desk, event, &drafts, draft)).collect(),
    })
}

fn sample(desk: &Desk<'_>, event: &Prepared, drafts: &Drafts, draft: &Draft) -> Sample {
    let incoming = &event.incoming;
    let facts = Facts { kind: incoming.kind.clone(), time: incoming.time, data: incoming.data.clone() };
    let member = drafts.accounts.member(&draft.member).map(Addressee::of).unwrap_or_default();
    let plan = draft.automation.token.filter(|_| draft.purpose.is_some());
    let for_whom = ForWhom { member, to: draft.recipient.clone(), event: facts, token: plan };
    let made = rendered(desk, &event.project, &draft.automation, for_whom);
    let (mail, problem) = match made {
        Ok(mail) => (Some(mail), None),
        Err(why) => (None, Some(why.to_string())),
    };
    let (subject, html, text) =
        mail.map_or((None, None, None), |mail| (Some(mail.subject), Some(mail.html), Some(mail.text)));
    let automation = draft.automation.name.clone();
    let (template, to) = (draft.automation.template.clone(), draft.recipient.clone());
    Sample { automation, template, to, subject, html, text, problem }
}

/// Whom a sample is for, and what it tells of.
pub struct ForWhom {
    pub member: Addressee,
    pub to: String,
    pub event: Facts,
    pub token: Option<TokenPlan>,
}

/// The mail of an automation with a sample token.
pub fn rendered(
    desk: &Desk<'_>,
    project: &Project,
    automation: &Automation,
    for_whom: ForWhom,
) -> Result<Rendered, render::Unrenderable> {
    let ForWhom { member, to, event, token: plan } = for_whom;
    let token = plan.map(|plan| OwedToken {
        purpose: plan.purpose,
        id: TokenId(uuid::Uuid::nil()),
        key_id: String::new(),
        lifetime: plan.lifetime,
    });
    let link = plan.map(|plan| {
        render::token_link(desk.public_url, project, (plan.purpose, SAMPLE_TOKEN), Some(automation))
    });
    let owed = Owed {
        id: DispatchId(uuid::Uuid::nil()),
        project_id: project.id,
        event_id: EventId(uuid::Uuid::nil()),
        automation_id: automation.id,
        automation_version: automation.version,
        integration_id: automation.integration_id,
        template: automation.template.clone(),
        recipient: to,
        message_id: String::new(),
        token,
        expires_at: event.time,
        received_at: event.time,
        event,
        member,
        attempts: 0,
        charged: 0,
        taken_at: desk.now,
        traceparent: None,
    };
    let shown = Shown { token: plan.map(|_| SAMPLE_TOKEN), link: link.as_deref() };
    render::as_told(desk, project, &owed, (Some(automation), shown))
}

/// A member and an event that nobody told of, for a preview.
pub fn sample_of(event_type: &str, now: DateTime<Utc>) -> (Addressee, Facts) {
    let text = |text: &str| Some(text.to_owned());
    let member = Addressee {
        id: "mem_sample".to_owned(),
        username: "elon".to_owned(),
        email: "elon@example.com".to_owned(),
        first_name: text("Elon"),
        last_name: text("Example"),
        locale: None,
        is_admin: false,
        on_vacation: false,
    };
    let mut data = serde_json::Map::new();
    for field in crate::domain::names::event_fields(event_type).unwrap_or_default() {
        let value = match *field {
            "member" | "id" => "mem_sample".into(),
            "reason" | "by" => "member".into(),
            "new_email" => "elon.new@example.com".into(),
            "old_email" | "email" => "elon@example.com".into(),
            "count" => 1.into(),
            "limit" => 2.into(),
            "is_admin" => false.into(),
            other => serde_json::Value::from(format!("sample {other}")),
        };
        data.insert((*field).to_owned(), value);
    }
    (member, Facts { kind: event_type.to_owned(), time: now, data: data.into() })
}

/// The project as it is now, with the event read.
pub fn prepared(
    project: &Arc<Project>,
    incoming: crate::domain::event::Incoming,
) -> Result<Prepared, ExplainError> {
    let change = project.change(&incoming.kind, &incoming.data).map_err(ExplainError::Refused)?;
    Ok(Prepared {
        since: incoming.time,
        client: None,
        incoming,
        project: project.clone(),
        change,
        own: false,
    })
}

/// An event of a person who asks: what only a publisher must say is filled in.
pub fn with_identity(mut event: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = event.as_object_mut() {
        for (name, usual) in [("specversion", "1.0"), ("id", "explained"), ("source", "explain")] {
            fields.entry(name).or_insert_with(|| usual.into());
        }
    }
    event
}
