//! Looks into `signalpost.dead` for whoever asks, without taking anything away: all letters are held unacknowledged
//! for a moment and given back. Discarding acknowledges; replaying publishes the letter to where it came from and
//! acknowledges it once that is confirmed. Must not know who asks, nor the table of dead dispatches.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{ConnectError, Options, connect};
use super::dead_pass::{Look, Passed, pass};
use super::publisher::Publisher;
use super::topology::DEAD_QUEUE;
use crate::domain::clock::Clock;
use crate::pipeline::dead_letters::{Act, DeadMessage, PASS, Request, Unreachable, Wanted};

/// How long somebody else's look is waited for.
const BUSY: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// What was seen so lately is told again.
const FRESH: Duration = Duration::from_secs(1);
/// And where the number of letters is the same, for a glance.
const STEADY: Duration = Duration::from_mins(10);
/// A glance has a look taken once in so many times of what the last one took.
const RARELY: u32 = 5;

/// The one who looks into the dead queue.
pub struct DeadQueue {
    options: Options,
    publisher: Publisher,
    clock: Clock,
    connection: Option<Connection>,
    seen: Option<Seen>,
    /// Octets of the largest letter that was seen.
    largest: usize,
}

/// All letters without their bodies, as they were a moment ago.
struct Seen {
    at: Instant,
    took: Duration,
    /// How many the queue had, of which one look may not take in all.
    depth: u32,
    letters: Vec<DeadMessage>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the broker failed: {0}")]
    Broker(#[source] lapin::Error),
    #[error("somebody else reads the dead queue exclusively")]
    Busy,
    #[error("the broker took too long")]
    TimedOut,
}

impl DeadQueue {
    pub fn new(options: Options, publisher: Publisher, clock: Clock) -> Self {
        Self { options, publisher, clock, connection: None, seen: None, largest: 0 }
    }

    /// Answers one request after another until the stop: two looks at once would each see half.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
        while let Some(Some(request)) = stop.run_until_cancelled(requests.recv()).await {
            let Request { wanted, act, answer } = request;
            if answer.is_closed() {
                // Nobody waits for it any more: what was right then may be wrong now.
                continue;
            }
            let done = match timeout(PASS, self.answer(&wanted, act)).await {
                Ok(done) => done,
                Err(_) => Err(Fault::TimedOut),
            };
            if done.is_err() {
                // What was in hand is given back with it.
                self.connection = None;
            }
            // Whoever asked may have gone.
            let _ = answer.send(done.map_err(|fault| Unreachable(fault.to_string())));
        }
        if let Some(connection) = self.connection {
            let _ = connection.close(200, "done".into()).await;
        }
    }

    async fn answer(&mut self, wanted: &Wanted, act: Act) -> Result<Vec<DeadMessage>, Fault> {
        let channel = self.channel().await?;
        let depth = depth(&channel).await?;
        let bodies = act == Act::Look { bodies: true };
        if let (Act::Look { .. } | Act::Glance, false, Some(seen)) = (act, bodies, &self.seen)
            && seen.is_good(act, depth)
        {
            let _ = channel.close(200, "done".into()).await;
            return Ok(seen.letters.iter().filter(|letter| wanted.fits(letter)).cloned().collect());
        }
        self.seen = None;
        let begun = Instant::now();
        let Passed { found, all, depth, largest, is_cut } = self.pass(channel, wanted, act).await?;
        self.largest = largest;
        if matches!(act, Act::Look { .. } | Act::Glance) {
            let depth = if is_cut { depth } else { u32::try_from(all.len()).unwrap_or(u32::MAX) };
            self.seen = Some(Seen { at: Instant::now(), took: begun.elapsed(), depth, letters: all });
        }
        Ok(found)
    }

    /// From the start where another came between: nothing is acknowledged before the end.
    async fn pass(&mut self, mut channel: Channel, wanted: &Wanted, act: Act) -> Result<Passed, Fault> {
        let begun = Instant::now();
        loop {
            let (publisher, largest, now) = (&self.publisher, self.largest, self.clock.now());
            match pass(channel, Look { publisher, wanted, act, now, largest }).await {
                Err(Fault::Busy) if begun.elapsed() < BUSY => sleep(BUSY_PAUSE).await,
                passed => return passed,
            }
            channel = self.channel().await?;
        }
    }

    async fn channel(&mut self) -> Result<Channel, Fault> {
        let connection = match self.connection.take().filter(|one| one.status().connected()) {
            Some(connection) => connection,
            None => connect(&self.options).await?,
        };
        let channel = connection.create_channel().await?;
        self.connection = Some(connection);
        Ok(channel)
    }
}

impl Seen {
    fn is_good(&self, act: Act, depth: u32) -> bool {
        let (same, age) = (depth == self.depth, self.at.elapsed());
        age < FRESH && same || act == Act::Glance && (age < self.took * RARELY || same && age < STEADY)
    }
}

/// How many letters are there, those in somebody's hands left out.
pub(super) async fn depth(channel: &Channel) -> Result<u32, lapin::Error> {
    let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let queue = channel.queue_declare(DEAD_QUEUE.into(), options, FieldTable::default()).await?;
    Ok(queue.message_count())
}

impl From<lapin::Error> for Fault {
    fn from(error: lapin::Error) -> Self {
        if is_busy(&error) { Self::Busy } else { Self::Broker(error) }
    }
}

fn is_busy(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(protocol) = error.kind() else { return false };
    let exclusive = protocol.get_message().as_str().contains("exclusive");
    matches!(protocol.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)) && exclusive
}
