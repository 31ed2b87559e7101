//! What people stored: projects, automations, integrations. A worker keeps all of it in memory as one
//! snapshot and reads it again when its revision has risen; planning an event asks no database for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::condition::Condition;
use super::event::Refusal;
use super::event_type::EventType;
use super::id::{AutomationId, IntegrationId, ProjectId};
pub use super::settings::{Brand, Rate, Settings};
use super::token::Purpose;

/// How old an event may be for a mail: 2 h where a token is issued.
pub const MAX_AGE_WITH_TOKEN: Duration = Duration::from_hours(2);
/// And 24 h elsewhere.
pub const MAX_AGE: Duration = Duration::from_hours(24);

/// Everything stored, at one revision.
#[derive(Default)]
pub struct Catalogue {
    pub revision: i64,
    pub projects: HashMap<String, Arc<Project>>,
    /// The same, by id.
    pub by_id: HashMap<ProjectId, Arc<Project>>,
    pub automations: HashMap<AutomationId, Arc<Automation>>,
    pub integrations: HashMap<IntegrationId, Arc<Integration>>,
}

impl Catalogue {
    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.by_id.get(&id)
    }
}

/// A tenant.
#[derive(Clone)]
pub struct Project {
    pub id: ProjectId,
    pub slug: String,
    pub name: String,
    pub settings: Settings,
    pub paused: bool,
    /// Enabled and disabled ones, by event type, in the order of their names.
    pub automations: HashMap<String, Vec<Arc<Automation>>>,
    /// Registered beyond the built-in ones, by name.
    pub event_types: HashMap<String, EventType>,
}

impl Project {
    /// The change that an event of the project makes; the data of a registered type fit its schema.
    pub fn change(&self, kind: &str, data: &serde_json::Value) -> Result<Change, Refusal> {
        match self.event_types.get(kind) {
            Some(registered) => {
                registered.check(data)?;
                Change::read_registered(data)
            }
            None => Change::read(kind, data),
        }
    }

    /// Where anything that carries a token may go; the public URL's host if the project names none.
    pub fn link_hosts(&self, public_url: &str) -> Vec<String> {
        if !self.settings.link_hosts.is_empty() {
            return self.settings.link_hosts.clone();
        }
        let url = url::Url::parse(public_url).ok();
        url.and_then(|url| url.host().map(|host| host.to_string())).into_iter().collect()
    }
}

/// A stored rule.
#[derive(Clone, Debug)]
pub struct Automation {
    pub id: AutomationId,
    pub version: i32,
    pub name: String,
    pub event_type: String,
    pub integration_id: IntegrationId,
    /// Name of a built-in e-mail, or [`STORED`].
    pub template: String,
    /// What a stored e-mail says, one a locale; none of a built-in one.
    pub texts: Vec<Text>,
    pub condition: Option<Condition>,
    pub token: Option<TokenPlan>,
    pub max_age: Duration,
    /// With `{{ token }}` in it; the hosted page otherwise.
    pub link: Option<String>,
    pub enabled: bool,
    pub paused: bool,
}

/// The name of every template that is stored with its automation.
pub const STORED: &str = "stored";

/// Subject and body of a stored e-mail, as their author wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    pub subject: String,
    pub body: String,
}

impl Automation {
    /// The text for a member: of the locale, of its language, of none, or the first.
    pub fn text(&self, locale: Option<&str>) -> Option<&Text> {
        let of = |wanted: &str| {
            self.texts.iter().find(|text| {
                text.locale
                    .as_deref()
                    .is_some_and(|locale| locale.replace('_', "-").eq_ignore_ascii_case(wanted))
            })
        };
        let locale = locale.map(|locale| locale.replace('_', "-"));
        let exact = locale.as_deref().and_then(of);
        let language = || locale.as_deref().and_then(|locale| of(locale.split('-').next()?));
        let plain = || self.texts.iter().find(|text| text.locale.is_none());
        exact.or_else(language).or_else(plain).or_else(|| self.texts.first())
    }
}

/// What differs, by the names that people use.
pub fn changed(old: &Automation, new: &Automation) -> Vec<&'static str> {
    let is_single = |one: &Automation| matches!(one.texts.as_slice(), [Text { locale: None, .. }]);
    let (old_text, new_text) = (old.texts.first(), new.texts.first());
    let singles = is_single(old) && is_single(new);
    let pairs = [
        ("name", old.name != new.name),
        ("event", old.event_type != new.event_type),
        ("integration", old.integration_id != new.integration_id),
        ("template", old.template != new.template),
        ("subject", singles && old_text.map(|text| &text.subject) != new_text.map(|text| &text.subject)),
        ("body", singles && old_text.map(|text| &text.body) != new_text.map(|text| &text.body)),
        ("texts", !singles && old.texts != new.texts),
        ("condition", old.condition != new.condition),
        ("link", old.link != new.link),
        ("token", old.token != new.token),
        ("max_age", old.max_age != new.max_age),
        ("enabled", old.enabled != new.enabled),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}

/// The token that an automation issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPlan {
    pub purpose: Purpose,
    pub lifetime: Duration,
}

/// A way to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Integration {
    pub id: IntegrationId,
    pub project_id: ProjectId,
    pub name: String,
    pub kind: IntegrationKind,
    /// The From mailbox.
    pub sender: String,
    pub reply_to: Option<String>,
    pub connections: u16,
    /// At most so many mails in one worker.
    pub rate: Option<Rate>,
    /// RFC 3834's header.
    pub auto_submitted: bool,
    /// The address of the envelope sender, which names its dispatch.
    pub return_path: Option<String>,
    /// The address of Reply-To, which names its dispatch; a person's reply is passed on to `reply_to`.
    pub reply_path: Option<String>,
    pub paused: bool,
    /// Out of use; dispatches that name it are still sent.
    pub retired: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum IntegrationKind {
    Smtp(SmtpServer),
    /// Kept sealed in the database, shown in the mailbox.
    Capture,
}

/// Where and how an SMTP integration connects. The password stays sealed until a connection is made.
#[derive(Clone, Debug, PartialEq)]
pub struct SmtpServer {
    pub host: String,
    pub port: u16,
    pub tls: String,
    pub username: Option<String>,
    pub sealed_password: Option<Vec<u8>>,
    /// Made by the operator: may reach addresses that are not public.
    pub unrestricted: bool,
}

impl SmtpServer {
    /// What the password is sealed with: a row that was changed or moved does not open.
    pub fn seal_place(&self, integration: IntegrationId, project: ProjectId) -> String {
        let user = self.username.as_deref().unwrap_or_default();
        format!("smtp/{project}/{integration}/{}/{}/{user}/{}", self.host, self.port, self.tls)
    }
}

/// An automation that every project has.
pub struct BuiltIn {
    pub name: &'static str,
    pub event_type: &'static str,
    pub template: &'static str,
    pub purpose: Option<Purpose>,
}

/// The built-in automations, one for each event type that has a built-in e-mail.
pub const BUILT_IN: [BuiltIn; 7] = [
    BuiltIn {
        name: "Reset password",
        event_type: "account.password-reset-requested",
        template: "reset-password-confirm",
        purpose: Some(Purpose::ResetPassword),
    },
    BuiltIn {
        name: "Password changed",
        event_type: "account.password-changed",
        template: "change-password",
        purpose: None,
    },
    BuiltIn {
        name: "Confirm e-mail address",
        event_type: "account.email-change-requested",
        template: "change-email-confirm",
        purpose: Some(Purpose::ChangeEmail),
    },
    BuiltIn {
        name: "E-mail address changed",
        event_type: "account.email-changed",
        template: "change-email",
        purpose: Some(Purpose::UndoEmailChange),
    },
    BuiltIn {
        name: "Administrator granted",
        event_type: "account.administrator-granted",
        template: "reset-password-confirm",
        purpose: Some(Purpose::ResetPassword),
    },
    BuiltIn {
        name: "Out of office",
        event_type: "account.out-of-office-warned",
        template: "out-of-office-warning",
        purpose: Some(Purpose::Notifications),
    },
    BuiltIn {
        name: "On vacation",
        event_type: "account.on-vacation",
        template: "out-of-office-change",
        purpose: Some(Purpose::Notifications),
    },
];
