//! One conversation of the sink. A strict oracle: only CRLF.CRLF ends a message, and commands must come in
//! their order. It must not know how tests look at what was recorded.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncWrite};

use super::pipe::Pipe;
use super::script::{At, Fault};
use super::text::{end_of_message, path, unstuffed};
use super::{Command, Received, Shared};

/// How a conversation ended.
pub(super) enum End {
    Closed,
    /// 220 was said to STARTTLS.
    Upgrade,
}

pub(super) struct Session<S> {
    pipe: Pipe<S>,
    shared: Arc<Shared>,
    connection: u64,
    is_tls: bool,
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
    /// The read in which MAIL arrived.
    mail_read: u64,
    is_greeted: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(io: S, shared: Arc<Shared>, connection: u64, is_tls: bool) -> Self {
        let pipe = Pipe::new(io);
        let (user, from, to) = (None, None, Vec::new());
        Self { pipe, shared, connection, is_tls, user, from, to, mail_read: 0, is_greeted: false }
    }

    /// The stream, for the TLS handshake.
    pub(super) fn into_inner(self) -> S {
        self.pipe.into_inner()
    }

    pub(super) async fn greet(&mut self) -> Result<(), End> {
        self.answer(At::Greeting, "", "220 sink.example ESMTP").await.map(drop)
    }

    /// Says what is still queued before the stream is dropped.
    pub(super) async fn hang_up(mut self) {
        let _ = self.pipe.flush().await;
    }

    pub(super) async fn run(&mut self) -> End {
        loop {
            let line = match self.pipe.line().await {
                Ok(line) => line,
                Err(end) => return end,
            };
            if self.shared.keeps {
                let (connection, read, is_tls) = (self.connection, self.pipe.reads, self.is_tls);
                let command = Command { connection, read, is_tls, line: line.clone() };
                self.shared.commands.lock().unwrap().push(command);
            }
            if let Err(end) = self.command(&line).await {
                let _ = self.pipe.flush().await;
                return end;
            }
        }
    }

    async fn command(&mut self, line: &str) -> Result<(), End> {
        let verb = line.get(..4).unwrap_or(line).to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => self.ehlo().await,
            "STAR" if self.shared.options.starttls && !self.is_tls => {
                self.answer(At::StartTls, "", "220 2.0.0 go ahead").await?;
                self.pipe.flush().await?;
                Err(End::Upgrade)
            }
            "AUTH" => self.auth(line).await,
            "MAIL" => self.mail(line).await,
            "RCPT" => self.rcpt(line).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.forget();
                self.answer(At::Rset, "", "250 2.0.0 ok").await.map(drop)
            }
            "NOOP" => {
                self.pipe.say("250 2.0.0 ok");
                Ok(())
            }
            "QUIT" => {
                self.answer(At::Quit, "", "221 2.0.0 bye").await?;
                Err(End::Closed)
            }
            _ => {
                self.pipe.say("500 5.5.2 not understood");
                Ok(())
            }
        }
    }

    async fn ehlo(&mut self) -> Result<(), End> {
        let options = &self.shared.options;
        let mut offers = vec!["sink.example".to_owned()];
        offers.extend(options.extensions.iter().cloned());
        if options.starttls && !self.is_tls {
            offers.push("STARTTLS".to_owned());
        }
        if let Some((mechanisms, ..)) = &options.auth {
            offers.push(format!("AUTH {mechanisms}"));
        }
        let last = offers.pop().unwrap_or_default();
        let reply = offers.iter().fold(String::new(), |reply, offer| reply + "250-" + offer + "\r\n");
        self.is_greeted = self.answer(At::Ehlo, "", &format!("{reply}250 {last}")).await?;
        Ok(())
    }

    async fn auth(&mut self, line: &str) -> Result<(), End> {
        let Some((_, user, password)) = self.shared.options.auth.clone() else {
            self.pipe.say("502 5.5.1 no AUTH here");
            return Ok(());
        };
        let mut words = line.split(' ').skip(1);
        let given = match (words.next(), words.next()) {
            (Some("PLAIN"), Some(response)) => response.to_owned(),
            (Some("PLAIN"), None) => self.challenge("").await?,
            (Some("LOGIN"), None) => {
                let user = self.challenge("VXNlcm5hbWU6").await?;
                let password = self.challenge("UGFzc3dvcmQ6").await?;
                format!("{user} {password}")
            }
            _ => {
                self.pipe.say("504 5.5.4 unknown mechanism");
                return Ok(());
            }
        };
        let login = format!("{} {}", BASE64.encode(&user), BASE64.encode(&password));
        let is_right = given == login || given == BASE64.encode(format!("\0{user}\0{password}"));
        let usual = if is_right { "235 2.7.0 welcome" } else { "535 5.7.8 bad credentials" };
        if self.answer(At::Auth, "", usual).await? {
            self.user = Some(user);
        }
        Ok(())
    }

    async fn challenge(&mut self, text: &str) -> Result<String, End> {
        self.pipe.say(&format!("334 {text}"));
        self.pipe.line().await
    }

    async fn mail(&mut self, line: &str) -> Result<(), End> {
        let usual = match path(line) {
            _ if !self.is_greeted => "503 5.5.1 EHLO first",
            _ if self.from.is_some() => "503 5.5.1 one MAIL at a time",
            _ if self.shared.options.auth.is_some() && self.user.is_none() => "530 5.7.0 authenticate first",
            Some(_) => "250 2.1.0 ok",
            None => "501 5.1.7 syntax",
        };
        self.mail_read = self.pipe.reads;
        if self.answer(At::Mail, "", usual).await? {
            self.from = path(line).map(str::to_owned);
        }
        Ok(())
    }

    async fn rcpt(&mut self, line: &str) -> Result<(), End> {
        let recipient = path(line).unwrap_or_default();
        let usual = if self.from.is_some() { "250 2.1.5 ok" } else { "503 5.5.1 MAIL first" };
        if self.answer(At::Rcpt, recipient, usual).await? {
            self.to.push(recipient.to_owned());
        }
        Ok(())
    }

    async fn data(&mut self) -> Result<(), End> {
        let is_pipelined = self.pipe.reads == self.mail_read;
        let recipient = self.to.first().cloned().unwrap_or_default();
        let usual = if self.to.is_empty() { "554 5.5.1 no valid recipients" } else { "354 go ahead" };
        if !self.answer(At::Data, &recipient, usual).await? {
            return Ok(());
        }
        let length = self.message(&recipient).await?;
        let raw = &self.pipe.arrived()[..length];
        let has_recipient = !self.to.is_empty();
        let received = (self.shared.keeps && has_recipient).then(|| Received {
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            data: unstuffed(raw),
            raw: raw.to_vec(),
            connection: self.connection,
            at: Instant::now(),
            is_pipelined,
            is_tls: self.is_tls,
            user: self.user.clone(),
        });
        self.pipe.take(length + b".\r\n".len());
        self.forget();
        self.verdict(&recipient, has_recipient, received).await?;
        self.idle(&recipient).await
    }

    async fn verdict(
        &mut self,
        recipient: &str,
        has_recipient: bool,
        received: Option<Received>,
    ) -> Result<(), End> {
        let fault = self.shared.script.take(At::Dot, recipient);
        let is_refused = matches!(&fault, Some(Fault::Close | Fault::Silence))
            || matches!(&fault, Some(Fault::Reply(reply) | Fault::ReplyAndClose(reply)) if !reply.starts_with('2'));
        if !is_refused && has_recipient {
            self.shared.record(received);
        }
        let usual = if has_recipient { "250 2.0.0 queued" } else { "554 5.5.1 no valid recipients" };
        self.act(fault, usual).await.map(drop)
    }

    /// What a server says to a client that is between two mails.
    async fn idle(&mut self, recipient: &str) -> Result<(), End> {
        let Some(fault) = self.shared.script.take(At::Idle, recipient) else { return Ok(()) };
        self.pipe.flush().await?;
        self.act(Some(fault), "").await.map(drop)
    }

    /// Waits for the whole message and gives its length without the final dot.
    async fn message(&mut self, recipient: &str) -> Result<usize, End> {
        let fault = self.shared.script.take(At::Body, recipient);
        let cut = match fault {
            Some(Fault::CutAfter(octets)) => octets,
            Some(other) => {
                self.pipe.fill().await?;
                self.act(Some(other), "").await?;
                usize::MAX
            }
            None => usize::MAX,
        };
        let mut searched = 0;
        loop {
            let arrived = self.pipe.arrived();
            if arrived.len() >= cut {
                return Err(End::Closed);
            }
            if let Some(length) = end_of_message(arrived, searched) {
                return Ok(length);
            }
            searched = arrived.len().saturating_sub(b"\r\n.\r\n".len());
            self.pipe.fill().await?;
        }
    }

    /// Gives the usual answer, or what the script has for this place. `Ok` says whether the answer given
    /// is positive.
    async fn answer(&mut self, at: At, recipient: &str, usual: &str) -> Result<bool, End> {
        let fault = self.shared.script.take(at, recipient);
        self.act(fault, usual).await
    }

    async fn act(&mut self, fault: Option<Fault>, usual: &str) -> Result<bool, End> {
        let mut said = usual.to_owned();
        match fault {
            None => self.pipe.say(usual),
            Some(Fault::Reply(reply)) => {
                self.pipe.say(&reply);
                said = reply;
                if said.starts_with("421") {
                    return Err(End::Closed);
                }
            }
            Some(Fault::ReplyAndClose(reply)) => {
                self.pipe.say(&reply);
                return Err(End::Closed);
            }
            Some(Fault::Close | Fault::TakeAndClose | Fault::CutAfter(_)) => return Err(End::Closed),
            Some(Fault::Silence) => {
                self.pipe.flush().await?;
                return Err(self.pipe.listen_for_ever().await);
            }
            Some(Fault::Delay(time)) => {
                self.pipe.flush().await?;
                tokio::time::sleep(time).await;
                self.pipe.say(usual);
            }
            Some(Fault::Trickle(time)) => self.pipe.trickle(usual, time).await?,
            Some(Fault::Surplus(more)) => {
                self.pipe.say(usual);
                self.pipe.say(&more);
            }
        }
        Ok(said.starts_with(['2', '3']))
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
    }
}
