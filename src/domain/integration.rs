//! How an integration is made and changed, whoever asks: a file, the API, the console. What is not said stays as
//! it is stored. A password is sealed here and kept nowhere else; one that is stored goes only to the place it
//! was given for. Must not know who asks, nor whether anything answers there.

use lettre::message::Mailbox;

use super::address::EmailAddress;
use super::catalogue::{Integration, IntegrationKind, Rate, SmtpServer};
use super::id::{IntegrationId, ProjectId};
use super::keys::Keyring;
use super::smtp_url::{Login, SmtpUrl};

/// Connections to a server, when nothing is said, and at most.
pub const CONNECTIONS: u16 = 10;
pub const MOST_CONNECTIONS: u16 = 1000;
/// Ports of mail servers, the only ones that an integration made over the API reaches.
pub const MAIL_PORTS: [u16; 4] = [25, 465, 587, 2525];

/// Octets before the `@` of a return or reply path: what an address has room for beside a dispatch and its MAC.
pub const LONGEST_PATH: usize = 14;

/// What somebody says of one. `None` is not said; an optional text is taken away by an empty one.
#[derive(Default, Clone)]
pub struct Wish {
    pub name: String,
    pub kind: Option<Kind>,
    pub url: Option<SmtpUrl>,
    pub from: Option<String>,
    pub reply_to: Option<String>,
    pub connections: Option<u16>,
    /// `Some(None)` takes it away.
    pub rate: Option<Option<Rate>>,
    pub auto_submitted: Option<bool>,
    pub return_path: Option<String>,
    pub reply_path: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Smtp,
    Capture,
}

impl Kind {
    pub fn from_name(name: &str) -> Result<Self, &'static str> {
        match name {
            "smtp" => Ok(Self::Smtp),
            "capture" => Ok(Self::Capture),
            _ => Err("is neither `smtp` nor `capture`"),
        }
    }
}

/// Who makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// By a file: it may go anywhere.
    Operator,
    /// Over the API or the console: with a password over TLS only, and to mail ports; `networks` says whether
    /// the operator allowed some more networks, which are looked at when connecting.
    Project { networks: bool },
}

/// What one is made with.
pub struct Making<'a> {
    pub keys: &'a Keyring,
    pub project: ProjectId,
    /// Of one that is new.
    pub id: IntegrationId,
    pub maker: Maker,
}

/// A field and what is wrong with it: "is required".
pub type Wrong = (&'static str, String);

impl Wish {
    /// The integration as it shall be, or all that is wrong.
    pub fn over(&self, making: &Making<'_>, stored: Option<&Integration>) -> Result<Integration, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let id = stored.map_or(making.id, |stored| stored.id);
        let kind = self.kind(making, stored, id).map_err(|one| wrong.push(one)).ok();
        let sender = self.from.clone().or_else(|| stored.map(|stored| stored.sender.clone()));
        if sender.is_none() {
            wrong.push(("from", "is required: `Acme <no-reply@acme.example>`".to_owned()));
        }
        let (Some(kind), Some(sender)) = (kind, sender) else { return Err(wrong) };
        let text = |given: &Option<String>, stored: Option<&Option<String>>| match given {
            Some(given) => Some(given.clone()).filter(|given| !given.is_empty()),
            None => stored.cloned().flatten(),
        };
        let stays = stored.as_ref();
        Ok(Integration {
            id,
            project_id: making.project,
            name: self.name.clone(),
            kind,
            sender,
            reply_to: text(&self.reply_to, stays.map(|stored| &stored.reply_to)),
            connections: self.connections.or(stays.map(|stored| stored.connections)).unwrap_or(CONNECTIONS),
            rate: self.rate.unwrap_or_else(|| stays.and_then(|stored| stored.rate)),
            auto_submitted: self.auto_submitted.or(stays.map(|one| one.auto_submitted)).unwrap_or(true),
            return_path: text(&self.return_path, stays.map(|stored| &stored.return_path)),
            reply_path: text(&self.reply_path, stays.map(|stored| &stored.reply_path)),
            paused: stored.is_some_and(|stored| stored.paused),
            retired: false,
        })
    }

    fn kind(
        &self,
        making: &Making<'_>,
        stored: Option<&Integration>,
        id: IntegrationId,
    ) -> Result<IntegrationKind, Wrong> {
        let server = stored.and_then(server);
        let of = |stored: &Integration| {
            if stored.kind == IntegrationKind::Capture { Kind::Capture } else { Kind::Smtp }
        };
        let kind = self.kind.or(self.url.as_ref().map(|_| Kind::Smtp)).or(stored.map(of));
        match (kind, &self.url, server) {
            (None, ..) => Err(("kind", "is required: `smtp` or `capture`".to_owned())),
            (Some(Kind::Capture), Some(_), _) => {
                Err(("url", "has no meaning for `capture`, which sends nothing".to_owned()))
            }
            (Some(Kind::Capture), None, _) => Ok(IntegrationKind::Capture),
            (Some(Kind::Smtp), Some(url), server) => {
                login(making, url, (id, server)).map(IntegrationKind::Smtp)
            }
            (Some(Kind::Smtp), None, Some(server)) => {
                // What the operator's file names is the operator's own.
                let unrestricted = server.unrestricted || making.maker == Maker::Operator;
                Ok(IntegrationKind::Smtp(SmtpServer { unrestricted, ..server.clone() }))
            }
            (Some(Kind::Smtp), None, None) => {
                Err(("url", "is required: `smtp://user:password@host:587`".to_owned()))
            }
        }
    }
}

/// The server, with the password of the URL, or the stored one if the URL goes to the very same place.
fn login(
    making: &Making<'_>,
    url: &SmtpUrl,
    (id, stored): (IntegrationId, Option<&SmtpServer>),
) -> Result<SmtpServer, Wrong> {
    let (username, password) = match &url.login {
        Login::Nobody => (None, None),
        Login::AsStored => (stored.and_then(|stored| stored.username.clone()), None),
        Login::User { name, password } => (Some(name.clone()), password.as_deref()),
    };
    let mut fresh = SmtpServer {
        host: url.host.clone(),
        port: url.port,
        tls: url.tls.to_owned(),
        username,
        sealed_password: None,
        unrestricted: making.maker == Maker::Operator,
    };
    let same = stored.filter(|stored| changed_place(stored, &fresh).is_empty());
    match same {
        // The project may go on with what its operator set up, though not point it elsewhere.
        Some(same) => fresh.unrestricted |= same.unrestricted,
        None => may_go_there(making.maker, &fresh)?,
    }
    let sealed_before = same.and_then(|same| same.sealed_password.clone());
    let place = fresh.seal_place(id, making.project);
    let is_same = |sealed: &Vec<u8>, password: &str| {
        making.keys.open(&place, sealed).is_some_and(|open| open == password.as_bytes())
    };
    fresh.sealed_password = match (password, &fresh.username) {
        (Some(password), _) => {
            let seal = || making.keys.seal(&place, password.as_bytes(), &mut rand::rng());
            Some(sealed_before.filter(|sealed| is_same(sealed, password)).unwrap_or_else(seal))
        }
        (None, None) => None,
        (None, Some(_)) if sealed_before.is_some() => sealed_before,
        (None, Some(_)) => return Err(("url", needs_password(stored, &fresh))),
    };
    Ok(fresh)
}

fn may_go_there(maker: Maker, server: &SmtpServer) -> Result<(), Wrong> {
    let Maker::Project { networks } = maker else { return Ok(()) };
    if server.username.is_some() && server.tls == "none" {
        return Err(("url", "has a user and `tls=none`: a password goes over TLS only".to_owned()));
    }
    if !networks && !MAIL_PORTS.contains(&server.port) {
        let ports = MAIL_PORTS.map(|port| port.to_string()).join(", ");
        return Err(("url", format!("has a port that is none of {ports}")));
    }
    Ok(())
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

/// What differs, by the names that people use.
pub fn changed(old: &Integration, new: &Integration) -> Vec<&'static str> {
    let mut changed = match (server(old), server(new)) {
        (None, None) => Vec::new(),
        (Some(old), Some(new)) => {
            let mut changed = changed_place(old, new);
            if changed.is_empty() && old.sealed_password != new.sealed_password {
                changed.push("password");
            }
            if old.unrestricted != new.unrestricted {
                changed.push("reach");
            }
            changed
        }
        _ => vec!["kind"],
    };
    let pairs = [
        ("name", old.name != new.name),
        ("from", old.sender != new.sender),
        ("reply_to", old.reply_to != new.reply_to),
        ("connections", old.connections != new.connections),
        ("rate", old.rate != new.rate),
        ("auto_submitted", old.auto_submitted != new.auto_submitted),
        ("return_path", old.return_path != new.return_path),
        ("reply_path", old.reply_path != new.reply_path),
    ];
    changed.extend(pairs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field));
    changed
}

/// Where it sends, unless it captures.
pub fn server(integration: &Integration) -> Option<&SmtpServer> {
    match &integration.kind {
        IntegrationKind::Smtp(server) => Some(server),
        IntegrationKind::Capture => None,
    }
}

/// Checks a From mailbox.
pub fn mailbox(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "is not a mailbox such as `Acme <no-reply@acme.example>`";
    if text.chars().any(char::is_control) {
        return Err("has a control character");
    }
    let mailbox: Mailbox = text.parse().map_err(|_| WRONG)?;
    EmailAddress::parse(mailbox.email.as_ref()).map(|_| text.trim().to_owned())
}

/// Checks an address alone.
pub fn address(text: &str) -> Result<String, &'static str> {
    EmailAddress::parse(text).map(|address| address.to_string())
}

/// Checks the address of a return or reply path.
pub fn path(text: &str) -> Result<String, String> {
    let address = address(text)?;
    match address.rsplit_once('@') {
        Some((local, _)) if local.len() > LONGEST_PATH => Err(format!(
            "has {} octets before the `@`; with more than {LONGEST_PATH} there is no room for the id of a dispatch",
            local.len()
        )),
        _ => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::SecretKey;

    fn keys() -> Keyring {
        Keyring::new(&SecretKey::from_bytes([1; 32]), &[])
    }

    fn make(url: &str, stored: Option<&Integration>, maker: Maker) -> Result<Integration, Vec<Wrong>> {
        let keys = keys();
        let id = IntegrationId(uuid::Uuid::from_u128(1));
        let making = Making { keys: &keys, project: ProjectId(uuid::Uuid::nil()), id, maker };
        let url = SmtpUrl::parse(url).unwrap();
        let from = Some("Acme <no-reply@acme.example>".to_owned());
        Wish { name: "main".to_owned(), url: Some(url), from, ..Wish::default() }.over(&making, stored)
    }

    #[test]
    fn a_path_has_room_for_the_id_of_a_dispatch() {
        assert_eq!(path("account-bounce@acme.example").unwrap(), "account-bounce@acme.example");
        assert!(path("account-bounces@acme.example").unwrap_err().contains("has 15 octets"));
        assert!(path("bounces").is_err());
    }

    const PROJECT: Maker = Maker::Project { networks: false };

    #[test]
    fn the_stored_password_stays_where_it_was_given_for_and_goes_nowhere_else() {
        let stored = make("smtp://u:hunter2@mail.example.com", None, PROJECT).unwrap();
        assert!(make("smtp://u@mail.example.com", Some(&stored), PROJECT).unwrap() == stored);
        for (url, what) in [
            ("smtp://u@evil.example", "host"),
            ("smtp://u@mail.example.com:25", "port"),
            ("smtp://v@mail.example.com", "user"),
            ("smtps://u@mail.example.com:587", "tls"),
        ] {
            let wrong = make(url, Some(&stored), PROJECT).unwrap_err();
            assert_eq!(wrong[0].0, "url");
            assert!(wrong[0].1.contains(what) && wrong[0].1.contains("password again"), "{wrong:?}");
        }
    }

    #[test]
    fn a_project_sends_its_password_over_tls_and_to_mail_ports_only() {
        for url in ["smtp://u:p@mail.example.com?tls=none", "smtp://u:p@mail.example.com:5432"] {
            assert!(make(url, None, PROJECT).is_err(), "{url}");
            assert!(make(url, None, Maker::Operator).is_ok(), "{url}");
        }
        assert!(make("smtp://mail.example.com:25?tls=none", None, PROJECT).is_ok());
        assert!(make("smtp://u:p@10.0.0.1:1025", None, Maker::Project { networks: true }).is_ok());
    }

    #[test]
    fn what_the_operator_set_up_stays_theirs_until_it_points_elsewhere() {
        let stored = make("smtp://u:p@10.0.0.1:1025?tls=none", None, Maker::Operator).unwrap();
        let kept = make("smtp://u:q@10.0.0.1:1025?tls=none", Some(&stored), PROJECT).unwrap();
        assert!(server(&kept).unwrap().unrestricted);
        let moved = make("smtp://u:q@10.0.0.2:25", Some(&stored), PROJECT).unwrap();
        assert!(!server(&moved).unwrap().unrestricted);
    }
}
