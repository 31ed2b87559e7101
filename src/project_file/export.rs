//! A stored project as a file that applies to the same. Passwords stay out of it: a URL without one keeps the
//! stored one.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::exported_automation::{AutomationPart, part};
use crate::domain::catalogue::{Brand, Integration, Settings};
use crate::domain::id::IntegrationId;
use crate::domain::integration;
use crate::domain::member::Member;
use crate::domain::settings::{OutOfOffice, Throttle};
use crate::domain::smtp_url;
use crate::store::shown::EventTypeRow;
use crate::store::{Store, StoreError, db};

/// What could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("there is no project of that name")]
    NoProject,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the project cannot be written as TOML")]
    Toml(#[from] toml::ser::Error),
}

#[derive(Serialize)]
struct File<'a> {
    project: ProjectPart<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    integrations: Vec<IntegrationPart<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    automations: Vec<AutomationPart<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    event_types: Vec<EventTypePart<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberPart<'a>>,
}

#[derive(Serialize)]
struct ProjectPart<'a> {
    slug: &'a str,
    name: &'a str,
    link_hosts: &'a [String],
    origins: &'a [String],
    jexia_calls: bool,
    notices: &'a [String],
    builtin_automations: bool,
    out_of_office: &'a OutOfOffice,
    throttle: &'a Throttle,
    #[serde(skip_serializing_if = "is_plain")]
    brand: &'a Brand,
}

#[derive(Serialize)]
struct IntegrationPart<'a> {
    name: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    from: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    connections: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    auto_submitted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_path: Option<&'a str>,
}

#[derive(Serialize)]
struct EventTypePart<'a> {
    r#type: &'a str,
    schema: Value,
}

#[derive(Serialize)]
struct MemberPart<'a> {
    /// None of a member whom only an address names.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_admin: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_plain(brand: &&Brand) -> bool {
    **brand == Brand::default()
}

/// The project as TOML.
pub async fn export(store: &Store, slug: &str) -> Result<String, ExportError> {
    let mut c = store.read().await?;
    let project = db!(c, catalogue::projects())?.into_iter().find(|project| project.slug == slug);
    let project = project.ok_or(ExportError::NoProject)?;
    let settings: Settings = serde_json::from_str(&project.settings)
        .map_err(|_| StoreError::Unreadable("settings of a project"))?;
    let integrations = db!(c, integrations::all())?.into_iter();
    let mut integrations: Vec<Integration> =
        integrations.filter(|one| one.project_id == project.id && !one.retired).collect();
    integrations.sort_by(|one, other| one.name.cmp(&other.name));
    let names: HashMap<IntegrationId, &str> =
        integrations.iter().map(|one| (one.id, one.name.as_str())).collect();
    let automations = db!(c, automations::all())?;
    let automations = automations.iter().filter(|(of, _)| *of == project.id);
    let types = db!(c, event_types::list(project.id, "", i64::MAX))?;
    let members = db!(c, members::live(project.id.0))?;
    let file = File {
        project: ProjectPart {
            slug: &project.slug,
            name: &project.name,
            link_hosts: &settings.link_hosts,
            origins: &settings.origins,
            jexia_calls: settings.jexia_calls,
            notices: &settings.notices,
            builtin_automations: settings.builtin_automations,
            out_of_office: &settings.out_of_office,
            throttle: &settings.throttle,
            brand: &settings.brand,
        },
        integrations: integrations.iter().map(IntegrationPart::of).collect(),
        automations: automations
            .map(|(_, one)| part(one, names.get(&one.integration_id).copied().unwrap_or_default()))
            .collect(),
        event_types: types.iter().map(EventTypePart::of).collect(),
        members: members.iter().map(MemberPart::of).collect(),
    };
    Ok(toml::to_string_pretty(&file)?)
}

impl<'a> IntegrationPart<'a> {
    fn of(one: &'a Integration) -> Self {
        let server = integration::server(one);
        Self {
            name: &one.name,
            kind: if server.is_some() { "smtp" } else { "capture" },
            url: server.map(|s| smtp_url::shown(&s.host, s.port, &s.tls, s.username.as_deref())),
            from: &one.sender,
            reply_to: one.reply_to.as_deref(),
            connections: one.connections,
            rate: one.rate.map(|rate| rate.to_string()),
            auto_submitted: one.auto_submitted,
            return_path: one.return_path.as_deref(),
            reply_path: one.reply_path.as_deref(),
        }
    }
}

impl<'a> EventTypePart<'a> {
    fn of(row: &'a EventTypeRow) -> Self {
        let schema = serde_json::from_str(&row.schema).unwrap_or_default();
        let schema = if has_null(&schema) { Value::String(row.schema.clone()) } else { schema };
        Self { r#type: &row.kind, schema }
    }
}

/// TOML has no `null`.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

impl<'a> MemberPart<'a> {
    fn of(member: &'a Member) -> Self {
        Self {
            username: Some(member.username.as_str()).filter(|name| !name.contains('@')),
            email: &member.email,
            first_name: member.first_name.as_deref(),
            last_name: member.last_name.as_deref(),
            locale: member.locale.as_deref(),
            is_admin: member.is_admin,
        }
    }
}
