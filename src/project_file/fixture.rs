//! A file with everything in it, and a database of its own for each test that applies files.

use super::*;
use crate::domain::catalogue::{Automation, Integration, IntegrationKind, SmtpServer};
use crate::domain::keys::SecretKey;
use crate::domain::member::Member;

pub(super) const ACME: &str = r##"
[project]
slug = "acme"
name = "Acme"
link_hosts = ["app.acme.example"]
origins = ["https://app.acme.example"]
jexia_calls = false
out_of_office = { limit = 2, phrases = ["out of office", "out of the office"] }
throttle = { recipient = "5/h", client = "20/h" }
notices = ["account.*", "event.refused", "dispatch.dead", "dispatch.bounced"]
brand = { color = "#0b5fff", logo_url = "https://app.acme.example/logo.png", footer = "Acme Ltd, 1 Main Street" }

[[integrations]]
name = "main"
kind = "smtp"
url  = "smtp://user:${SMTP_PASSWORD}@mail.example.com:587?tls=required"
from = "Acme <no-reply@acme.example>"
reply_to = "help@acme.example"
connections = 10
auto_submitted = true

[[automations]]
name = "Our reset"
event = "account.password-reset-requested"
integration = "main"
template = "reset-password-confirm"
link = "https://app.acme.example/reset?token={{ token }}"
token = { purpose = "reset-password", lifetime = "30m" }
max_age = "2h"
enabled = true

[[members]]
username = "elon"
email = "elon@example.com"
first_name = "Elon"
"##;

/// A database of its own, and what files are applied with.
pub(super) struct Place {
    pub(super) store: Store,
    pub(super) keys: Keyring,
    pub(super) environment: BTreeMap<String, String>,
    _directory: tempfile::TempDir,
}

/// Built-in automations that no test here is about.
pub(super) const OTHERS: [&str; 5] = [
    "Administrator granted",
    "Confirm e-mail address",
    "E-mail address changed",
    "On vacation",
    "Out of office",
];

/// What is stored of the project `acme`.
pub(super) struct Found {
    pub(super) integrations: Vec<Integration>,
    pub(super) automations: Vec<Automation>,
}

impl Place {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        let environment = [("SMTP_PASSWORD".to_owned(), "p@ss/word".to_owned())].into();
        let keys = Keyring::new(&SecretKey::from_bytes([7; 32]), &[]);
        Self { store, keys, environment, _directory: directory }
    }

    pub(super) async fn apply(&self, text: &str, dry_run: bool) -> Result<Vec<String>, Vec<Problem>> {
        match apply(&self.applying(), text, Options { dry_run, prune: false }).await {
            Ok(changes) => Ok(changes.iter().map(ToString::to_string).collect()),
            Err(ApplyError::Wrong(problems)) => Err(problems),
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(super) fn applying(&self) -> Applying<'_> {
        Applying {
            store: &self.store,
            keys: &self.keys,
            now: "2026-11-24T12:00:00Z".parse().unwrap(),
            public_host: "mail.acme.example",
            environment: &self.environment,
        }
    }

    pub(super) async fn found(&self) -> Found {
        let mut c = self.store.read().await.unwrap();
        Found {
            integrations: db!(c, integrations::all()).unwrap(),
            automations: db!(c, automations::all()).unwrap().into_iter().map(|(_, one)| one).collect(),
        }
    }

    pub(super) async fn elon(&self) -> Member {
        let mut c = self.store.read().await.unwrap();
        let project = db!(c, catalogue::project_id("acme")).unwrap().unwrap();
        let name = crate::domain::member::MemberRef::parse("elon").unwrap();
        db!(c, members::find(project.0, &name)).unwrap().unwrap()
    }

    /// The place of the only problem.
    pub(super) async fn problem(&self, text: &str) -> (String, String) {
        match self.apply(text, false).await.unwrap_err().as_slice() {
            [one] => (one.place.clone(), one.what.clone()),
            more => panic!("{more:?}\n{text}"),
        }
    }
}

impl Found {
    pub(super) fn server(&self, name: &str) -> SmtpServer {
        let found = self.integrations.iter().find(|one| one.name == name).unwrap();
        match &found.kind {
            IntegrationKind::Smtp(server) => server.clone(),
            IntegrationKind::Capture => panic!("captures"),
        }
    }

    /// Of the automations; the built-in ones that no test here is about are left out.
    pub(super) fn names(&self) -> Vec<&str> {
        let names = self.automations.iter().map(|one| one.name.as_str());
        let (others, names): (Vec<_>, _) = names.partition(|name| OTHERS.contains(name));
        assert_eq!(others.len(), OTHERS.len(), "{others:?}");
        names
    }

    pub(super) fn automation(&self, name: &str) -> &Automation {
        self.automations.iter().find(|one| one.name == name).unwrap()
    }
}
