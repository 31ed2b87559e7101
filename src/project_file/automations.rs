//! Automations of a file: read, and laid over what is stored; and the built-in ones.

use std::time::Duration;

use serde_json::json;

use super::fields::Fields;
use super::plan::Planning;
use super::read::{name, or_none};
use crate::domain::catalogue::{Automation, BUILT_IN, BuiltIn, MAX_AGE, MAX_AGE_WITH_TOKEN, TokenPlan};
use crate::domain::change::Change;
use crate::domain::event::Reason;
use crate::domain::id::{AutomationId, IntegrationId};
use crate::domain::token::Purpose;
use crate::domain::{duration, link};

const SHORTEST: Duration = Duration::from_mins(1);
/// The longest time for which a mail is tried.
const LONGEST_AGE: Duration = Duration::from_hours(24 * 30);

/// What the file says of one.
pub(super) struct AutomationEntry {
    pub(super) place: String,
    pub(super) name: String,
    pub(super) event: Option<String>,
    integration: Option<String>,
    template: Option<&'static BuiltIn>,
    link: Option<String>,
    token: Option<TokenEntry>,
    max_age: Option<Duration>,
    enabled: Option<bool>,
}

struct TokenEntry {
    purpose: Option<Purpose>,
    lifetime: Option<Duration>,
}

impl AutomationEntry {
    /// `None`: it has no name under which it could be stored.
    pub(super) fn read(mut fields: Fields<'_>) -> Option<Self> {
        let named = fields.checked("name", name);
        if named.is_none() {
            fields.wrong("name", "is missing");
        }
        let entry = Self {
            place: fields.place.clone(),
            name: named.unwrap_or_default(),
            event: fields.checked("event", event),
            integration: fields.text("integration"),
            template: fields.checked("template", template),
            link: fields.checked("link", or_none(|text| Ok::<_, String>(text.to_owned()))),
            token: fields.table("token").map(TokenEntry::read),
            max_age: fields.duration("max_age"),
            enabled: fields.boolean("enabled"),
        };
        if entry.max_age.is_some_and(|age| !(SHORTEST..=LONGEST_AGE).contains(&age)) {
            fields.wrong("max_age", "is not from `1m` to `30d`");
        }
        fields.unsupported(&["condition", "subject", "body", "texts"]);
        fields.end();
        Some(entry).filter(|entry| !entry.name.is_empty())
    }

    /// The automation as it shall be.
    pub(super) fn over(&self, planning: &Planning<'_>, stored: Option<&Automation>) -> Option<Automation> {
        let event_type = self.event.clone().or_else(|| stored.map(|stored| stored.event_type.clone()));
        if event_type.is_none() {
            planning.wrong(&self.place, "event", "is required: the type of an event");
        }
        let template = self.template.or_else(|| stored.and_then(|stored| template(&stored.template).ok()));
        if template.is_none() {
            planning.wrong(&self.place, "template", "is required: the name of a built-in e-mail");
        }
        let integration_id = self.integration(planning, stored);
        let template = template?;
        let token = self.token(planning, template, stored);
        let default_age = if token.is_some() { MAX_AGE_WITH_TOKEN } else { MAX_AGE };
        let max_age = self.max_age.or(stored.map(|stored| stored.max_age)).unwrap_or(default_age);
        Some(Automation {
            id: stored.map_or_else(|| AutomationId::new_at(planning.applying.now), |stored| stored.id),
            version: stored.map_or(1, |stored| stored.version),
            name: self.name.clone(),
            event_type: event_type?,
            integration_id: integration_id?,
            template: template.template.to_owned(),
            texts: Vec::new(),
            condition: None,
            token,
            max_age,
            link: self.link(planning, template, stored),
            enabled: self.enabled.or(stored.map(|stored| stored.enabled)).unwrap_or(true),
            paused: stored.is_some_and(|stored| stored.paused),
        })
    }

    pub(super) fn has_link(&self) -> bool {
        self.link.is_some()
    }

    fn integration(&self, planning: &Planning<'_>, stored: Option<&Automation>) -> Option<IntegrationId> {
        match (&self.integration, stored) {
            (None, Some(stored)) => Some(stored.integration_id),
            (None, None) => {
                planning.wrong(&self.place, "integration", "is required: the name of an integration");
                None
            }
            (Some(name), _) => planning.integration(&self.place, name),
        }
    }

    fn token(
        &self,
        planning: &Planning<'_>,
        template: &BuiltIn,
        stored: Option<&Automation>,
    ) -> Option<TokenPlan> {
        let Some(purpose) = template.purpose else {
            if self.token.is_some() {
                let what = format!("has no meaning: the e-mail `{}` carries none", template.template);
                planning.wrong(&self.place, "token", what);
            }
            return None;
        };
        let given = self.token.as_ref();
        if given.and_then(|token| token.purpose).is_some_and(|given| given != purpose) {
            let what = format!("is not `{}`, which the e-mail `{}` needs", purpose.name(), template.template);
            planning.wrong(&self.place, "token.purpose", what);
        }
        let stored = stored.and_then(|stored| stored.token).filter(|token| token.purpose == purpose);
        let lifetime = given.and_then(|token| token.lifetime).or(stored.map(|token| token.lifetime));
        let lifetime = lifetime.unwrap_or_else(|| purpose.default_lifetime());
        if !(SHORTEST..=purpose.longest_lifetime()).contains(&lifetime) {
            let longest = duration::text(purpose.longest_lifetime());
            let what = format!("is not from `1m` to `{longest}`, the longest for `{}`", purpose.name());
            planning.wrong(&self.place, "token.lifetime", what);
        }
        Some(TokenPlan { purpose, lifetime })
    }

    fn link(
        &self,
        planning: &Planning<'_>,
        template: &BuiltIn,
        stored: Option<&Automation>,
    ) -> Option<String> {
        let Some(given) = &self.link else { return stored.and_then(|stored| stored.link.clone()) };
        if given.is_empty() {
            return None;
        }
        if template.purpose.is_none() {
            let what = format!("has no meaning: the e-mail `{}` carries none", template.template);
            planning.wrong(&self.place, "link", what);
            return None;
        }
        link::check(given, &planning.link_hosts)
            .map_err(|what| planning.wrong(&self.place, "link", what))
            .ok()
    }
}

impl TokenEntry {
    fn read(mut fields: Fields<'_>) -> Self {
        let names = || Purpose::ALL.map(Purpose::name).join(", ");
        let purpose = |text: &str| Purpose::from_name(text).ok_or_else(|| format!("is none of {}", names()));
        let entry =
            Self { purpose: fields.checked("purpose", purpose), lifetime: fields.duration("lifetime") };
        fields.end();
        entry
    }
}

/// A built-in automation as every project has it.
pub(super) fn built_in(planning: &Planning<'_>, one: &BuiltIn, integration_id: IntegrationId) -> Automation {
    let token = one.purpose.map(|purpose| TokenPlan { purpose, lifetime: purpose.default_lifetime() });
    Automation {
        id: AutomationId::new_at(planning.applying.now),
        version: 1,
        name: one.name.to_owned(),
        event_type: one.event_type.to_owned(),
        integration_id,
        template: one.template.to_owned(),
        texts: Vec::new(),
        condition: None,
        token,
        max_age: if token.is_some() { MAX_AGE_WITH_TOKEN } else { MAX_AGE },
        link: None,
        enabled: true,
        paused: false,
    }
}

/// What differs, by the names of the file.
pub(super) fn changed(old: &Automation, new: &Automation) -> Vec<&'static str> {
    let pairs = [
        ("name", old.name != new.name),
        ("event", old.event_type != new.event_type),
        ("integration", old.integration_id != new.integration_id),
        ("template", old.template != new.template),
        ("link", old.link != new.link),
        ("token", old.token != new.token),
        ("max_age", old.max_age != new.max_age),
        ("enabled", old.enabled != new.enabled),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}

/// The full type of an event that there is.
fn event(text: &str) -> Result<String, String> {
    let kind = if text.contains('.') { text.to_owned() } else { format!("account.{text}") };
    match Change::read(&kind, &json!({})) {
        Err(refusal) if refusal.reason == Reason::UnknownType => Err(refusal.detail),
        _ => Ok(kind),
    }
}

fn template(text: &str) -> Result<&'static BuiltIn, String> {
    BUILT_IN.iter().find(|one| one.template == text).ok_or_else(|| {
        let all: Vec<_> = BUILT_IN.iter().map(|one| one.template).collect();
        format!("is none of the built-in e-mails {}", all.join(", "))
    })
}
