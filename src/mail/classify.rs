//! Transient, permanent, or not this mail's fault: how an exchange failed and the one function that says
//! what follows from it. It must not know sockets, schedules or stores.
//!
//! | Stage | 421 | other 4xx | 5xx | time-out, loss, nonsense |
//! |---|---|---|---|---|
//! | connect to AUTH | integration | integration | integration | integration |
//! | MAIL | suspect | retry | suspect; 552, 553, 555, 5.3.4, 5.6.7 dead | suspect |
//! | RCPT and later | suspect | retry | dead | retry |
//!
//! On a connection that was used before, 421, a loss or nonsense at MAIL and 421 or a loss at RCPT say only
//! that the server was done with the connection: the dispatch is tried again at once on a new one.
//! 421 is a server closing down, at any stage, so it is never the recipient's fault: one dispatch alone is
//! retried, and as soon as another gets it too the circuit opens. The basic code's first digit decides and
//! the enhanced code refines MAIL only; what is not known is transient.

use std::fmt;
use std::io;

use super::reply::{Malformed, Reply};
use super::wire::Unsendable;

/// How far an exchange had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Connect,
    Tls,
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The message is on its way; its final dot was not sent.
    Body,
    /// The final dot was sent: without an answer nobody knows whether the server has the message.
    Dot,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("{0}")]
    Reply(Reply),
    #[error("time ran out")]
    TimedOut,
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[source] io::Error),
    #[error("no TLS with the server: {0}")]
    Tls(#[source] io::Error),
    #[error("the server is out of step: {0}")]
    OutOfStep(OutOfStep),
    /// Something the integration demands: STARTTLS, a known way of AUTH.
    #[error("the server does not offer {0}")]
    NotOffered(&'static str),
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    #[error("the network policy permits none of the server's addresses")]
    NetworkRefused,
}

/// How a server can be out of step. After any of these no reply can be matched with its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfStep {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("unexpected code {0}")]
    Unexpected(u16),
    #[error("more was said than asked for")]
    Surplus,
    /// An earlier exchange on this connection was not finished.
    #[error("the connection is not ready")]
    Unfinished,
}

/// An exchange that did not end with an accepted mail.
#[derive(Debug, thiserror::Error)]
#[error("{stage}: {cause}")]
pub struct Failure {
    pub stage: Stage,
    #[source]
    pub cause: Cause,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Transient: the attempt is charged to the dispatch, which waits for the next one.
    Retry,
    /// Permanent: the dispatch is dead, rejected.
    Dead,
    /// Not this mail's fault: no attempt is charged and the circuit opens.
    Integration,
    /// Perhaps not this mail's fault: [`Verdict::Integration`] if a different dispatch got it too, else
    /// [`Verdict::Retry`].
    Suspect,
    /// Try at once on a new connection; nothing is charged. Never said of a new connection.
    Reconnect,
}

impl Failure {
    #[must_use]
    pub fn new(stage: Stage, cause: impl Into<Cause>) -> Self {
        Self { stage, cause: cause.into() }
    }

    /// What the server answered, if an answer is the cause.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match &self.cause {
            Cause::Reply(reply) => Some(reply),
            _ => None,
        }
    }
}

/// What follows from `failure`; `is_fresh` is whether this was the first exchange on its connection.
#[must_use]
pub fn classify(failure: &Failure, is_fresh: bool) -> Verdict {
    if let Cause::Unsendable(_) = failure.cause {
        return Verdict::Dead;
    }
    if !is_fresh && is_end_of_connection(failure) {
        return Verdict::Reconnect;
    }
    match failure.stage {
        Stage::Connect | Stage::Tls | Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth => {
            Verdict::Integration
        }
        Stage::Mail => at_mail(&failure.cause),
        Stage::Rcpt | Stage::Data | Stage::Body | Stage::Dot => after_mail(&failure.cause),
    }
}

/// Whether the server may have taken the mail although it did not say so. A retry with the same Message-ID
/// can then be a second copy.
#[must_use]
pub fn uncertain(failure: &Failure) -> bool {
    failure.stage == Stage::Dot && failure.reply().is_none()
}

/// Whether the server was done with a connection before it had accepted anything of this mail. At MAIL a
/// time-out counts too: the network forgets idle connections without a word.
fn is_end_of_connection(failure: &Failure) -> bool {
    match (failure.stage, &failure.cause) {
        (Stage::Mail | Stage::Rcpt, Cause::Reply(reply)) => reply.is_closing(),
        (Stage::Mail | Stage::Rcpt, Cause::Closed | Cause::Io(_))
        | (Stage::Mail, Cause::TimedOut | Cause::OutOfStep(_)) => true,
        _ => false,
    }
}

fn at_mail(cause: &Cause) -> Verdict {
    match cause {
        Cause::Reply(reply) if reply.is_closing() => Verdict::Suspect,
        Cause::Reply(reply) if reply.code < 500 => Verdict::Retry,
        Cause::Reply(reply) if is_about_this_mail(reply) => Verdict::Dead,
        _ => Verdict::Suspect,
    }
}

fn after_mail(cause: &Cause) -> Verdict {
    match cause {
        Cause::Reply(reply) if reply.is_closing() => Verdict::Suspect,
        Cause::Reply(reply) if reply.code >= 500 => Verdict::Dead,
        _ => Verdict::Retry,
    }
}

/// Refusals at MAIL that speak of size, sender address or parameters of this mail. Others, such as 530
/// or 550 for a blocked client, speak of who is sending.
fn is_about_this_mail(reply: &Reply) -> bool {
    matches!(reply.code, 552 | 553 | 555) || reply.is_enhanced(5, 3, 4) || reply.is_enhanced(5, 6, 7)
}

impl From<OutOfStep> for Cause {
    fn from(how: OutOfStep) -> Self {
        Self::OutOfStep(how)
    }
}

impl From<Malformed> for Cause {
    fn from(how: Malformed) -> Self {
        Self::OutOfStep(how.into())
    }
}

impl From<Reply> for Cause {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Body => "message",
            Self::Dot => "end of message",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Stage::*;
    use super::Verdict::*;
    use super::*;

    /// Stage, code, text, verdict on a new connection, verdict on one used before.
    const REPLIES: &[(Stage, u16, &str, Verdict, Verdict)] = &[
        (Greeting, 421, "4.3.2 closing", Integration, Integration),
        (Greeting, 450, "", Integration, Integration),
        (Greeting, 520, "", Integration, Integration),
        (Greeting, 550, "5.7.1 blocked", Integration, Integration),
        (Greeting, 554, "5.7.1 no service", Integration, Integration),
        (Ehlo, 421, "", Integration, Integration),
        (Ehlo, 451, "", Integration, Integration),
        (Ehlo, 500, "", Integration, Integration),
        (Ehlo, 502, "", Integration, Integration),
        (Ehlo, 550, "5.7.1 bad name", Integration, Integration),
        (StartTls, 421, "", Integration, Integration),
        (StartTls, 454, "4.7.0 TLS not available", Integration, Integration),
        (StartTls, 501, "", Integration, Integration),
        (StartTls, 502, "", Integration, Integration),
        (Auth, 421, "", Integration, Integration),
        (Auth, 432, "4.7.12 password transition", Integration, Integration),
        (Auth, 454, "4.7.0 temporary", Integration, Integration),
        (Auth, 500, "5.5.6 too long", Integration, Integration),
        (Auth, 504, "5.5.4", Integration, Integration),
        (Auth, 530, "5.7.0", Integration, Integration),
        (Auth, 534, "5.7.9 too weak", Integration, Integration),
        (Auth, 535, "5.7.8 bad credentials", Integration, Integration),
        (Auth, 538, "5.7.11", Integration, Integration),
        (Mail, 421, "4.7.0 too many", Suspect, Reconnect),
        (Mail, 421, "5.7.0 odd", Suspect, Reconnect),
        (Mail, 450, "4.7.1 greylisted", Retry, Retry),
        (Mail, 451, "4.3.0", Retry, Retry),
        (Mail, 452, "4.3.1 full", Retry, Retry),
        (Mail, 452, "4.5.3", Retry, Retry),
        (Mail, 454, "4.7.0", Retry, Retry),
        (Mail, 499, "", Retry, Retry),
        (Mail, 501, "5.1.7 bad sender syntax", Suspect, Suspect),
        (Mail, 503, "5.5.1", Suspect, Suspect),
        (Mail, 530, "5.7.0 authenticate", Suspect, Suspect),
        (Mail, 535, "5.7.8", Suspect, Suspect),
        (Mail, 550, "5.7.1 blocked", Suspect, Suspect),
        (Mail, 550, "5.6.7 non-ASCII", Dead, Dead),
        (Mail, 550, "", Suspect, Suspect),
        (Mail, 552, "5.3.4 too big", Dead, Dead),
        (Mail, 552, "", Dead, Dead),
        (Mail, 553, "5.1.8 not your address", Dead, Dead),
        (Mail, 553, "5.6.7", Dead, Dead),
        (Mail, 554, "5.3.4", Dead, Dead),
        (Mail, 554, "5.7.1", Suspect, Suspect),
        (Mail, 555, "5.5.4 parameters", Dead, Dead),
        (Mail, 599, "", Suspect, Suspect),
        (Rcpt, 421, "4.7.0", Suspect, Reconnect),
        (Rcpt, 450, "4.2.0 greylisted", Retry, Retry),
        (Rcpt, 450, "4.2.1 mailbox busy", Retry, Retry),
        (Rcpt, 451, "4.7.1", Retry, Retry),
        (Rcpt, 451, "5.7.1 contradiction", Retry, Retry),
        (Rcpt, 452, "4.2.2 mailbox full", Retry, Retry),
        (Rcpt, 452, "4.5.3 too many recipients", Retry, Retry),
        (Rcpt, 499, "", Retry, Retry),
        (Rcpt, 501, "5.1.3 syntax", Dead, Dead),
        (Rcpt, 503, "5.5.1", Dead, Dead),
        (Rcpt, 530, "5.7.0", Dead, Dead),
        (Rcpt, 550, "5.1.1 no such user", Dead, Dead),
        (Rcpt, 550, "4.2.1 contradiction", Dead, Dead),
        (Rcpt, 551, "5.1.6 moved", Dead, Dead),
        (Rcpt, 552, "5.2.2 mailbox full", Dead, Dead),
        (Rcpt, 552, "4.2.2 mailbox full", Dead, Dead),
        (Rcpt, 553, "5.1.3", Dead, Dead),
        (Rcpt, 554, "5.7.1 relay denied", Dead, Dead),
        (Rcpt, 556, "5.1.10 null MX", Dead, Dead),
        (Rcpt, 571, "", Dead, Dead),
        (Data, 421, "", Suspect, Suspect),
        (Data, 450, "", Retry, Retry),
        (Data, 451, "4.3.0", Retry, Retry),
        (Data, 503, "5.5.1", Dead, Dead),
        (Data, 550, "5.7.1", Dead, Dead),
        (Data, 554, "5.5.1 no valid recipients", Dead, Dead),
        (Body, 421, "4.4.2 time-out", Suspect, Suspect),
        (Body, 452, "4.3.1", Retry, Retry),
        (Body, 552, "5.3.4", Dead, Dead),
        (Dot, 421, "4.7.0 try later", Suspect, Suspect),
        (Dot, 450, "4.7.1 greylisted", Retry, Retry),
        (Dot, 451, "4.7.1", Retry, Retry),
        (Dot, 452, "4.3.1", Retry, Retry),
        (Dot, 550, "5.7.1 spam", Dead, Dead),
        (Dot, 552, "5.2.2 mailbox full", Dead, Dead),
        (Dot, 552, "4.3.1 contradiction", Dead, Dead),
        (Dot, 554, "5.6.0 content", Dead, Dead),
        (Dot, 554, "", Dead, Dead),
    ];

    #[test]
    fn every_reply_has_its_verdict() {
        for &(stage, code, text, fresh, used) in REPLIES {
            let failure = Failure::new(stage, Reply::new(code, text));
            assert_eq!(classify(&failure, true), fresh, "{failure} on a new connection");
            assert_eq!(classify(&failure, false), used, "{failure} on a used connection");
            assert!(!uncertain(&failure), "{failure}: a reply is an answer");
        }
    }

    fn losses() -> Vec<Cause> {
        vec![
            Cause::TimedOut,
            Cause::Closed,
            Cause::Io(io::ErrorKind::ConnectionReset.into()),
            OutOfStep::Unexpected(354).into(),
            Malformed::NoCode.into(),
        ]
    }

    #[test]
    fn before_mail_every_loss_is_the_integrations() {
        for stage in [Connect, Tls, Greeting, Ehlo, StartTls, Auth] {
            for cause in losses() {
                let failure = Failure::new(stage, cause);
                assert_eq!((classify(&failure, true), classify(&failure, false)), (Integration, Integration));
            }
        }
        let tls = Failure::new(Tls, Cause::Tls(io::ErrorKind::InvalidData.into()));
        let stripped = Failure::new(StartTls, Cause::NotOffered("STARTTLS"));
        let inner = Failure::new(Connect, Cause::NetworkRefused);
        assert!([tls, stripped, inner].iter().all(|failure| classify(failure, true) == Integration));
    }

    #[test]
    fn a_loss_at_mail_is_suspect_and_on_a_used_connection_means_a_new_one() {
        for cause in losses() {
            let failure = Failure::new(Mail, cause);
            assert_eq!(
                (classify(&failure, true), classify(&failure, false)),
                (Suspect, Reconnect),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_loss_at_rcpt_on_a_used_connection_means_a_new_one() {
        for cause in losses() {
            let is_lost = matches!(cause, Cause::Closed | Cause::Io(_));
            let failure = Failure::new(Rcpt, cause);
            assert_eq!(classify(&failure, true), Retry, "{failure}");
            assert_eq!(classify(&failure, false), if is_lost { Reconnect } else { Retry }, "{failure}");
        }
    }

    #[test]
    fn a_loss_once_the_recipient_was_accepted_is_retried() {
        for stage in [Data, Body, Dot] {
            for cause in losses() {
                let failure = Failure::new(stage, cause);
                assert_eq!(
                    (classify(&failure, true), classify(&failure, false)),
                    (Retry, Retry),
                    "{failure}"
                );
            }
        }
    }

    #[test]
    fn only_the_dot_without_an_answer_is_uncertain() {
        for stage in [Connect, Tls, Greeting, Ehlo, StartTls, Auth, Mail, Rcpt, Data, Body, Dot] {
            for cause in losses() {
                assert_eq!(uncertain(&Failure::new(stage, cause)), stage == Dot);
            }
        }
    }

    #[test]
    fn what_cannot_be_sent_is_dead_on_any_connection() {
        for why in [Unsendable::LongLine, Unsendable::Utf8Address, Unsendable::EightBit, Unsendable::TooLarge]
        {
            let failure = Failure::new(Mail, why);
            assert_eq!((classify(&failure, true), classify(&failure, false)), (Dead, Dead));
        }
    }
}
