//! One session with a mail server, mail by mail: the envelope as one group of commands, then the message.
//! A connection is ready again only after an exchange that ended in step; one dropped in the middle, by
//! failure or by cancelling, says so for ever. It must not know pools, circuits or dispatches.

use std::fmt;
use std::mem;

use tokio::time::{Instant, timeout};

use super::classify::{Cause, Failure, OutOfStep, Stage};
use super::handshake::{self, Offers};
use super::link::Link;
use super::reply::Reply;
use super::server::{Limits, Server};
use super::wire::{Envelope, Unsendable, Wire};

/// An open session.
pub struct Connection {
    link: Link,
    offers: Offers,
    limits: Limits,
    state: State,
    /// The last envelope was refused, so that the server may hold half of it: RSET goes before the next.
    needs_reset: bool,
    exchanges: u32,
}

/// Where the conversation is. It is `Broken` while an exchange runs, so a future that is dropped leaves
/// the connection broken without any code having to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next is an envelope.
    Ready,
    /// 354 was said; the next is the message.
    Open,
    Broken,
}

/// The commands of one envelope.
struct Commands {
    mail: String,
    rcpt: String,
}

/// The replies to one envelope, as far as they have come.
#[derive(Default)]
struct Answers {
    /// The first failing command decides.
    refusal: Option<Failure>,
    is_recipient_accepted: bool,
    is_data_open: bool,
}

impl Connection {
    /// Dials, greets, encrypts and authenticates as `server` says.
    pub async fn open(server: &Server) -> Result<Self, Failure> {
        let (link, offers) = handshake::open(server).await?;
        Ok(Self {
            link,
            offers,
            limits: server.limits,
            state: State::Ready,
            needs_reset: false,
            exchanges: 0,
        })
    }

    /// Offers a mail up to the 354 after DATA, in one write if the server takes pipelined commands. After
    /// `Ok` the message must follow with [`Connection::body`].
    pub async fn envelope(&mut self, envelope: &Envelope, wire: &Wire) -> Result<(), Failure> {
        if self.state != State::Ready {
            return Err(Failure::new(Stage::Mail, OutOfStep::Unfinished));
        }
        self.exchanges += 1;
        self.check(envelope, wire).map_err(|why| Failure::new(Stage::Mail, why))?;
        self.state = State::Broken;
        let commands = Commands::new(envelope, wire, self.offers);
        let end = Instant::now() + self.limits.envelope;
        let answers = if self.offers.pipelining {
            self.as_one_group(&commands, end).await?
        } else {
            self.one_by_one(&commands, end).await?
        };
        self.conclude(answers, end).await
    }

    /// Sends the message and reads the verdict. Only an `Ok` means that the server took the mail; see
    /// [`super::classify::uncertain`] for what else may have been delivered.
    pub async fn body(&mut self, wire: &Wire) -> Result<Reply, Failure> {
        if mem::replace(&mut self.state, State::Broken) != State::Open {
            return Err(Failure::new(Stage::Body, OutOfStep::Unfinished));
        }
        // A reply that is already here would be taken for the verdict on a message not yet sent.
        if !self.link.is_quiet() {
            let cause = self.link.unasked().await;
            return Err(Failure::new(Stage::Body, cause));
        }
        if let Err(unwritten) = self.link.send(wire.bytes(), Instant::now() + self.limits.message).await {
            let stage = if unwritten.is_complete { Stage::Dot } else { Stage::Body };
            return Err(Failure::new(stage, unwritten.cause));
        }
        let answer = self.link.reply(Instant::now() + self.limits.dot).await;
        let reply = answer.map_err(|cause| Failure::new(Stage::Dot, cause))?;
        if reply.code / 100 == 3 {
            return Err(Failure::new(Stage::Dot, OutOfStep::Unexpected(reply.code)));
        }
        self.needs_reset = false;
        self.ready_after(Some(&reply));
        if reply.is_positive() { Ok(reply) } else { Err(Failure::new(Stage::Dot, reply)) }
    }

    /// Whether the next mail may be offered here. Sees without waiting if an idle connection was closed or
    /// the server announced it: then a new one is opened and nothing is charged.
    pub fn is_reusable(&mut self) -> bool {
        self.state == State::Ready && self.link.is_quiet()
    }

    /// Whether no mail was offered here before the current or last one.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.exchanges <= 1
    }

    /// Mails offered on this connection, for those who renew it after some.
    #[must_use]
    pub fn exchanges(&self) -> u32 {
        self.exchanges
    }

    /// What the server offers.
    #[must_use]
    pub fn offers(&self) -> Offers {
        self.offers
    }

    /// Says goodbye if the conversation is in step, and closes.
    pub async fn quit(mut self) {
        if self.state != State::Ready {
            return;
        }
        let deadline = Instant::now() + self.limits.quit;
        // Nothing depends on the answer, nor on the closing message.
        let _ = self.link.ask("QUIT\r\n", deadline).await;
        let _ = timeout(self.limits.quit, self.link.shutdown()).await;
    }

    fn check(&self, envelope: &Envelope, wire: &Wire) -> Result<(), Unsendable> {
        if envelope.needs_utf8() && !self.offers.utf8 {
            return Err(Unsendable::Utf8Address);
        }
        if wire.is_eight_bit() && !self.offers.eight_bit {
            return Err(Unsendable::EightBit);
        }
        match self.offers.size {
            Some(limit) if limit > 0 && wire.size() > limit => Err(Unsendable::TooLarge),
            _ => Ok(()),
        }
    }

    /// All commands in one write, then all their replies, so that the connection stays in step whatever
    /// the first reply says.
    async fn as_one_group(&mut self, commands: &Commands, end: Instant) -> Result<Answers, Failure> {
        let failure = |cause| Failure::new(Stage::Mail, cause);
        if self.link.has_surplus() {
            return Err(failure(OutOfStep::Surplus.into()));
        }
        let reset = if self.needs_reset { "RSET\r\n" } else { "" };
        let group = [reset, &commands.mail, &commands.rcpt, "DATA\r\n"].concat();
        let written = self.link.send(group.as_bytes(), end.min(Instant::now() + self.limits.command)).await;
        written.map_err(|unwritten| failure(unwritten.cause))?;
        if self.needs_reset {
            let reply = self.link.reply(self.deadline(Stage::Mail, end)).await.map_err(failure)?;
            reset_done(reply).map_err(failure)?;
        }
        let mut answers = Answers::default();
        for stage in [Stage::Mail, Stage::Rcpt, Stage::Data] {
            let answer = self.link.reply(self.deadline(stage, end)).await;
            answers.take(stage, answer)?;
        }
        Ok(answers)
    }

    /// Each command after the reply to the one before, up to the first that fails.
    async fn one_by_one(&mut self, commands: &Commands, end: Instant) -> Result<Answers, Failure> {
        if self.needs_reset {
            let answer = self.link.ask("RSET\r\n", self.deadline(Stage::Mail, end)).await;
            answer.and_then(reset_done).map_err(|cause| Failure::new(Stage::Mail, cause))?;
        }
        let mut answers = Answers::default();
        for (stage, command) in
            [(Stage::Mail, commands.mail.as_str()), (Stage::Rcpt, &commands.rcpt), (Stage::Data, "DATA\r\n")]
        {
            if answers.refusal.is_none() {
                let answer = self.link.ask(command, self.deadline(stage, end)).await;
                answers.take(stage, answer)?;
            }
        }
        Ok(answers)
    }

    /// Brings the conversation to where the next step can start.
    async fn conclude(&mut self, answers: Answers, end: Instant) -> Result<(), Failure> {
        self.needs_reset = true;
        let Some(refusal) = answers.refusal else {
            if self.link.has_surplus() {
                return Err(Failure::new(Stage::Data, self.link.unasked().await));
            }
            self.state = State::Open;
            return Ok(());
        };
        if !answers.is_data_open {
            self.ready_after(None);
        } else if !answers.is_recipient_accepted {
            // RFC 2920 section 3.1: a message for nobody is ended at once. Were there a recipient, this
            // would deliver an empty mail, so then the connection stays broken instead.
            let deadline = self.deadline(Stage::Data, end);
            if let Ok(reply) = self.link.ask(".\r\n", deadline).await {
                self.ready_after(Some(&reply));
            }
        }
        Err(refusal)
    }

    /// The exchange is over, unless its last reply says that the connection is.
    fn ready_after(&mut self, reply: Option<&Reply>) {
        let goes_on =
            reply.is_none_or(|reply| !reply.is_closing() && (reply.is_positive() || reply.is_negative()));
        if goes_on && !self.link.has_surplus() {
            self.state = State::Ready;
        }
    }

    fn deadline(&self, stage: Stage, end: Instant) -> Instant {
        let limit = if stage == Stage::Data { self.limits.data } else { self.limits.command };
        end.min(Instant::now() + limit)
    }
}

impl Commands {
    fn new(envelope: &Envelope, wire: &Wire, offers: Offers) -> Self {
        let size = if offers.size.is_some() { format!(" SIZE={}", wire.size()) } else { String::new() };
        let eight_bit = if wire.is_eight_bit() { " BODY=8BITMIME" } else { "" };
        let utf8 = if envelope.needs_utf8() { " SMTPUTF8" } else { "" };
        Self {
            mail: format!("MAIL FROM:<{}>{size}{eight_bit}{utf8}\r\n", envelope.from()),
            rcpt: format!("RCPT TO:<{}>\r\n", envelope.to()),
        }
    }
}

impl Answers {
    /// Takes the next reply. An error means that no further reply can come or be understood.
    fn take(&mut self, stage: Stage, answer: Result<Reply, Cause>) -> Result<(), Failure> {
        let reply = match answer {
            Ok(reply) => reply,
            Err(cause) => return Err(self.first(Failure::new(stage, cause))),
        };
        match (stage, reply.code) {
            _ if reply.is_closing() => Err(self.first(Failure::new(stage, reply))),
            (_, 400..) => {
                self.refusal = Some(self.first(Failure::new(stage, reply)));
                Ok(())
            }
            (Stage::Data, 354) => {
                self.is_data_open = true;
                Ok(())
            }
            (Stage::Mail | Stage::Rcpt, 200..=299) => {
                self.is_recipient_accepted |= stage == Stage::Rcpt;
                Ok(())
            }
            (_, code) => Err(self.first(Failure::new(stage, OutOfStep::Unexpected(code)))),
        }
    }

    fn first(&mut self, failure: Failure) -> Failure {
        self.refusal.take().unwrap_or(failure)
    }
}

/// RSET cannot fail in a conversation that is in step.
fn reset_done(reply: Reply) -> Result<(), Cause> {
    match reply.code {
        250 => Ok(()),
        _ if reply.is_closing() => Err(reply.into()),
        code => Err(OutOfStep::Unexpected(code).into()),
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connection")
            .field("state", &self.state)
            .field("offers", &self.offers)
            .field("exchanges", &self.exchanges)
            .finish_non_exhaustive()
    }
}
