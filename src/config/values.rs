//! What configuration values are made of, and how each is read out of text. Must not know where a text came
//! from. A problem never repeats the text: it may be a secret.

use std::fs::DirBuilder;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use url::Url;

use crate::domain::link::is_loopback;

/// A URL that may hold a password: no `Debug`, no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Nothing, until the table's default is read.
    pub(super) fn blank() -> Self {
        Self(String::new())
    }

    /// The database.
    pub fn database(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix("sqlite://") {
            if file.is_empty() || file.starts_with('?') || file.contains(":memory:") {
                return Err("names no file".to_owned());
            }
            return Ok(Self(text.to_owned()));
        }
        Self::read(text, &["postgres", "postgresql"])
    }

    /// A URL of one of these schemes, with a host.
    pub fn read(text: &str, schemes: &[&str]) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
        if !schemes.contains(&url.scheme()) {
            return Err("is a URL of another scheme".to_owned());
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("names no host".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// The whole, for the one place that connects.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The directory that the file of a SQLite database is in, made for its owner alone: tokens are in it.
    pub fn make_directory(&self) -> io::Result<()> {
        let Some(file) = self.0.strip_prefix("sqlite://") else { return Ok(()) };
        let file = file.split('?').next().unwrap_or(file);
        match Path::new(file).parent().filter(|directory| !directory.as_os_str().is_empty()) {
            Some(directory) => DirBuilder::new().recursive(true).mode(0o700).create(directory),
            None => Ok(()),
        }
    }

    /// Without what may be secret: scheme, host, port and path.
    pub fn shown(&self) -> String {
        match Url::parse(&self.0) {
            Ok(mut url) if url.has_host() => {
                // Both fail only for a URL that cannot have them, which then has none to hide.
                let _ = url.set_password(None);
                let _ = url.set_username("");
                url.set_query(None);
                url.set_fragment(None);
                url.to_string()
            }
            _ => self.0.split("://").next().unwrap_or_default().to_owned() + "://…",
        }
    }
}

/// Base of every link to a hosted page: scheme, host, port, and the path that a proxy takes away again; no slash at
/// the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicUrl {
    base: String,
    host: String,
}

impl PublicUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
        let host = url.host().ok_or("names no host")?;
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&host)) {
            return Err("is not https".to_owned());
        }
        let plain = url.query().is_none() && url.fragment().is_none();
        if !plain || !url.username().is_empty() || url.password().is_some() {
            return Err("has more than a scheme, a host, a port and a path".to_owned());
        }
        let path = url.path().trim_end_matches('/');
        Ok(Self { base: format!("{}{path}", url.origin().ascii_serialization()), host: host.to_string() })
    }

    /// The address that the server listens on, for a machine that only its own user reaches.
    pub fn of_loopback(addr: SocketAddr) -> Option<Self> {
        addr.ip().is_loopback().then(|| Self { base: format!("http://{addr}"), host: host_text(addr.ip()) })
    }

    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// As it stands in a link: an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
}

fn host_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_https_and_may_have_a_path() {
        let url = PublicUrl::parse("https://mail.acme.example/").unwrap();
        assert_eq!((url.as_str(), url.host()), ("https://mail.acme.example", "mail.acme.example"));
        assert_eq!(PublicUrl::parse("http://127.0.0.1:8025").unwrap().as_str(), "http://127.0.0.1:8025");
        assert_eq!(PublicUrl::parse("http://[::1]:8025").unwrap().host(), "[::1]");
        let url = PublicUrl::parse("https://acme.example:8443/mail/").unwrap();
        assert_eq!((url.as_str(), url.host()), ("https://acme.example:8443/mail", "acme.example"));
        for wrong in [
            "",
            "mail.acme.example",
            "http://mail.acme.example",
            "http://localhost.evil.example",
            "https://mail.acme.example/?a=b",
            "https://mail.acme.example/#a",
            "https://user:word@mail.acme.example",
            "ftp://localhost",
        ] {
            assert!(PublicUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_shown_url_has_no_password() {
        let url = SecretUrl::database("postgres://app:hunter2@db.example:5432/mail?sslpassword=x").unwrap();
        assert_eq!(url.shown(), "postgres://db.example:5432/mail");
        let file = SecretUrl::database("sqlite:///var/lib/signalpost.db").unwrap();
        assert!(!file.shown().is_empty());
    }

    #[test]
    fn a_database_in_memory_is_refused() {
        for wrong in
            ["sqlite://", "sqlite://:memory:", "sqlite::memory:", "mysql://h/d", "postgres:///d", "x"]
        {
            assert!(SecretUrl::database(wrong).is_err(), "{wrong}");
        }
    }
}
