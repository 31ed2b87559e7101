//! An automation as it stands in a file.

use serde::Serialize;

use crate::domain::catalogue::{Automation, STORED, Text};
use crate::domain::condition::Condition;
use crate::domain::duration;

#[derive(Serialize)]
pub(super) struct AutomationPart<'a> {
    name: &'a str,
    event: &'a str,
    integration: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    max_age: String,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenPart>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    texts: &'a [Text],
}

#[derive(Serialize)]
struct TokenPart {
    purpose: &'static str,
    lifetime: String,
}

/// `integration`: the name of the one that it sends through.
pub(super) fn part<'a>(one: &'a Automation, integration: &'a str) -> AutomationPart<'a> {
    // One text for everybody is told in the short form.
    let (alone, texts) = match one.texts.as_slice() {
        [text] if text.locale.is_none() => (Some(text), &[][..]),
        texts => (None, texts),
    };
    AutomationPart {
        name: &one.name,
        event: &one.event_type,
        integration,
        template: Some(one.template.as_str()).filter(|name| *name != STORED),
        subject: alone.map(|text| text.subject.as_str()),
        body: alone.map(|text| text.body.as_str()),
        condition: one.condition.as_ref().map(Condition::source),
        link: one.link.as_deref(),
        max_age: duration::text(one.max_age),
        enabled: one.enabled,
        token: one.token.map(|token| TokenPart {
            purpose: token.purpose.name(),
            lifetime: duration::text(token.lifetime),
        }),
        texts,
    }
}
