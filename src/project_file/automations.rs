//! Automations of a file: read, and laid over what is stored; and the built-in ones.

use std::time::Duration;

use super::fields::Fields;
use super::plan::Planning;
use crate::domain::catalogue::{Automation, BuiltIn, MAX_AGE, MAX_AGE_WITH_TOKEN, Text, TokenPlan};
use crate::domain::id::{AutomationId, IntegrationId};
use crate::domain::project::check_name;
use crate::domain::token::Purpose;
use crate::mail::wish::{Ground, TokenWish, Wish};

/// What the file says of one.
pub(super) struct AutomationEntry {
    pub(super) place: String,
    pub(super) name: String,
    pub(super) event: Option<String>,
    integration: Option<String>,
    template: Option<String>,
    subject: Option<String>,
    body: Option<String>,
    texts: Option<Vec<Text>>,
    condition: Option<String>,
    link: Option<String>,
    token: Option<TokenWish>,
    max_age: Option<Duration>,
    enabled: Option<bool>,
}

impl AutomationEntry {
    /// `None`: it has no name under which it could be stored.
    pub(super) fn read(mut fields: Fields<'_>) -> Option<Self> {
        let named = fields.checked("name", check_name);
        if named.is_none() {
            fields.wrong("name", "is missing");
        }
        let whole = |kind: &str| if kind.contains('.') { kind.to_owned() } else { format!("account.{kind}") };
        let entry = Self {
            place: fields.place.clone(),
            name: named.unwrap_or_default(),
            event: fields.text("event").map(|kind| whole(&kind)),
            integration: fields.text("integration"),
            template: fields.text("template"),
            subject: fields.text("subject"),
            body: fields.text("body"),
            texts: texts(&mut fields),
            condition: fields.text("condition"),
            link: fields.text("link"),
            token: fields.table("token").map(token),
            max_age: fields.duration("max_age"),
            enabled: fields.boolean("enabled"),
        };
        fields.end();
        Some(entry).filter(|entry| !entry.name.is_empty())
    }

    /// The automation as it shall be.
    pub(super) fn over(&self, planning: &Planning<'_>, stored: Option<&Automation>) -> Option<Automation> {
        let wish = Wish {
            name: self.name.clone(),
            event: self.event.clone(),
            integration: self.integration.as_ref().and_then(|name| planning.integration(&self.place, name)),
            template: self.template.clone(),
            subject: self.subject.clone(),
            body: self.body.clone(),
            texts: self.texts.clone(),
            condition: self.condition.clone(),
            link: self.link.clone(),
            token: self.token,
            max_age: self.max_age,
            enabled: self.enabled,
        };
        let ground = Ground {
            id: AutomationId::new_at(planning.applying.now),
            is_registered: &|kind| planning.is_registered(kind),
            link_hosts: &planning.link_hosts,
        };
        let wanted = wish.over(&ground, stored);
        let wrong = wanted.as_ref().err().into_iter().flatten();
        for one in wrong.filter(|one| one.field != "integration" || self.integration.is_none()) {
            planning.wrong_at(&self.place, &one.field, &one.what, one.at);
        }
        wanted.ok()
    }

    pub(super) fn has_link(&self) -> bool {
        self.link.is_some()
    }
}

fn texts(fields: &mut Fields<'_>) -> Option<Vec<Text>> {
    let tables = fields.given_tables("texts")?.into_iter();
    let read = tables.filter_map(|mut fields| {
        let locale = fields.text("locale");
        let (subject, body) = (fields.text("subject"), fields.text("body"));
        for (field, text) in [("subject", &subject), ("body", &body)] {
            if text.is_none() {
                fields.wrong(field, "is missing");
            }
        }
        fields.end();
        Some(Text { locale, subject: subject?, body: body? })
    });
    Some(read.collect())
}

fn token(mut fields: Fields<'_>) -> TokenWish {
    let names = || Purpose::ALL.map(Purpose::name).join(", ");
    let purpose = |text: &str| Purpose::from_name(text).ok_or_else(|| format!("is none of {}", names()));
    let wish = TokenWish::Some {
        purpose: fields.checked("purpose", purpose),
        lifetime: fields.duration("lifetime"),
    };
    fields.end();
    wish
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
