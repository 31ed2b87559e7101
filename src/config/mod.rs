//! The configuration, and the only reader of the environment. Flags, then environment, then a TOML file, then
//! defaults; everything that is wrong is told in one go, and no secret is ever told. Must not know what the
//! values are used for.

mod keys;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::mail::network::Cidr;
pub use keys::{KEYS, Key, PREFIX};
pub use values::{PublicUrl, SecretUrl};

use crate::domain::keys::{Keyring, SecretKey};

/// The file that is read if it is there and `--config` names no other.
pub const DEFAULT_FILE: &str = "signalpost.toml";
/// Beyond any retry of a publisher that must be seen as a duplicate.
const SHORTEST_RETENTION: Duration = Duration::from_hours(1);
const LONGEST_RETENTION: Duration = Duration::from_hours(24 * 3650);
/// The longest part of a wrong value that is repeated, in characters.
const LONGEST_REPEATED: usize = 60;

/// How the process runs. No `Debug`: it holds keys and passwords.
pub struct Config {
    pub database_url: SecretUrl,
    pub amqp_url: Option<SecretUrl>,
    pub amqp_declare: bool,
    pub http_addr: SocketAddr,
    pub admin_addr: Option<SocketAddr>,
    /// There whenever [`Needs::public_url`] was said.
    pub public_url: Option<PublicUrl>,
    pub trusted_proxies: Vec<Cidr>,
    /// There whenever [`Needs::secret_key`] was said.
    pub secret_key: Option<SecretKey>,
    pub secret_keys_old: Vec<SecretKey>,
    pub send_concurrency: usize,
    pub prefetch: u16,
    pub max_due: i64,
    pub smtp_allow: Vec<Cidr>,
    pub retention: Duration,
    pub log: String,
    pub otlp_endpoint: Option<SecretUrl>,
}

/// What a command cannot do without, beyond what has a default.
#[derive(Clone, Copy, Default)]
pub struct Needs {
    pub secret_key: bool,
    pub public_url: bool,
}

/// Where values come from.
#[derive(Default)]
pub struct Sources {
    /// By flag, without `--`.
    pub flags: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    /// The file's name and text.
    pub file: Option<(String, String)>,
    pub needs: Needs,
}

/// One wrong value, or one that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `SIGNALPOST_PREFETCH`; for the file as a whole its name.
    pub key: String,
    /// Where the value came from.
    pub origin: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.what)
    }
}

impl Config {
    /// Reads every key, or tells all that is wrong.
    pub fn resolve(sources: &Sources) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let file = read_file(sources, &mut problems);
        let mut config = Self::blank();
        for key in &KEYS {
            let Some((text, origin)) = find(key, sources, &file) else { continue };
            if let Err(wrong) = (key.set)(&mut config, text.trim()) {
                let subject = if key.is_secret { "the value".to_owned() } else { repeated(&text) };
                let what = format!("{subject} {wrong}; right is {}", key.expected);
                problems.push(Problem { key: key.variable(), origin, what });
            }
        }
        config.complete(sources.needs, &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Every field is written by a key of the table that has a default, or may be absent.
    fn blank() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            database_url: SecretUrl::blank(),
            amqp_url: None,
            amqp_declare: true,
            http_addr: nowhere,
            admin_addr: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            secret_key: None,
            secret_keys_old: Vec::new(),
            send_concurrency: 1,
            prefetch: 1,
            max_due: 1,
            smtp_allow: Vec::new(),
            retention: LONGEST_RETENTION,
            log: String::new(),
            otlp_endpoint: None,
        }
    }

    /// What depends on more than one key.
    fn complete(&mut self, needs: Needs, problems: &mut Vec<Problem>) {
        let is_told = |problems: &[Problem], name: &str| {
            problems.iter().any(|problem| problem.key == format!("{PREFIX}{name}"))
        };
        let missing = |name: &str, what: &str| Problem {
            key: format!("{PREFIX}{name}"),
            origin: "not given".to_owned(),
            what: what.to_owned(),
        };
        let http_is_known = !is_told(problems, "HTTP_ADDR");
        if self.public_url.is_none() && http_is_known && !is_told(problems, "PUBLIC_URL") {
            self.public_url = PublicUrl::of_loopback(self.http_addr);
            if self.public_url.is_none() && needs.public_url {
                let what = "is required, because SIGNALPOST_HTTP_ADDR is not loopback: \
                            the https:// URL under which people reach the hosted pages";
                problems.push(missing("PUBLIC_URL", what));
            }
        }
        if needs.secret_key && self.secret_key.is_none() && !is_told(problems, "SECRET_KEY") {
            let what = "is required; `openssl rand -base64 32` makes one, which every process must share";
            problems.push(missing("SECRET_KEY", what));
        }
        if http_is_known && self.admin_addr == Some(self.http_addr) && self.http_addr.port() != 0 {
            let what = "is the same as SIGNALPOST_HTTP_ADDR; right is another address or port";
            problems.push(Problem { origin: "compared".to_owned(), ..missing("ADMIN_ADDR", what) });
        }
    }

    /// The keys that tokens and sealed secrets are made with, if there is one.
    pub fn keyring(&self) -> Option<Keyring> {
        self.secret_key.as_ref().map(|key| Keyring::new(key, &self.secret_keys_old))
    }
}

/// The environment of this process, read once.
pub fn environment() -> BTreeMap<String, String> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// The file of `--config`, else the default one if it is there.
pub fn read_named(named: Option<&Path>) -> Result<Option<(String, String)>, Problem> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let origin = if named.is_some() { "flag --config" } else { "default" }.to_owned();
            let what = format!("cannot be read ({error}); right is the name of a TOML file");
            Err(Problem { key: path.display().to_string(), origin, what })
        }
    }
}

/// The text of a key and where it came from. An empty text counts as none: compose files write
/// `SIGNALPOST_AMQP_URL=${AMQP_URL:-}`. Other variables of our prefix are left alone: Kubernetes makes
/// `SIGNALPOST_PORT` of a service that is called signalpost.
fn find(key: &Key, sources: &Sources, file: &BTreeMap<String, String>) -> Option<(String, String)> {
    let full = |text: Option<&String>| text.filter(|text| !text.trim().is_empty()).cloned();
    if let Some(text) = full(sources.flags.get(key.flag)) {
        return Some((text, format!("flag --{}", key.flag)));
    }
    if let Some(text) = full(sources.environment.get(&key.variable())) {
        return Some((text, "environment".to_owned()));
    }
    if let Some(text) = full(file.get(&key.in_file())) {
        let name = sources.file.as_ref().map_or(DEFAULT_FILE, |(name, _)| name);
        return Some((text, format!("`{}` in {name}", key.in_file())));
    }
    key.default.map(|text| (text.to_owned(), "default".to_owned()))
}

/// The file's values as text. What it has that is no key, or no value, is a problem.
fn read_file(sources: &Sources, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let Some((name, text)) = &sources.file else { return values };
    let table: toml::Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            // Its `Display` shows the line, which may hold a secret.
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            let what = format!("is not TOML: {}", error.message().replace('\n', " "));
            problems.push(Problem { key: name.clone(), origin: format!("line {line}"), what });
            return values;
        }
    };
    for (field, value) in table {
        let problem = |what: String| Problem { key: format!("`{field}`"), origin: name.clone(), what };
        match KEYS.iter().find(|key| key.in_file() == field) {
            None => problems.push(problem(unknown(&field))),
            Some(key) => match value_text(&value) {
                Some(text) => {
                    values.insert(field, text);
                }
                None => {
                    problems.push(problem(format!("is a {}; right is {}", value.type_str(), key.expected)));
                }
            },
        }
    }
    values
}

fn unknown(field: &str) -> String {
    let folded = field.to_ascii_lowercase().replace('-', "_");
    let folded = folded.strip_prefix("signalpost_").unwrap_or(&folded);
    if KEYS.iter().any(|key| key.in_file() == folded) {
        return format!("is no key; right is `{folded}`");
    }
    let all: Vec<_> = KEYS.iter().map(Key::in_file).collect();
    format!("is no key; the keys are {}", all.join(", "))
}

fn value_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Array(entries) => {
            let texts: Option<Vec<_>> =
                entries.iter().map(|entry| entry.as_str().map(str::to_owned)).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

/// A wrong value, cut short and on one line.
fn repeated(text: &str) -> String {
    let short: String = text.chars().take(LONGEST_REPEATED).flat_map(char::escape_debug).collect();
    let more = if text.chars().count() > LONGEST_REPEATED { "…" } else { "" };
    format!("`{short}{more}`")
}

#[cfg(test)]
mod tests;
