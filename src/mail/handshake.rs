//! From nothing to a session: dial, greeting, EHLO, STARTTLS, AUTH. Every failure here is the integration's.
//! It must not know mails.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::Instant;

use super::classify::{Cause, Failure, OutOfStep, Stage};
use super::link::Link;
use super::network::{DialError, dial};
use super::reply::Reply;
use super::server::{Credentials, Limits, Server, Tls};
use super::wire::is_argument;

/// Octets of a command line, RFC 5321 section 4.5.3.1.4. A longer initial response is sent on its own.
const COMMAND_LIMIT: usize = 512;

/// What the server offers, as its last EHLO said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one keyword of the protocol, independent of the others"
)]
pub struct Offers {
    pub pipelining: bool,
    pub eight_bit: bool,
    pub utf8: bool,
    /// SIZE with the largest message, 0 where the server names none.
    pub size: Option<usize>,
    starttls: bool,
    auth_plain: bool,
    auth_login: bool,
}

/// Opens a session with `server`, ready for its first mail.
pub(super) async fn open(server: &Server) -> Result<(Link, Offers), Failure> {
    let clock = Clock { limits: server.limits, end: Instant::now() + server.limits.opening };
    let mut link = connect(server, &clock).await?;
    if server.tls == Tls::Implicit {
        link = into_tls(link, server, &clock).await?;
    }
    let greeting = link.reply(clock.greeting()).await.and_then(|reply| expect(220, reply));
    greeting.map_err(|cause| Failure::new(Stage::Greeting, cause))?;
    let mut offers = ehlo(&mut link, server, &clock).await?;
    if server.tls == Tls::Required {
        start_tls(&mut link, offers, &clock).await?;
        link = into_tls(link, server, &clock).await?;
        offers = ehlo(&mut link, server, &clock).await?;
    }
    if let Some(credentials) = &server.credentials {
        let outcome = authenticate(&mut link, offers, credentials, &clock).await;
        outcome.map_err(|cause| Failure::new(Stage::Auth, without_secret(cause, credentials)))?;
    }
    Ok((link, offers))
}

/// The deadlines of an opening: of each step, and none after the end of the whole.
struct Clock {
    limits: Limits,
    end: Instant,
}

impl Clock {
    fn greeting(&self) -> Instant {
        self.end.min(Instant::now() + self.limits.greeting)
    }

    fn command(&self) -> Instant {
        self.end.min(Instant::now() + self.limits.command)
    }
}

async fn connect(server: &Server, clock: &Clock) -> Result<Link, Failure> {
    let dialling = dial(&server.host, server.port, &server.network, server.limits.connect);
    let stream = match tokio::time::timeout_at(clock.end, dialling).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(DialError::Io(error))) => return Err(Failure::new(Stage::Connect, Cause::Io(error))),
        Ok(Err(DialError::Refused)) => return Err(Failure::new(Stage::Connect, Cause::NetworkRefused)),
        Ok(Err(DialError::TimedOut)) | Err(_) => return Err(Failure::new(Stage::Connect, Cause::TimedOut)),
    };
    // Small writes that wait for an answer: the delay of Nagle's algorithm costs 40 ms a mail.
    stream.set_nodelay(true).map_err(|error| Failure::new(Stage::Connect, error))?;
    Ok(Link::new(stream))
}

async fn into_tls(link: Link, server: &Server, clock: &Clock) -> Result<Link, Failure> {
    let session = link.into_tls(&server.tls_config, &server.host, clock.greeting()).await;
    session.map_err(|cause| Failure::new(Stage::Tls, cause))
}

async fn ehlo(link: &mut Link, server: &Server, clock: &Clock) -> Result<Offers, Failure> {
    // A name that could carry a second command is no name.
    let hello = if is_argument(&server.hello) { &server.hello } else { super::server::DEFAULT_HELLO };
    let answer = link.ask(&format!("EHLO {hello}\r\n"), clock.command()).await;
    let reply =
        answer.and_then(|reply| expect(250, reply)).map_err(|cause| Failure::new(Stage::Ehlo, cause))?;
    Ok(offers(&reply))
}

async fn start_tls(link: &mut Link, offers: Offers, clock: &Clock) -> Result<(), Failure> {
    let failure = |cause| Failure::new(Stage::StartTls, cause);
    if !offers.starttls {
        return Err(failure(Cause::NotOffered("STARTTLS")));
    }
    let answer = link.ask("STARTTLS\r\n", clock.command()).await;
    answer.and_then(|reply| expect(220, reply)).map_err(failure)?;
    // Replies slipped in before the encryption would be taken for those of the encrypted session.
    if link.has_surplus() { Err(failure(OutOfStep::Surplus.into())) } else { Ok(()) }
}

async fn authenticate(
    link: &mut Link,
    offers: Offers,
    credentials: &Credentials,
    clock: &Clock,
) -> Result<(), Cause> {
    let (user, password) = (credentials.user(), credentials.password());
    if offers.auth_plain {
        let response = BASE64.encode(format!("\0{user}\0{password}"));
        let command = format!("AUTH PLAIN {response}\r\n");
        if command.len() <= COMMAND_LIMIT {
            return link.ask(&command, clock.command()).await.and_then(|reply| expect(235, reply)).map(drop);
        }
        return dialogue(link, "AUTH PLAIN", &[response], clock).await;
    }
    if offers.auth_login {
        return dialogue(link, "AUTH LOGIN", &[BASE64.encode(user), BASE64.encode(password)], clock).await;
    }
    Err(Cause::NotOffered("AUTH PLAIN or LOGIN"))
}

/// AUTH step by step: each line is asked for with 334 and the last answered with 235.
async fn dialogue(link: &mut Link, command: &str, lines: &[String], clock: &Clock) -> Result<(), Cause> {
    let mut reply = link.ask(&format!("{command}\r\n"), clock.command()).await?;
    for line in lines {
        expect(334, reply)?;
        reply = link.ask(&format!("{line}\r\n"), clock.command()).await?;
    }
    expect(235, reply).map(drop)
}

/// The reply if it has the code wanted; a refusal is the cause of a failure, any other code is out of step.
fn expect(code: u16, reply: Reply) -> Result<Reply, Cause> {
    match reply.code {
        found if found == code => Ok(reply),
        400.. => Err(Cause::Reply(reply)),
        found => Err(OutOfStep::Unexpected(found).into()),
    }
}

/// Takes the text out of a refusal that repeats the password: replies are stored and shown.
fn without_secret(cause: Cause, credentials: &Credentials) -> Cause {
    let (user, password) = (credentials.user(), credentials.password());
    let secrets =
        [password.to_owned(), BASE64.encode(password), BASE64.encode(format!("\0{user}\0{password}"))];
    match cause {
        Cause::Reply(reply) if secrets.iter().any(|secret| reply.text.contains(secret)) => {
            Cause::Reply(reply.with_text("(text withheld)"))
        }
        other => other,
    }
}

fn offers(reply: &Reply) -> Offers {
    let mut offers = Offers::default();
    for line in reply.lines().skip(1) {
        let mut words = line.split([' ', '=']);
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "PIPELINING" => offers.pipelining = true,
            "8BITMIME" => offers.eight_bit = true,
            "SMTPUTF8" => offers.utf8 = true,
            "STARTTLS" => offers.starttls = true,
            "SIZE" => offers.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0)),
            "AUTH" => {
                let mechanisms: Vec<_> = words.map(str::to_ascii_uppercase).collect();
                offers.auth_plain |= mechanisms.iter().any(|name| name == "PLAIN");
                offers.auth_login |= mechanisms.iter().any(|name| name == "LOGIN");
            }
            _ => {}
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::reply::Reader;

    fn read(text: &[u8]) -> Offers {
        let mut reader = Reader::default();
        reader.space().extend_from_slice(text);
        offers(&reader.take_reply().unwrap().unwrap())
    }

    #[test]
    fn offers_are_read_line_by_line_in_any_case() {
        let offers =
            read(b"250-mx\r\n250-pipelining\r\n250-Size 1000\r\n250-AUTH LOGIN plain\r\n250 SMTPUTF8\r\n");
        let expected = Offers { pipelining: true, utf8: true, size: Some(1000), ..Offers::default() };
        assert_eq!(offers, Offers { auth_plain: true, auth_login: true, ..expected });
    }

    #[test]
    fn the_old_form_of_auth_and_a_size_without_limit_are_understood() {
        let offers = read(b"250-mx\r\n250-AUTH=LOGIN\r\n250 SIZE\r\n");
        assert!(offers.auth_login && !offers.auth_plain);
        assert_eq!(offers.size, Some(0));
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        assert_eq!(read(b"250-PIPELINING SIZE\r\n250 HELP\r\n"), Offers::default());
    }

    #[test]
    fn a_refusal_that_repeats_the_password_is_withheld() {
        let credentials = Credentials::new("user".into(), "secret".into()).unwrap();
        for text in ["5.7.8 secret is wrong", "5.7.8 AHVzZXIAc2VjcmV0 is wrong"] {
            let cause = without_secret(Reply::new(535, text).into(), &credentials);
            assert_eq!(cause.to_string(), "535 5.7.8 (text withheld)");
        }
        let cause = without_secret(Reply::new(535, "5.7.8 no").into(), &credentials);
        assert_eq!(cause.to_string(), "535 5.7.8 no");
    }
}
