//! One mail server as an integration names it: where it is, how TLS is demanded, the credentials, the time
//! limits, what may be dialled. It must not know how the protocol runs, nor read the environment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::network::Network;
use super::wire::is_argument;

/// Port of `smtp://`: submission, RFC 6409.
const SUBMISSION_PORT: u16 = 587;
/// Port of `smtps://`: submission with TLS from the start, RFC 8314.
const SUBMISSIONS_PORT: u16 = 465;
/// What EHLO says where no name is configured: the literal that RFC 5321 section 4.1.4 leaves to a client
/// without a name.
pub const DEFAULT_HELLO: &str = "[127.0.0.1]";

/// A mail server and how to speak to it.
#[derive(Clone)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub credentials: Option<Credentials>,
    /// The name given with EHLO.
    pub hello: String,
    pub limits: Limits,
    pub network: Network,
    /// Whom to trust: [`tls_config`], made once and shared.
    pub tls_config: Arc<ClientConfig>,
}

/// How TLS is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// STARTTLS is demanded; without it nothing is sent.
    Required,
    /// TLS from the first byte.
    Implicit,
    /// None, chosen in so many words: everything, AUTH too, goes in clear.
    None,
}

/// A user and a password.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

/// How long each step may take as a whole: a server that trickles bytes gains nothing. RFC 5321 section
/// 4.5.3.2 allows minutes for a relay on a slow link; a submission server that takes longer than this is
/// better tried again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The look-up, and each address dialled.
    pub connect: Duration,
    /// Greeting (RFC: 5 min), TLS handshake.
    pub greeting: Duration,
    /// EHLO, STARTTLS, each step of AUTH, MAIL, RCPT, RSET (RFC: 5 min).
    pub command: Duration,
    /// The 354 after DATA (RFC: 2 min).
    pub data: Duration,
    /// Writing the message, all of it (RFC: 3 min a block).
    pub message: Duration,
    /// The answer after the final dot. The RFC's full 10 min: giving up earlier makes duplicates.
    pub dot: Duration,
    /// All of opening a connection, from the look-up to the end of AUTH.
    pub opening: Duration,
    /// All answers to one group of MAIL, RCPT, DATA.
    pub envelope: Duration,
    /// The answer to QUIT, which is only a courtesy.
    pub quit: Duration,
}

/// Why a text is not the URL of a server. Never repeats the text, which holds a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("not a URL such as smtp://user:secret@mail.example.com:587?tls=required")]
    Syntax,
    #[error("the scheme must be smtp or smtps")]
    Scheme,
    #[error("the host is not a name or an address")]
    Host,
    #[error("user and password must both be given, percent-encoded, without control characters")]
    Credentials,
    #[error("tls must be required or none, and smtps has no option")]
    Tls,
    #[error("unknown option; the only one is tls")]
    Option,
}

/// The certificate authorities could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BadRoots {
    #[error("the extra certificate authorities are not PEM certificates")]
    Pem,
    #[error(transparent)]
    Tls(#[from] tokio_rustls::rustls::Error),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            greeting: Duration::from_secs(30),
            command: Duration::from_mins(1),
            data: Duration::from_mins(1),
            message: Duration::from_mins(3),
            dot: Duration::from_mins(10),
            opening: Duration::from_mins(2),
            envelope: Duration::from_mins(2),
            quit: Duration::from_secs(5),
        }
    }
}

impl Server {
    /// Reads `smtp://user:secret@host:587?tls=required` (`tls=none` to go without) or `smtps://…`. The
    /// network policy is the strictest; who trusts the URL widens it.
    pub fn from_url(url: &str, tls_config: Arc<ClientConfig>) -> Result<Self, BadUrl> {
        let url = Url::parse(url).map_err(|_| BadUrl::Syntax)?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(BadUrl::Syntax);
        }
        let (tls, default_port) = match (url.scheme(), tls_option(&url)?) {
            ("smtp", None) => (Tls::Required, SUBMISSION_PORT),
            ("smtp", Some(tls)) => (tls, SUBMISSION_PORT),
            ("smtps", None) => (Tls::Implicit, SUBMISSIONS_PORT),
            ("smtps", Some(_)) => return Err(BadUrl::Tls),
            _ => return Err(BadUrl::Scheme),
        };
        Ok(Self {
            host: host(&url)?,
            port: url.port().unwrap_or(default_port),
            tls,
            credentials: credentials(&url)?,
            hello: DEFAULT_HELLO.to_owned(),
            limits: Limits::default(),
            network: Network::Public { also: Vec::new() },
            tls_config,
        })
    }
}

impl Credentials {
    /// `None` if either is empty or holds a control character: NUL separates them in AUTH PLAIN.
    #[must_use]
    pub fn new(user: String, password: String) -> Option<Self> {
        let is_plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        (is_plain(&user) && is_plain(&password)).then_some(Self { user, password })
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }
}

/// Trust in the certificate authorities of this system and in those of `extra_pem`. A system without any is
/// no error: then no certificate is trusted and nothing is sent over TLS.
pub fn tls_config(extra_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, BadRoots> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in extra_pem.map(CertificateDer::pem_slice_iter).into_iter().flatten() {
        roots.add(certificate.map_err(|_| BadRoots::Pem)?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn tls_option(url: &Url) -> Result<Option<Tls>, BadUrl> {
    let mut tls = None;
    for (key, value) in url.query_pairs() {
        if key != "tls" {
            return Err(BadUrl::Option);
        }
        let value = match &*value {
            "required" => Tls::Required,
            "none" => Tls::None,
            _ => return Err(BadUrl::Tls),
        };
        if tls.replace(value).is_some() {
            return Err(BadUrl::Tls);
        }
    }
    Ok(tls)
}

fn host(url: &Url) -> Result<String, BadUrl> {
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_ascii_lowercase(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => return Err(BadUrl::Host),
    };
    let is_valid = is_argument(&host) && ServerName::try_from(host.as_str()).is_ok();
    if is_valid { Ok(host) } else { Err(BadUrl::Host) }
}

fn credentials(url: &Url) -> Result<Option<Credentials>, BadUrl> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let user = percent_decode(url.username());
    let password = url.password().and_then(percent_decode);
    user.zip(password)
        .and_then(|(user, password)| Credentials::new(user, password))
        .map(Some)
        .ok_or(BadUrl::Credentials)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Without the credentials.
impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Server, BadUrl> {
        Server::from_url(url, tls_config(None).unwrap())
    }

    #[test]
    fn a_full_url_is_read() {
        let server = read("smtp://user%40x:s%3Acret%25@Mail.example.com:2525?tls=none").unwrap();
        assert_eq!((server.host.as_str(), server.port, server.tls), ("mail.example.com", 2525, Tls::None));
        let credentials = server.credentials.unwrap();
        assert_eq!((credentials.user(), credentials.password()), ("user@x", "s:cret%"));
    }

    #[test]
    fn tls_is_demanded_unless_declined_in_so_many_words() {
        for (url, port, tls) in [
            ("smtp://mx.example", 587, Tls::Required),
            ("smtp://mx.example/?tls=required", 587, Tls::Required),
            ("smtps://mx.example", 465, Tls::Implicit),
            ("smtp://mx.example?tls=none", 587, Tls::None),
        ] {
            let server = read(url).unwrap();
            assert_eq!((server.port, server.tls), (port, tls), "{url}");
        }
    }

    #[test]
    fn addresses_are_hosts_too() {
        assert_eq!(read("smtp://192.0.2.1").unwrap().host, "192.0.2.1");
        assert_eq!(read("smtp://[2001:db8::1]:25").unwrap().host, "2001:db8::1");
    }

    #[test]
    fn a_new_server_reaches_public_addresses_only() {
        assert_eq!(read("smtp://mx.example").unwrap().network, Network::Public { also: Vec::new() });
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (url, error) in [
            ("mx.example", BadUrl::Syntax),
            ("smtp://mx.example/path", BadUrl::Syntax),
            ("smtp://mx.example#a", BadUrl::Syntax),
            ("http://mx.example", BadUrl::Scheme),
            ("smtp:///", BadUrl::Host),
            ("smtp://a%20b", BadUrl::Host),
            ("smtp://a%0d%0ab", BadUrl::Host),
            ("smtp://user@mx.example", BadUrl::Credentials),
            ("smtp://:secret@mx.example", BadUrl::Credentials),
            ("smtp://user:a%00b@mx.example", BadUrl::Credentials),
            ("smtp://user:a%zz@mx.example", BadUrl::Credentials),
            ("smtp://mx.example?tls=maybe", BadUrl::Tls),
            ("smtp://mx.example?tls=none&tls=required", BadUrl::Tls),
            ("smtps://mx.example?tls=none", BadUrl::Tls),
            ("smtp://mx.example?TLS=none", BadUrl::Option),
        ] {
            assert_eq!(read(url).unwrap_err(), error, "{url}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let shown = format!("{:?}", read("smtp://user:secret@mx.example").unwrap());
        assert!(!shown.contains("secret") && !shown.contains("user"));
    }

    #[test]
    fn roots_that_are_not_certificates_are_refused() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(tls_config(Some(pem)).is_err());
    }
}
