//! The two directions of one connection of the sink, buffered. It must not know SMTP.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::session::End;

/// Room for one read: a usual mail with its envelope.
const READ_SIZE: usize = 16 * 1024;

pub(super) struct Pipe<S> {
    stream: S,
    input: Vec<u8>,
    taken: usize,
    /// Reads so far.
    pub(super) reads: u64,
    output: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, input: Vec::with_capacity(READ_SIZE), taken: 0, reads: 0, output: Vec::new() }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// What has arrived and was not taken.
    pub(super) fn arrived(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    pub(super) fn take(&mut self, octets: usize) {
        self.taken += octets;
    }

    /// Queues a reply. It goes out before the next read, so that a group of commands gets one write.
    pub(super) fn say(&mut self, text: &str) {
        if !text.is_empty() {
            self.output.extend_from_slice(text.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
    }

    pub(super) async fn line(&mut self) -> Result<String, End> {
        loop {
            let unread = &self.input[self.taken..];
            if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&unread[..end]).trim_end_matches('\r').to_owned();
                self.taken += end + 1;
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    pub(super) async fn fill(&mut self) -> Result<(), End> {
        self.flush().await?;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
        self.input.reserve(READ_SIZE);
        self.reads += 1;
        match self.stream.read_buf(&mut self.input).await {
            Ok(1..) => Ok(()),
            _ => Err(End::Closed),
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = self.stream.write_all(&self.output).await.and(self.stream.flush().await);
        self.output.clear();
        written.map_err(|_| End::Closed)
    }

    pub(super) async fn trickle(&mut self, text: &str, time: Duration) -> Result<(), End> {
        self.flush().await?;
        for byte in text.bytes().chain(*b"\r\n") {
            tokio::time::sleep(time).await;
            self.output.push(byte);
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn listen_for_ever(&mut self) -> End {
        while self.fill().await.is_ok() {
            self.taken = self.input.len();
        }
        End::Closed
    }
}
