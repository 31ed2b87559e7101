//! An automation as it stands in a file.

use serde::Serialize;

use crate::domain::catalogue::Automation;
use crate::domain::duration;

#[derive(Serialize)]
pub(super) struct AutomationPart<'a> {
    name: &'a str,
    event: &'a str,
    integration: &'a str,
    template: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    max_age: String,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenPart>,
}

#[derive(Serialize)]
struct TokenPart {
    purpose: &'static str,
    lifetime: String,
}

/// `integration`: the name of the one that it sends through.
pub(super) fn part<'a>(one: &'a Automation, integration: &'a str) -> AutomationPart<'a> {
    AutomationPart {
        name: &one.name,
        event: &one.event_type,
        integration,
        template: &one.template,
        link: one.link.as_deref(),
        max_age: duration::text(one.max_age),
        enabled: one.enabled,
        token: one.token.map(|token| TokenPart {
            purpose: token.purpose.name(),
            lifetime: duration::text(token.lifetime),
        }),
    }
}
