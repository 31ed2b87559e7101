//! An automation as JSON: what a request says of one, and how one is shown. The names are those of a file.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::catalogue::{Automation, Integration, Project, STORED, Text, TokenPlan};
use crate::domain::duration;
use crate::domain::id::{AutomationId, IntegrationId};
use crate::domain::project::check_name;
use crate::domain::token::Purpose;
use crate::mail::wish::{Ground, TokenWish, Wish, Wrong};
use crate::web::error::Problem;

/// All of an automation: what is left out has its default.
#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::option_option, reason = "not said, none, and given are three things")]
pub(super) struct Body {
    pub(super) name: Option<String>,
    pub(super) event: Option<String>,
    /// Name or id.
    pub(super) integration: Option<String>,
    pub(super) template: Option<String>,
    pub(super) subject: Option<String>,
    #[serde(rename = "body")]
    pub(super) html_or_markdown: Option<String>,
    pub(super) texts: Option<Vec<Text>>,
    pub(super) condition: Option<String>,
    pub(super) link: Option<String>,
    /// `null` is no token, even where one is usual.
    #[serde(deserialize_with = "given")]
    pub(super) token: Option<Option<TokenBody>>,
    pub(super) max_age: Option<String>,
    pub(super) enabled: Option<bool>,
    /// What is shown and cannot be changed is taken back, so that what was read can be sent.
    #[serde(rename = "id")]
    _id: Option<Value>,
    #[serde(rename = "version")]
    _version: Option<Value>,
    #[serde(rename = "paused")]
    _paused: Option<Value>,
    #[serde(rename = "at")]
    _at: Option<Value>,
    /// Of one that is never stored: no integration need be named.
    #[serde(skip)]
    pub(super) any_integration: bool,
}

#[derive(Deserialize, Serialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TokenBody {
    purpose: Option<String>,
    lifetime: Option<String>,
}

#[expect(clippy::option_option, reason = "not said, none, and given are three things")]
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(reader).map(Some)
}

impl Body {
    /// The body that would make an automation as it is.
    pub(super) fn of(automation: &Automation, names: &[Integration]) -> Self {
        // Everything that is shown is taken back.
        serde_json::from_value(shown(automation, names)).unwrap_or_default()
    }

    /// The automation that is wanted.
    pub(super) fn checked(
        self,
        project: &Project,
        public_url: &str,
        integrations: &[Integration],
        id: AutomationId,
    ) -> Result<Automation, Problem> {
        let name = self.name.as_deref().ok_or_else(|| Problem::invalid("name", "is missing"))?;
        let name = check_name(name).map_err(|what| Problem::invalid("name", &what))?;
        let integration = self.integration.as_deref().map(|named| {
            let is_it =
                |one: &&Integration| !one.retired && (one.name == named || one.id.to_string() == named);
            let found = integrations.iter().find(is_it).map(|one| one.id);
            found.ok_or_else(|| Problem::invalid("integration", "names no integration of the project"))
        });
        let wish = Wish {
            name,
            integration: integration
                .transpose()?
                .or(self.any_integration.then_some(IntegrationId(Uuid::nil()))),
            token: self.token.map(token).transpose()?,
            max_age: self.max_age.as_deref().map(|text| time("max_age", text)).transpose()?,
            event: self.event,
            template: self.template,
            subject: self.subject,
            body: self.html_or_markdown,
            texts: self.texts,
            condition: self.condition,
            link: self.link,
            enabled: self.enabled,
        };
        let ground = Ground {
            id,
            is_registered: &|kind| project.event_types.contains_key(kind),
            link_hosts: &project.link_hosts(public_url),
        };
        wish.over(&ground, None).map_err(wrong)
    }
}

fn token(given: Option<TokenBody>) -> Result<TokenWish, Problem> {
    let Some(given) = given else { return Ok(TokenWish::None) };
    let purpose = given.purpose.as_deref().map(|text| {
        Purpose::from_name(text).ok_or_else(|| {
            let names = Purpose::ALL.map(Purpose::name).join(", ");
            Problem::invalid("token.purpose", &format!("is none of {names}"))
        })
    });
    let lifetime = given.lifetime.as_deref().map(|text| time("token.lifetime", text));
    Ok(TokenWish::Some { purpose: purpose.transpose()?, lifetime: lifetime.transpose()? })
}

fn time(field: &str, text: &str) -> Result<std::time::Duration, Problem> {
    let expected = || Problem::invalid(field, &format!("is not {}", duration::EXPECTED));
    duration::parse(text).ok_or_else(expected)
}

/// The first is told; `template` problems say where in their text.
fn wrong(all: Vec<Wrong>) -> Problem {
    let Some(first) = all.into_iter().next() else { return Problem::Internal };
    match first.at {
        None => Problem::invalid(&first.field, &first.what),
        Some(at) => Problem::InText { field: first.field, what: first.what, at },
    }
}

/// An automation as it is shown.
pub(super) fn shown(automation: &Automation, integrations: &[Integration]) -> Value {
    let integration = integrations.iter().find(|one| one.id == automation.integration_id && !one.retired);
    let integration =
        integration.map_or_else(|| automation.integration_id.to_string(), |one| one.name.clone());
    let token = |plan: TokenPlan| json!({ "purpose": plan.purpose.name(), "lifetime": duration::text(plan.lifetime) });
    let mut shown = json!({
        "id": automation.id,
        "version": automation.version,
        "name": automation.name,
        "event": automation.event_type,
        "integration": integration,
        "condition": automation.condition.as_ref().map(crate::domain::condition::Condition::source),
        "link": automation.link,
        "token": automation.token.map(token),
        "max_age": duration::text(automation.max_age),
        "enabled": automation.enabled,
        "paused": automation.paused,
    });
    match automation.texts.as_slice() {
        _ if automation.template != STORED => shown["template"] = json!(automation.template),
        [Text { locale: None, subject, body }] => {
            shown["subject"] = json!(subject);
            shown["body"] = json!(body);
        }
        texts => shown["texts"] = json!(texts),
    }
    shown
}
