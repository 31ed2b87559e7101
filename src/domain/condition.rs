//! The condition of an automation: an expression over the event, the member and the project, compiled once when
//! the catalogue is read. Must not know which automation it is of.

use std::fmt;
use std::sync::Arc;

use minijinja::Expression;

use super::dispatch::{Addressee, Facts};
use super::language::{CONDITIONS, Wrong, check_expression};
use super::names::{Place, Scope, event_value, member_value, project_value};

/// The longest condition, in octets.
pub const LONGEST: usize = 2_000;

/// An expression that was checked when it was stored.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    /// `None`: it was stored by a program that could more.
    compiled: Option<Arc<Expression<'static, 'static>>>,
}

/// What a condition is asked about.
pub struct Told<'a> {
    pub event: &'a Facts,
    /// Of the automation: an event can be more than its own type.
    pub event_type: &'a str,
    pub member: &'a Addressee,
    /// Name and slug.
    pub project: (&'a str, &'a str),
}

/// Why a condition says neither yes nor no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Undecided(String);

impl Condition {
    /// Checks a condition of an automation of that event type.
    pub fn parse(source: &str, event_type: &str) -> Result<Self, Wrong> {
        if source.len() > LONGEST {
            return Err(Wrong::at(source, LONGEST, format!("is longer than {LONGEST} octets")));
        }
        if source.trim().is_empty() {
            return Err(Wrong::at(source, 0, "is empty"));
        }
        check_expression(source, &Scope { event_type, place: Place::Condition, token: false })?;
        Ok(Self::stored(source))
    }

    /// As it stands in the database.
    pub fn stored(source: &str) -> Self {
        let compiled = CONDITIONS.compile_expression_owned(source.to_owned()).ok().map(Arc::new);
        Self { source: source.into(), compiled }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds.
    pub fn holds(&self, told: &Told<'_>) -> Result<bool, Undecided> {
        let compiled = self.compiled.as_ref().ok_or_else(|| Undecided("it cannot be read".to_owned()))?;
        let context = minijinja::Value::from_pairs([
            ("event", event_value(told.event, told.event_type)),
            ("member", member_value(told.member)),
            ("project", project_value(told.project.0, told.project.1)),
        ]);
        compiled.eval(context).map(|value| value.is_true()).map_err(|error| Undecided(error.to_string()))
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RESET: &str = "account.password-reset-requested";

    fn holds(source: &str, data: serde_json::Value, is_admin: bool) -> bool {
        let facts = Facts { kind: RESET.to_owned(), time: chrono::DateTime::UNIX_EPOCH, data };
        let member = Addressee { username: "elon".to_owned(), is_admin, ..Addressee::default() };
        let told = Told { event: &facts, event_type: RESET, member: &member, project: ("Acme", "acme") };
        Condition::parse(source, RESET).unwrap().holds(&told).unwrap()
    }

    #[test]
    fn a_condition_asks_the_event_the_member_and_the_project() {
        let admin = json!({ "member": "elon", "reason": "admin" });
        assert!(holds("event.reason == \"admin\" and member.is_admin", admin.clone(), true));
        assert!(!holds("event.reason == \"admin\" and member.is_admin", admin.clone(), false));
        assert!(holds("event.reason != 'forced'", json!({ "member": "elon" }), false));
        assert!(holds("event.reason == 'member'", json!({ "member": "elon" }), false), "the default");
        assert!(holds("event.reason in ['admin', 'forced'] and not member.is_admin", admin, false));
        assert!(holds("project.slug == 'acme' and member.first_name is none", json!({}), false));
        assert!(holds("(member.locale or 'en') == 'en'", json!({}), false));
    }

    #[test]
    fn what_is_no_condition_is_refused_at_its_place() {
        let wrong = |source: &str| {
            let wrong = Condition::parse(source, RESET).unwrap_err();
            (wrong.line, wrong.column)
        };
        assert_eq!(wrong("event.reason == 'admin' and member.is_admn"), (1, 29));
        assert_eq!(wrong("event.reson == 'admin'"), (1, 1));
        assert_eq!(wrong("event.reason ==\n  token"), (2, 3));
        assert_eq!(wrong("event.reason == range(10)"), (1, 17));
        assert_eq!(wrong("member.username * 1000 == ''"), (1, 1));
        assert_eq!(wrong("event.reason == 'admin' and"), (1, 25));
        assert_eq!(wrong(""), (1, 1));
    }
}
