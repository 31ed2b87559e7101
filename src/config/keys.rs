//! The table of configuration keys: the one place where a key, its default, its help and its parser stand.
//! Flags, file, help and reference come from it. Must not know where a text came from.

use std::time::Duration;

use super::values::{PublicUrl, SecretUrl};
use super::{Config, LONGEST_RETENTION, SHORTEST_RETENTION};
use crate::domain::duration;
use crate::domain::keys::SecretKey;
use crate::mail::network::{BadCidr, Cidr};

/// What every environment variable starts with.
pub const PREFIX: &str = "SIGNALPOST_";

/// One key.
pub struct Key {
    /// As in the environment, without the prefix.
    pub name: &'static str,
    /// As on the command line, without `--`; there it must be a constant text.
    pub flag: &'static str,
    pub default: Option<&'static str>,
    pub help: &'static str,
    /// What a right value is.
    pub expected: &'static str,
    /// A wrong value is not repeated.
    pub is_secret: bool,
    /// Reads a value into the configuration, or says what is wrong with it: "is no number".
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Key {
    /// `SIGNALPOST_DATABASE_URL`
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// `database_url`
    pub fn in_file(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

const EXPECTED_ADDRESS: &str = "an IP address and a port, such as `127.0.0.1:8025`";
const EXPECTED_NETWORKS: &str = "networks with commas between them, such as `10.0.0.0/8, fd00::/8`";
const EXPECTED_KEY: &str = "base64 of 32 bytes, as `openssl rand -base64 32` makes it";

/// Every key there is.
pub const KEYS: [Key; 16] = [
    Key {
        name: "DATABASE_URL",
        flag: "database-url",
        default: Some("sqlite://.signalpost/signalpost.db"),
        help: "The database",
        expected: "`postgres://USER:PASSWORD@HOST/DATABASE` or `sqlite://FILE`",
        is_secret: true,
        set: |config, text| SecretUrl::database(text).map(|url| config.database_url = url),
    },
    Key {
        name: "AMQP_URL",
        flag: "amqp-url",
        default: None,
        help: "The message broker; without it events arrive by HTTP only",
        expected: "`amqp://USER:PASSWORD@HOST/VHOST` or `amqps://…`",
        is_secret: true,
        set: |config, text| SecretUrl::read(text, &["amqp", "amqps"]).map(|url| config.amqp_url = Some(url)),
    },
    Key {
        name: "AMQP_DECLARE",
        flag: "amqp-declare",
        default: Some("true"),
        help: "Whether the worker declares what is missing of its exchanges and queues",
        expected: "`true` or `false`",
        is_secret: false,
        set: |config, text| boolean(text).map(|yes| config.amqp_declare = yes),
    },
    Key {
        name: "HTTP_ADDR",
        flag: "http-addr",
        default: Some("127.0.0.1:8025"),
        help: "Where API, hosted pages and console listen",
        expected: EXPECTED_ADDRESS,
        is_secret: false,
        set: |config, text| address(text).map(|addr| config.http_addr = addr),
    },
    Key {
        name: "ADMIN_ADDR",
        flag: "admin-addr",
        default: None,
        help: "/console, /metrics and /readyz move there and leave the public address",
        expected: EXPECTED_ADDRESS,
        is_secret: false,
        set: |config, text| address(text).map(|addr| config.admin_addr = Some(addr)),
    },
    Key {
        name: "PUBLIC_URL",
        flag: "public-url",
        default: None,
        help: "Base of every link to a hosted page [default: the HTTP address if it is loopback, else required]",
        expected: "`https://HOST`, with a port and a path if wanted (`http://` for loopback only)",
        is_secret: true,
        set: |config, text| PublicUrl::parse(text).map(|url| config.public_url = Some(url)),
    },
    Key {
        name: "TRUSTED_PROXIES",
        flag: "trusted-proxies",
        default: None,
        help: "Networks whose X-Forwarded-For tells the client's address, for throttles",
        expected: EXPECTED_NETWORKS,
        is_secret: false,
        set: |config, text| networks(text).map(|all| config.trusted_proxies = all),
    },
    Key {
        name: "SECRET_KEY",
        flag: "secret-key",
        default: None,
        help: "The key that tokens and stored secrets are made with; better given by environment or file",
        expected: EXPECTED_KEY,
        is_secret: true,
        set: |config, text| secret_key(text).map(|key| config.secret_key = Some(key)),
    },
    Key {
        name: "SECRET_KEYS_OLD",
        flag: "secret-keys-old",
        default: None,
        help: "Older keys that stay valid, with commas between them",
        expected: EXPECTED_KEY,
        is_secret: true,
        set: |config, text| {
            let keys: Result<Vec<_>, _> = list(text).map(secret_key).collect();
            keys.map(|keys| config.secret_keys_old = keys)
        },
    },
    Key {
        name: "SEND_CONCURRENCY",
        flag: "send-concurrency",
        default: Some("64"),
        help: "E-mails in flight in one worker, over all integrations",
        expected: "a whole number from 1 to 10000",
        is_secret: false,
        set: |config, text| whole(text, 1, 10_000).map(|n| config.send_concurrency = n),
    },
    Key {
        name: "PREFETCH",
        flag: "prefetch",
        default: Some("2048"),
        help: "Event messages that a worker may hold",
        expected: "a whole number from 1 to 65535",
        is_secret: false,
        set: |config, text| whole(text, 1, u64::from(u16::MAX)).map(|n| config.prefetch = n),
    },
    Key {
        name: "MAX_DUE",
        flag: "max-due",
        default: Some("200000"),
        help: "Due dispatches in the database above which workers take no more messages",
        expected: "a whole number from 1 to 1000000000",
        is_secret: false,
        set: |config, text| whole(text, 1, 1_000_000_000).map(|n| config.max_due = n),
    },
    Key {
        name: "SMTP_ALLOW",
        flag: "smtp-allow",
        default: None,
        help: "Networks beyond the public ones that integrations made over the API or the console may reach",
        expected: EXPECTED_NETWORKS,
        is_secret: false,
        set: |config, text| networks(text).map(|all| config.smtp_allow = all),
    },
    Key {
        name: "RETENTION",
        flag: "retention",
        default: Some("30d"),
        help: "How long events, dispatches and their identities are kept",
        expected: "a duration from `1h` to `3650d`, such as `30d` or `12h`",
        is_secret: false,
        set: |config, text| retention(text).map(|kept| config.retention = kept),
    },
    Key {
        name: "LOG",
        flag: "log",
        default: Some("info"),
        help: "What is logged; JSON lines when standard output is no terminal",
        expected: "a tracing filter, such as `info` or `warn,signalpost=debug`",
        is_secret: false,
        set: |config, text| log_filter(text).map(|filter| config.log = filter),
    },
    Key {
        name: "OTLP_ENDPOINT",
        flag: "otlp-endpoint",
        default: None,
        help: "Where traces go, by OTLP",
        expected: "`http://HOST:PORT` or `https://…`",
        is_secret: true,
        set: |config, text| {
            SecretUrl::read(text, &["http", "https"]).map(|url| config.otlp_endpoint = Some(url))
        },
    },
];

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "is neither true nor false".to_owned())
}

fn address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.parse().map_err(|_| "is no address with a port".to_owned())
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn networks(text: &str) -> Result<Vec<Cidr>, String> {
    let networks = list(text)
        .map(|entry| entry.parse().map_err(|wrong: BadCidr| format!("has an entry that is {wrong}")));
    networks.collect()
}

fn secret_key(text: &str) -> Result<SecretKey, String> {
    SecretKey::from_base64(text).ok_or_else(|| "is not the base64 of 32 bytes".to_owned())
}

fn whole<N: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<N, String> {
    let number: u64 = text.parse().map_err(|_| "is no whole number")?;
    if !(least..=most).contains(&number) {
        return Err("is out of range".to_owned());
    }
    N::try_from(number).map_err(|_| "is out of range".to_owned())
}

fn retention(text: &str) -> Result<Duration, String> {
    let kept = duration::parse(text).ok_or("is no duration")?;
    let fits = (SHORTEST_RETENTION..=LONGEST_RETENTION).contains(&kept);
    if fits { Ok(kept) } else { Err("is out of range".to_owned()) }
}

fn log_filter(text: &str) -> Result<String, String> {
    let parsed = tracing_subscriber::EnvFilter::try_new(text);
    parsed.map(|_| text.to_owned()).map_err(|error| format!("is no filter ({error})"))
}
