//! Looks into `signalpost.dead` for whoever asks, without taking anything away: all letters are held unacknowledged
//! for a moment and given back. Discarding acknowledges; replaying publishes the letter to where it came from and
//! acknowledges it once that is confirmed. Must not know who asks, nor the table of dead dispatches.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{ConnectError, Options, connect};
use super::dead_letter::Held;
use super::message::delivery_count;
use super::publisher::{PublishError, Publisher};
use super::topology::{DEAD_EXCHANGE, DEAD_QUEUE, EVENTS_EXCHANGE};
use crate::domain::clock::Clock;
use crate::pipeline::dead_letters::{Act, DeadMessage, Request, Unreachable, Wanted};

/// Letters looked at in one pass, the oldest ones: those behind them come into sight as these are dealt with.
const MOST: u16 = 50_000;
/// After so long without another letter, somebody else has the rest in hand.
const QUIET: Duration = Duration::from_secs(1);
/// For one pass.
const PASS: Duration = Duration::from_mins(1);
/// How long somebody else's look is waited for.
const BUSY: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// What was seen so lately is told again.
const FRESH: Duration = Duration::from_secs(1);
/// And where the number of letters is the same, for a glance.
const STEADY: Duration = Duration::from_mins(10);
/// How long letters that were given back may take to be in the queue again.
const BACK: Duration = Duration::from_secs(2);
const BACK_PAUSE: Duration = Duration::from_millis(10);
/// Replays in flight.
const REPLAYS: usize = 256;
/// Each look counts as a delivery, and the queue drops a letter after 10,000 of them: so one that was delivered this
/// often is put to the end of the queue, where it counts from nothing.
const RENEWED: i64 = 5000;

/// The one who looks into the dead queue.
pub struct DeadQueue {
    options: Options,
    publisher: Publisher,
    clock: Clock,
    connection: Option<Connection>,
    seen: Option<Seen>,
}

/// All letters without their bodies, as they were a moment ago.
struct Seen {
    at: Instant,
    letters: Vec<DeadMessage>,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the broker failed: {0}")]
    Broker(#[from] lapin::Error),
    #[error("a letter could not be moved: {0}")]
    Publish(#[from] PublishError),
    #[error("somebody else reads the dead queue exclusively")]
    Busy,
    #[error("the broker took too long")]
    TimedOut,
}

impl DeadQueue {
    pub fn new(options: Options, publisher: Publisher, clock: Clock) -> Self {
        Self { options, publisher, clock, connection: None, seen: None }
    }

    /// Answers one request after another until the stop: two looks at once would each see half.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
        while let Some(Some(request)) = stop.run_until_cancelled(requests.recv()).await {
            let Request { wanted, act, answer } = request;
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
        let (channel, consumer) = self.consume(channel).await?;
        let mut pass =
            Pass { queue: self, channel, consumer, wanted, act, found: Vec::new(), all: Vec::new(), gone: 0 };
        pass.walk(depth).await?;
        let (found, all) = pass.give_back(depth).await?;
        if matches!(act, Act::Look { .. } | Act::Glance) {
            self.seen = Some(Seen { at: Instant::now(), letters: all });
        }
        Ok(found)
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

    /// Alone, or another's look and ours would each see half.
    async fn consume(&mut self, mut channel: Channel) -> Result<(Channel, Consumer), Fault> {
        let begun = Instant::now();
        loop {
            channel.basic_qos(MOST, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
            let consuming =
                channel.basic_consume(DEAD_QUEUE.into(), "".into(), options, FieldTable::default()).await;
            match consuming {
                Ok(consumer) => return Ok((channel, consumer)),
                Err(error) if is_busy(&error) && begun.elapsed() < BUSY => sleep(BUSY_PAUSE).await,
                Err(error) if is_busy(&error) => return Err(Fault::Busy),
                Err(error) => return Err(error.into()),
            }
            channel = self.channel().await?;
        }
    }
}

impl Seen {
    fn is_good(&self, act: Act, depth: u32) -> bool {
        let same = usize::try_from(depth).is_ok_and(|depth| depth == self.letters.len());
        let age = self.at.elapsed();
        age < FRESH && same || act == Act::Glance && same && age < STEADY
    }
}

/// One look at all letters.
struct Pass<'a> {
    queue: &'a DeadQueue,
    channel: Channel,
    consumer: Consumer,
    wanted: &'a Wanted,
    act: Act,
    found: Vec<DeadMessage>,
    all: Vec<DeadMessage>,
    /// Acknowledged, or put to the end of the queue.
    gone: u32,
}

impl Pass<'_> {
    async fn walk(&mut self, depth: u32) -> Result<(), Fault> {
        let now = self.queue.clock.now();
        let mut replays = FuturesUnordered::new();
        for _ in 0..depth.min(u32::from(MOST)) {
            let Ok(Some(delivery)) = timeout(QUIET, self.consumer.next()).await else { break };
            let mut held = Held::read(delivery?, self.queue.publisher.origins(), now);
            if !self.wanted.fits(&held.message) {
                self.keep(held).await?;
                continue;
            }
            match self.act {
                Act::Look { bodies } => {
                    held.message.body = bodies.then(|| held.delivery.data.clone());
                    self.found.push(held.message.clone());
                    self.keep(held).await?;
                }
                Act::Glance => {
                    self.found.push(held.message.clone());
                    self.keep(held).await?;
                }
                Act::Discard => self.end(&held.delivery, held.message).await?,
                Act::Replay => {
                    replays.push(replay(&self.queue.publisher, held));
                    if replays.len() >= REPLAYS
                        && let Some(replayed) = replays.next().await
                    {
                        self.replayed(replayed).await?;
                    }
                }
            }
        }
        while let Some(replayed) = replays.next().await {
            self.replayed(replayed).await?;
        }
        Ok(())
    }

    async fn replayed(&mut self, (held, replayed): (Held, Result<(), PublishError>)) -> Result<(), Fault> {
        match replayed {
            Ok(()) => self.end(&held.delivery, held.message).await,
            Err(error) => {
                tracing::warn!(%error, letter = %held.message.id, "a dead letter could not be replayed");
                Ok(())
            }
        }
    }

    async fn end(&mut self, delivery: &Delivery, message: DeadMessage) -> Result<(), Fault> {
        self.channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
        self.gone += 1;
        self.found.push(message);
        Ok(())
    }

    /// It stays, at its place or at the end of the queue.
    async fn keep(&mut self, held: Held) -> Result<(), Fault> {
        let Held { delivery, message, .. } = held;
        if delivery_count(&delivery) >= RENEWED {
            let letter = (&delivery.properties, delivery.data.as_slice());
            self.queue.publisher.publish_letter(DEAD_EXCHANGE, delivery.routing_key.as_str(), letter).await?;
            self.channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
        }
        self.all.push(DeadMessage { body: None, ..message });
        Ok(())
    }

    /// Gives back what is not acknowledged, and waits until it is there again: the next look is to see it.
    async fn give_back(self, depth_before: u32) -> Result<(Vec<DeadMessage>, Vec<DeadMessage>), Fault> {
        self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default()).await?;
        let all = BasicNackOptions { multiple: true, requeue: true };
        self.channel.basic_nack(0, all).await?;
        let (begun, wanted) = (Instant::now(), depth_before.saturating_sub(self.gone));
        while depth(&self.channel).await? < wanted && begun.elapsed() < BACK {
            sleep(BACK_PAUSE).await;
        }
        let _ = self.channel.close(200, "done".into()).await;
        Ok((self.found, self.all))
    }
}

async fn replay(publisher: &Publisher, held: Held) -> (Held, Result<(), PublishError>) {
    let letter = (&held.delivery.properties, held.delivery.data.as_slice());
    let replayed = publisher.publish_letter(EVENTS_EXCHANGE, &held.routing_key, letter).await;
    (held, replayed)
}

/// How many letters are there, those in somebody's hands left out.
async fn depth(channel: &Channel) -> Result<u32, lapin::Error> {
    let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let queue = channel.queue_declare(DEAD_QUEUE.into(), options, FieldTable::default()).await?;
    Ok(queue.message_count())
}

fn is_busy(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(protocol) = error.kind() else { return false };
    let exclusive = protocol.get_message().as_str().contains("exclusive");
    matches!(protocol.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)) && exclusive
}
