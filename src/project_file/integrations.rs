//! Integrations of a file: read, and laid over what is stored. A password is sealed here and kept nowhere else.

use lettre::message::Mailbox;

use super::fields::Fields;
use super::plan::Planning;
use super::read::{name, or_none, put_text};
use super::smtp_url::{self, Login, SmtpUrl};
use crate::domain::address::EmailAddress;
use crate::domain::catalogue::{Integration, IntegrationKind, SmtpServer};
use crate::domain::id::IntegrationId;

/// Connections to a server, when nothing is said.
const CONNECTIONS: u16 = 10;
const MOST_CONNECTIONS: u16 = 1000;

/// What the file says of one.
pub(super) struct IntegrationEntry {
    pub(super) place: String,
    pub(super) name: String,
    kind: Option<Kind>,
    url: Option<SmtpUrl>,
    from: Option<String>,
    reply_to: Option<String>,
    connections: Option<u16>,
    auto_submitted: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Smtp,
    Capture,
}

impl IntegrationEntry {
    /// `None`: it has no name under which it could be stored.
    pub(super) fn read(mut fields: Fields<'_>, variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let named = fields.checked("name", name);
        if named.is_none() {
            fields.wrong("name", "is missing");
        }
        let kind = fields.checked("kind", |text| match text {
            "smtp" => Ok(Kind::Smtp),
            "capture" => Ok(Kind::Capture),
            _ => Err("is neither `smtp` nor `capture`"),
        });
        let url = fields.checked("url", |text| SmtpUrl::parse(&smtp_url::replace(text, variable)?));
        let entry = Self {
            place: fields.place.clone(),
            name: named.unwrap_or_default(),
            kind,
            url,
            from: fields.checked("from", mailbox),
            reply_to: fields.checked("reply_to", or_none(address)),
            connections: fields.whole("connections", 1, MOST_CONNECTIONS),
            auto_submitted: fields.boolean("auto_submitted"),
        };
        fields.unsupported(&["rate", "return_path", "reply_path"]);
        fields.end();
        Some(entry).filter(|entry| !entry.name.is_empty())
    }

    /// The integration as it shall be.
    pub(super) fn over(&self, planning: &Planning<'_>, stored: Option<&Integration>) -> Option<Integration> {
        let id = stored.map_or_else(|| IntegrationId::new_at(planning.applying.now), |stored| stored.id);
        let kind = self.kind(planning, stored, id);
        let sender = self.from.clone().or_else(|| stored.map(|stored| stored.sender.clone()));
        if sender.is_none() {
            planning.wrong(&self.place, "from", "is required: `Acme <no-reply@acme.example>`");
        }
        let mut reply_to = stored.and_then(|stored| stored.reply_to.clone());
        put_text(&mut reply_to, self.reply_to.as_ref());
        let connections = self.connections.or(stored.map(|stored| stored.connections));
        let auto_submitted = self.auto_submitted.or(stored.map(|stored| stored.auto_submitted));
        Some(Integration {
            id,
            project_id: planning.project,
            name: self.name.clone(),
            kind: kind?,
            sender: sender?,
            reply_to,
            connections: connections.unwrap_or(CONNECTIONS),
            rate: stored.and_then(|stored| stored.rate),
            auto_submitted: auto_submitted.unwrap_or(true),
            return_path: stored.and_then(|stored| stored.return_path.clone()),
            reply_path: stored.and_then(|stored| stored.reply_path.clone()),
            paused: stored.is_some_and(|stored| stored.paused),
            retired: false,
        })
    }

    fn kind(
        &self,
        planning: &Planning<'_>,
        stored: Option<&Integration>,
        id: IntegrationId,
    ) -> Option<IntegrationKind> {
        let server = stored.and_then(server);
        let kind = self.kind.or_else(|| self.url.as_ref().map(|_| Kind::Smtp)).or_else(|| {
            stored.map(
                |stored| if stored.kind == IntegrationKind::Capture { Kind::Capture } else { Kind::Smtp },
            )
        });
        match (kind, &self.url) {
            (Some(Kind::Capture), None) => Some(IntegrationKind::Capture),
            (Some(Kind::Capture), Some(_)) => {
                planning.wrong(&self.place, "url", "has no meaning for `capture`, which sends nothing");
                None
            }
            (Some(Kind::Smtp), Some(url)) => {
                self.login(planning, url, (id, server)).map(IntegrationKind::Smtp)
            }
            (Some(Kind::Smtp), None) => {
                if server.is_none() {
                    planning.wrong(&self.place, "url", "is required: `smtp://user:password@host:587`");
                }
                server
                    .map(|server| IntegrationKind::Smtp(SmtpServer { unrestricted: true, ..server.clone() }))
            }
            (None, _) => {
                planning.wrong(&self.place, "kind", "is required: `smtp` or `capture`");
                None
            }
        }
    }

    /// The server, with the password of the URL, or the stored one if the URL goes to the very same place.
    fn login(
        &self,
        planning: &Planning<'_>,
        url: &SmtpUrl,
        (id, stored): (IntegrationId, Option<&SmtpServer>),
    ) -> Option<SmtpServer> {
        let (username, password) = match &url.login {
            Login::Nobody => (None, None),
            Login::AsStored => (stored.and_then(|stored| stored.username.clone()), None),
            Login::User { name, password } => (Some(name.clone()), password.as_deref()),
        };
        let fresh = SmtpServer {
            host: url.host.clone(),
            port: url.port,
            tls: url.tls.to_owned(),
            username,
            sealed_password: None,
            unrestricted: true,
        };
        let same = stored.filter(|stored| changed_place(stored, &fresh).is_empty());
        let sealed_before = same.and_then(|same| same.sealed_password.clone());
        let place = fresh.seal_place(id, planning.project);
        let keys = planning.applying.keys;
        let sealed_password = match (password, &fresh.username) {
            (Some(password), _) => {
                let is_same = |sealed: &Vec<u8>| {
                    keys.open(&place, sealed).is_some_and(|open| open == password.as_bytes())
                };
                let seal = || keys.seal(&place, password.as_bytes(), &mut rand::rng());
                Some(sealed_before.filter(is_same).unwrap_or_else(seal))
            }
            (None, None) => None,
            (None, Some(_)) if sealed_before.is_some() => sealed_before,
            (None, Some(_)) => {
                planning.wrong(&self.place, "url", needs_password(stored, &fresh));
                return None;
            }
        };
        Some(SmtpServer { sealed_password, ..fresh })
    }
}

fn needs_password(stored: Option<&SmtpServer>, fresh: &SmtpServer) -> String {
    match stored.map(|stored| changed_place(stored, fresh)) {
        Some(changed) if !changed.is_empty() => {
            format!("changes {}, so it needs the password again", changed.join(", "))
        }
        _ => "has a user and needs a password".to_owned(),
    }
}

/// What differs of where the password goes to.
fn changed_place(old: &SmtpServer, new: &SmtpServer) -> Vec<&'static str> {
    let pairs = [
        ("host", old.host != new.host),
        ("port", old.port != new.port),
        ("tls", old.tls != new.tls),
        ("user", old.username != new.username),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}

/// What differs, by the names of the file.
pub(super) fn changed(old: &Integration, new: &Integration) -> Vec<&'static str> {
    let mut changed = match (server(old), server(new)) {
        (None, None) => Vec::new(),
        (Some(old), Some(new)) => {
            let mut changed = changed_place(old, new);
            if changed.is_empty() && old.sealed_password != new.sealed_password {
                changed.push("password");
            }
            if old.unrestricted != new.unrestricted {
                changed.push("made by apply");
            }
            changed
        }
        _ => vec!["kind"],
    };
    let pairs = [
        ("from", old.sender != new.sender),
        ("reply_to", old.reply_to != new.reply_to),
        ("connections", old.connections != new.connections),
        ("auto_submitted", old.auto_submitted != new.auto_submitted),
    ];
    changed.extend(pairs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field));
    changed
}

fn server(integration: &Integration) -> Option<&SmtpServer> {
    match &integration.kind {
        IntegrationKind::Smtp(server) => Some(server),
        IntegrationKind::Capture => None,
    }
}

fn mailbox(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "is not a mailbox such as `Acme <no-reply@acme.example>`";
    if text.chars().any(char::is_control) {
        return Err("has a control character");
    }
    let mailbox: Mailbox = text.parse().map_err(|_| WRONG)?;
    EmailAddress::parse(mailbox.email.as_ref()).map(|_| text.trim().to_owned())
}

fn address(text: &str) -> Result<String, &'static str> {
    EmailAddress::parse(text).map(|address| address.to_string())
}
