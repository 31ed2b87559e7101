//! The bytes to and from one server: a plain or TLS stream, whole replies read within a deadline. It must
//! not know which command is being answered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::classify::{Cause, OutOfStep};
use super::reply::{Reader, Reply};

/// After a write failed, how long a reply that explains it may take: it arrived before the failure or never.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One stream and what was read of it but not yet taken.
pub(super) struct Link {
    stream: Stream,
    reader: Reader,
}

/// A write that failed.
pub(super) struct Unwritten {
    pub(super) cause: Cause,
    /// Whether the server may have every byte all the same.
    pub(super) is_complete: bool,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), reader: Reader::default() }
    }

    /// Goes over to TLS. Whatever was said in clear must have been taken before: see [`Link::has_surplus`].
    pub(super) async fn into_tls(
        self,
        config: &Arc<ClientConfig>,
        host: &str,
        deadline: Instant,
    ) -> Result<Self, Cause> {
        let Stream::Plain(stream) = self.stream else { return Ok(self) };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| Cause::Tls(io::Error::other(error)))?;
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let stream =
            timeout_at(deadline, handshake).await.map_err(|_| Cause::TimedOut)?.map_err(Cause::Tls)?;
        Ok(Self { stream: Stream::Tls(Box::new(stream)), reader: Reader::default() })
    }

    /// Writes everything in as few writes as the stream takes. If that fails and the server had said why,
    /// its reply is the cause.
    pub(super) async fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), Unwritten> {
        let mut sent = 0;
        let cause = match timeout_at(deadline, self.write(bytes, &mut sent)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => self.last_words(Cause::from(error)).await,
            Err(_) => Cause::TimedOut,
        };
        Err(Unwritten { cause, is_complete: sent == bytes.len() })
    }

    /// The next reply. The deadline is for the whole of it, however slowly its bytes arrive.
    pub(super) async fn reply(&mut self, deadline: Instant) -> Result<Reply, Cause> {
        timeout_at(deadline, self.read_reply()).await.map_err(|_| Cause::TimedOut)?
    }

    /// Sends one command, CRLF included, and reads its reply.
    pub(super) async fn ask(&mut self, command: &str, deadline: Instant) -> Result<Reply, Cause> {
        if self.has_surplus() {
            return Err(OutOfStep::Surplus.into());
        }
        self.send(command.as_bytes(), deadline).await.map_err(|unwritten| unwritten.cause)?;
        self.reply(deadline).await
    }

    /// Whether more was read than the replies asked for.
    pub(super) fn has_surplus(&self) -> bool {
        !self.reader.is_empty()
    }

    /// Whether the server has said nothing, not even goodbye, since its last reply. Looks at what has
    /// arrived and does not wait.
    pub(super) fn is_quiet(&mut self) -> bool {
        !self.has_surplus() && unconstrained(self.read_more()).now_or_never().is_none()
    }

    /// A refusal that the server sent before it stopped listening explains more than `otherwise`.
    async fn last_words(&mut self, otherwise: Cause) -> Cause {
        match self.reply(Instant::now() + LAST_WORDS).await {
            Ok(reply) if reply.is_negative() => Cause::Reply(reply),
            _ => otherwise,
        }
    }

    /// What the server said or did unasked while nothing was to be answered. A goodbye explains itself; any
    /// other reply belongs to no command and must not be held against a mail.
    pub(super) async fn unasked(&mut self) -> Cause {
        match self.reply(Instant::now() + LAST_WORDS).await {
            Ok(reply) if reply.is_closing() => Cause::Reply(reply),
            Ok(_) => OutOfStep::Surplus.into(),
            Err(cause) => cause,
        }
    }

    /// Ends the stream in an orderly way: over TLS with a closing message.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
        }
    }

    async fn read_reply(&mut self) -> Result<Reply, Cause> {
        loop {
            if let Some(reply) = self.reader.take_reply()? {
                return Ok(reply);
            }
            if self.read_more().await? == 0 {
                return Err(Cause::Closed);
            }
        }
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        let space = self.reader.space();
        match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(space).await,
            Stream::Tls(stream) => stream.read_buf(space).await,
        }
    }

    async fn write(&mut self, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
        while *sent < bytes.len() {
            let rest = &bytes[*sent..];
            let written = match &mut self.stream {
                Stream::Plain(stream) => stream.write(rest).await?,
                Stream::Tls(stream) => stream.write(rest).await?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            *sent += written;
        }
        match &mut self.stream {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.flush().await,
        }
    }
}
