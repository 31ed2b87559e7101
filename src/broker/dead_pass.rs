//! One look at the letters of the dead queue, in windows: no more of them are on their way at a time than fit into a
//! bounded memory, and a look that would take too long ends with the letters that it came to, the oldest. Must not
//! know who asks, nor what was seen before.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::{Instant, sleep, timeout};

use super::dead_letter::Held;
use super::dead_queue::{Fault, depth};
use super::message::delivery_count;
use super::publisher::{PublishError, Publisher};
use super::topology::{DEAD_EXCHANGE, DEAD_QUEUE, EVENTS_EXCHANGE};
use crate::domain::event::MAX_MESSAGE;
use crate::pipeline::dead_letters::{Act, DeadMessage, Wanted};

/// Octets of bodies on their way at a time.
const WINDOW: usize = 64 * 1024 * 1024;
/// Letters looked at in one pass, the oldest ones: those behind them come into sight as these are dealt with.
const MOST: usize = 50_000;
/// And octets of their bodies.
const MOST_OCTETS: usize = 1024 * 1024 * 1024;
/// And so long: the rest of [`super::dead_queue`]'s time is for giving them back.
const LONGEST: Duration = Duration::from_secs(30);
/// After so long without another letter, somebody else has the rest in hand.
const QUIET: Duration = Duration::from_secs(1);
/// How long the only letter may take, if there is one.
const GLIMPSE: Duration = Duration::from_millis(100);
/// How long letters that were given back may take to be in the queue again.
const BACK: Duration = Duration::from_secs(2);
const BACK_PAUSE: Duration = Duration::from_millis(10);
/// Each look counts as a delivery, and the queue drops a letter after 10,000 of them: so one that was delivered this
/// often is put to the end of the queue, where it counts from nothing.
const RENEWED: i64 = 5000;

/// What is wanted, and with what.
pub(super) struct Look<'a> {
    pub(super) publisher: &'a Publisher,
    pub(super) wanted: &'a Wanted,
    pub(super) act: Act,
    pub(super) now: DateTime<Utc>,
    /// Octets of the largest letter of earlier looks.
    pub(super) largest: usize,
}

/// What came of it.
pub(super) struct Passed {
    /// Those that it was done with.
    pub(super) found: Vec<DeadMessage>,
    /// All that are left, without their bodies.
    pub(super) all: Vec<DeadMessage>,
    /// How many there were.
    pub(super) depth: u32,
    pub(super) largest: usize,
    /// Ended before the last letter.
    pub(super) is_cut: bool,
}

struct Pass<'a> {
    look: Look<'a>,
    channel: Channel,
    consumer: Option<Consumer>,
    begun: Instant,
    octets: usize,
    /// To be acknowledged in the end: before, the broker would send more than a window.
    done: Vec<u64>,
    renews: bool,
    passed: Passed,
}

/// Looks at all letters, and gives back those that are left.
pub(super) async fn pass(channel: Channel, look: Look<'_>) -> Result<Passed, Fault> {
    let largest = look.largest;
    let passed = Passed { found: Vec::new(), all: Vec::new(), depth: 0, largest, is_cut: false };
    let begun = Instant::now();
    let mut pass =
        Pass { look, channel, consumer: None, begun, octets: 0, done: Vec::new(), renews: true, passed };
    pass.walk().await?;
    pass.give_back().await
}

/// How many letters may be on their way: a body may be larger than a message may be, and is then refused for it.
fn window(largest: usize) -> u16 {
    u16::try_from(WINDOW / largest.max(MAX_MESSAGE)).unwrap_or(u16::MAX).max(1)
}

impl Pass<'_> {
    /// One letter at first: only while nobody else has any in hand do all of them count.
    async fn walk(&mut self) -> Result<(), Fault> {
        let before = depth(&self.channel).await?;
        let mut consumer = self.consume(1).await?;
        let behind = depth(&self.channel).await?;
        let wait = if before + behind > 0 { QUIET } else { GLIMPSE };
        let first = timeout(wait, consumer.next()).await;
        self.consumer = Some(consumer);
        let Ok(Some(first)) = first else { return Ok(()) };
        self.passed.depth = behind + 1;
        self.window(vec![first?], 0).await?;
        self.windows(usize::try_from(behind).unwrap_or(usize::MAX)).await
    }

    async fn windows(&mut self, mut left: usize) -> Result<(), Fault> {
        while left > 0 {
            let seen = self.passed.found.len() + self.passed.all.len();
            if seen >= MOST || self.octets >= MOST_OCTETS || self.begun.elapsed() >= LONGEST {
                self.passed.is_cut = true;
                tracing::warn!(
                    left,
                    "the dead queue holds more than one look takes in: the oldest are shown"
                );
                return Ok(());
            }
            let prefetch = window(self.passed.largest);
            let size = left.min(prefetch.into());
            self.consumer = Some(self.consume(prefetch).await?);
            if !self.window(Vec::new(), size).await? {
                return Ok(());
            }
            left -= size;
        }
        Ok(())
    }

    /// Some letters and the next ones; `false` if those were fewer than said.
    async fn window(&mut self, some: Vec<Delivery>, next: usize) -> Result<bool, Fault> {
        let (mut taken, mut replays) = (0, FuturesUnordered::new());
        for delivery in some {
            replays.extend(self.take(delivery).await.map(|held| replay(self.look.publisher, held)));
        }
        while taken < next
            && let Some(consumer) = &mut self.consumer
        {
            let Ok(Some(delivery)) = timeout(QUIET, consumer.next()).await else { break };
            taken += 1;
            replays.extend(self.take(delivery?).await.map(|held| replay(self.look.publisher, held)));
        }
        while let Some((held, replayed)) = replays.next().await {
            match replayed {
                Ok(()) => self.end(&held.delivery, held.message),
                Err(error) => {
                    tracing::warn!(%error, letter = %held.message.id, "a dead letter could not be replayed");
                }
            }
        }
        Ok(taken == next)
    }

    /// Another consumer in place of the one before, since nothing is acknowledged yet. Alone, or another's look and
    /// ours would each see half; and at once, or another would come between.
    async fn consume(&mut self, prefetch: u16) -> Result<Consumer, Fault> {
        self.channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
        let consuming =
            self.channel.basic_consume(DEAD_QUEUE.into(), "".into(), options, FieldTable::default());
        let Some(before) = self.consumer.take() else { return Ok(consuming.await?) };
        let cancelling = self.channel.basic_cancel(before.tag(), BasicCancelOptions::default());
        let (cancelled, consumer) = join(cancelling, consuming).await;
        let consumer = consumer?;
        cancelled?;
        Ok(consumer)
    }

    /// Does what is wanted, but for a replay, which it leaves to the caller.
    async fn take(&mut self, delivery: Delivery) -> Option<Held> {
        self.octets += delivery.data.len();
        self.passed.largest = self.passed.largest.max(delivery.data.len());
        let mut held = Held::read(delivery, self.look.publisher.origins(), self.look.now);
        if !self.look.wanted.fits(&held.message) {
            self.keep(held).await;
            return None;
        }
        match self.look.act {
            Act::Look { bodies } => {
                held.message.body = bodies.then(|| held.delivery.data.clone());
                self.passed.found.push(held.message.clone());
                self.keep(held).await;
            }
            Act::Glance => {
                self.passed.found.push(held.message.clone());
                self.keep(held).await;
            }
            Act::Discard => self.end(&held.delivery, held.message),
            Act::Replay => return Some(held),
        }
        None
    }

    fn end(&mut self, delivery: &Delivery, message: DeadMessage) {
        self.done.push(delivery.delivery_tag);
        self.passed.found.push(message);
    }

    /// It stays, at its place or at the end of the queue.
    async fn keep(&mut self, held: Held) {
        if delivery_count(&held.delivery) >= RENEWED && self.renews && self.begun.elapsed() < LONGEST {
            let properties = held.properties(self.look.publisher.origins());
            let (key, letter) =
                (held.delivery.routing_key.as_str(), (properties, held.delivery.data.as_slice()));
            match self.look.publisher.publish_letter(DEAD_EXCHANGE, key, letter).await {
                Ok(()) => self.done.push(held.delivery.delivery_tag),
                Err(error) => {
                    // The others are looked at all the same; the next look tries again.
                    self.renews = false;
                    tracing::warn!(%error, letter = %held.message.id, "a dead letter could not be renewed");
                }
            }
        }
        self.passed.all.push(DeadMessage { body: None, ..held.message });
    }

    /// Gives back what is not done with, and waits until it is there again: the next look is to see it.
    async fn give_back(self) -> Result<Passed, Fault> {
        for tag in &self.done {
            self.channel.basic_ack(*tag, BasicAckOptions::default()).await?;
        }
        if let Some(consumer) = &self.consumer {
            // At once, or another would begin before they are there.
            let cancelling = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
            let all = BasicNackOptions { multiple: true, requeue: true };
            let (cancelled, given_back) = join(cancelling, self.channel.basic_nack(0, all)).await;
            cancelled?;
            given_back?;
        }
        let is_look = matches!(self.look.act, Act::Look { .. } | Act::Glance);
        let gone = if is_look { 0 } else { u32::try_from(self.passed.found.len()).unwrap_or(u32::MAX) };
        let (begun, wanted) = (Instant::now(), self.passed.depth.saturating_sub(gone));
        while depth(&self.channel).await? < wanted && begun.elapsed() < BACK {
            sleep(BACK_PAUSE).await;
        }
        let _ = self.channel.close(200, "done".into()).await;
        Ok(self.passed)
    }
}

async fn replay(publisher: &Publisher, held: Held) -> (Held, Result<(), PublishError>) {
    let letter = (held.properties(publisher.origins()), held.delivery.data.as_slice());
    let replayed = publisher.publish_letter(EVENTS_EXCHANGE, &held.origin.routing_key, letter).await;
    (held, replayed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_letters_are_on_their_way_as_fit_into_a_window() {
        assert_eq!(window(0), 256);
        assert_eq!(window(MAX_MESSAGE), 256);
        assert_eq!(window(16 * 1024 * 1024), 4);
        assert_eq!(window(512 * 1024 * 1024), 1);
    }
}
