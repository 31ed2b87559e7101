//! One connection's worth of consuming: deliveries go to the planner, its answers become acknowledgements, a refused
//! message is acknowledged once it is confirmed as a dead letter. Any fault ends the session; what was in flight
//! comes again, and its identity makes it a duplicate. Knows nothing of how often sessions are made.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, Stream};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer, Event};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::acks::Acks;
use super::connection::{ConnectError, Options, connect};
use super::message::{Answer, Held};
use super::publisher::Publisher;
use super::supervisor::BrokerHealth;
use super::topology::{self, EVENTS_QUEUE, TopologyError};
use crate::domain::clock::Clock;
use crate::domain::event::{Planned, Refusal};
use crate::pipeline::{Intake, Submission};

/// How often the channel is looked at: after some faults lapin's stream of deliveries neither ends nor fails.
const LOOK: Duration = Duration::from_secs(1);
/// When a message whose answer was dropped is handed over again.
const AGAIN: Duration = Duration::from_secs(1);
/// Deliveries taken in one go before anything else is looked at.
const BURST: usize = 256;

/// Why a session ended.
pub(super) enum End {
    /// As asked: all that was answered is acknowledged.
    Stopped,
    /// There is no planner any more.
    IntakeClosed,
    Fault(Fault),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the broker failed: {0}")]
    Broker(#[from] lapin::Error),
    #[error("the broker ended the consumer: the queue was deleted or its node went away")]
    ConsumerEnded,
    #[error("the broker closed the channel")]
    ChannelClosed,
    #[error("the broker took longer than 30 s to get ready")]
    TimedOut,
}

/// What a session works with; the same from session to session.
pub(super) struct Seams {
    pub options: Options,
    pub clock: Clock,
    pub intake: Intake,
    pub publisher: Publisher,
    pub take: watch::Receiver<bool>,
    pub stop: CancellationToken,
    pub health: watch::Sender<BrokerHealth>,
}

pub(super) struct Session<'a> {
    seams: &'a mut Seams,
    connection: Connection,
    channel: Channel,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    look: Interval,
    consumer: Consuming,
    acks: Acks,
    answers: FuturesUnordered<Answer>,
    refusals: FuturesUnordered<Pin<Box<dyn Future<Output = u64> + Send>>>,
    /// Decoded, but the planner has no room yet. While there is one, none is taken.
    waiting: Option<(Submission, Answer)>,
    /// Unanswered ones, and when to hand them over again.
    later: VecDeque<(Instant, Held)>,
    intake_closed: bool,
    stopping: bool,
}

enum Consuming {
    Idle,
    Active(Consumer),
    /// Cancelled; what the broker had sent already is still to come.
    Draining(Consumer),
}

/// What a session waits for.
enum Happening {
    Stop,
    Event(Event),
    Answer(Held, Option<Planned>),
    /// A refused message is in the dead queue.
    Confirm(u64),
    /// The planner has room again.
    Room,
    /// An unanswered message is due.
    Again,
    Delivery(Option<Result<Delivery, lapin::Error>>),
    /// To take or not to take.
    Switch,
    Look,
}

impl<'a> Session<'a> {
    /// Connects, declares or looks, and sets how many messages may be in flight.
    pub(super) async fn open(seams: &'a mut Seams) -> Result<Self, Fault> {
        let connection = connect(&seams.options).await?;
        let events = connection.events_listener().boxed();
        let channel = connection.create_channel().await?;
        topology::ensure(&channel, seams.options.declare).await?;
        channel.basic_qos(seams.options.prefetch, BasicQosOptions::default()).await?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            seams,
            connection,
            channel,
            events,
            look,
            consumer: Consuming::Idle,
            acks: Acks::default(),
            answers: FuturesUnordered::new(),
            refusals: FuturesUnordered::new(),
            waiting: None,
            later: VecDeque::new(),
            intake_closed: false,
            stopping: false,
        })
    }

    /// Consumes until stopped or something breaks.
    pub(super) async fn run(mut self) -> End {
        loop {
            match self.step().await {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(end)) => {
                    // The channel first: the broker has then handled every acknowledgement.
                    let _ = self.channel.close(200, "done".into()).await;
                    let _ = self.connection.close(200, "done".into()).await;
                    return end;
                }
                Err(fault) => return End::Fault(fault),
            }
        }
    }

    /// Waits for one thing to happen, does all that became due, acknowledges.
    async fn step(&mut self) -> Result<ControlFlow<End>, Fault> {
        self.follow_switches().await?;
        match self.happens().await {
            Happening::Stop => self.stopping = true,
            Happening::Event(event) => self.note(event)?,
            Happening::Answer(held, planned) => self.answered(held, planned),
            Happening::Confirm(tag) => self.acks.settle(tag),
            Happening::Room => {
                if let Some((submission, answer)) = self.waiting.take() {
                    self.hand_over(submission, answer);
                }
            }
            Happening::Again => {
                if let Some((_, held)) = self.later.pop_front() {
                    self.submit(held);
                }
            }
            Happening::Delivery(delivery) => self.delivered(delivery)?,
            Happening::Switch => {}
            Happening::Look => self.look()?,
        }
        while let Some(Some((held, planned))) = self.answers.next().now_or_never() {
            self.answered(held, planned);
        }
        self.acknowledge().await?;
        if self.intake_closed && !self.stopping {
            return Ok(ControlFlow::Break(End::IntakeClosed));
        }
        if self.stopping && self.answers.is_empty() && self.refusals.is_empty() {
            return Ok(ControlFlow::Break(End::Stopped));
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn happens(&mut self) -> Happening {
        let again_at = self.later.front().map(|(at, _)| *at);
        let may_take = self.waiting.is_none() && !self.stopping;
        tokio::select! {
            biased;
            () = self.seams.stop.cancelled(), if !self.stopping => Happening::Stop,
            Some(event) = self.events.next() => Happening::Event(event),
            Some((held, planned)) = self.answers.next() => Happening::Answer(held, planned),
            Some(tag) = self.refusals.next() => Happening::Confirm(tag),
            _ = self.seams.intake.submit.reserve(), if self.waiting.is_some() => Happening::Room,
            () = sleep_until(again_at.unwrap_or_else(Instant::now)), if may_take && again_at.is_some() => {
                Happening::Again
            }
            delivery = next(&mut self.consumer), if may_take => Happening::Delivery(delivery),
            Ok(()) = self.seams.take.changed() => Happening::Switch,
            _ = self.look.tick() => Happening::Look,
        }
    }

    /// Starts or cancels the consumer as the switches say.
    async fn follow_switches(&mut self) -> Result<(), Fault> {
        let take = *self.seams.take.borrow_and_update() && !self.stopping;
        if self.stopping {
            // Not handed over yet: it stays in the queue.
            self.waiting = None;
            self.later.clear();
        }
        match std::mem::replace(&mut self.consumer, Consuming::Idle) {
            Consuming::Idle if take => {
                let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
                let consuming =
                    self.channel.basic_consume(EVENTS_QUEUE.into(), "".into(), options, arguments);
                self.consumer = Consuming::Active(consuming.await?);
                self.look()?;
            }
            Consuming::Active(consumer) if !take => {
                self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
                self.consumer = Consuming::Draining(consumer);
            }
            same => self.consumer = same,
        }
        Ok(())
    }

    /// Takes a delivery, and those that are there already.
    fn delivered(&mut self, delivery: Option<Result<Delivery, lapin::Error>>) -> Result<(), Fault> {
        self.take(delivery)?;
        for _ in 1..BURST {
            if self.waiting.is_some() {
                break;
            }
            let Some(ready) = next(&mut self.consumer).now_or_never() else { break };
            self.take(ready)?;
        }
        Ok(())
    }

    fn take(&mut self, delivery: Option<Result<Delivery, lapin::Error>>) -> Result<(), Fault> {
        match delivery {
            Some(delivery) => {
                let delivery = delivery?;
                self.acks.received(delivery.delivery_tag);
                self.submit(Held::new(delivery));
                Ok(())
            }
            None if matches!(self.consumer, Consuming::Draining(_)) => {
                self.consumer = Consuming::Idle;
                self.look()
            }
            None => Err(Fault::ConsumerEnded),
        }
    }

    /// Decodes a message and hands it to the planner, or lets it wait for room.
    fn submit(&mut self, mut held: Held) {
        let payload = held.decode(self.seams.publisher.origins(), self.seams.clock.now());
        let (answer, planned) = oneshot::channel();
        let (suspect, replay) = (held.is_suspect(), held.is_replay());
        let submission = Submission { payload, suspect, replay, client: None, answer };
        self.hand_over(submission, Answer::new(held, planned));
    }

    fn hand_over(&mut self, submission: Submission, answer: Answer) {
        match self.seams.intake.submit.try_send(submission) {
            Ok(()) => self.answers.push(answer),
            Err(TrySendError::Full(submission)) => self.waiting = Some((submission, answer)),
            Err(TrySendError::Closed(_)) => self.intake_closed = true,
        }
    }

    fn answered(&mut self, held: Held, planned: Option<Planned>) {
        match planned {
            Some(Planned::Accepted { .. } | Planned::Duplicate { .. }) => self.acks.settle(held.tag()),
            Some(Planned::Refused { refusal, .. }) => {
                self.acks.hold(held.tag());
                self.refuse(held, refusal);
            }
            // The planner could not say. Not back to the queue: that would count as a delivery.
            None => {
                self.acks.hold(held.tag());
                self.later.push_back((Instant::now() + AGAIN, held.unanswered()));
            }
        }
    }

    fn refuse(&mut self, held: Held, refusal: Refusal) {
        let (publisher, now) = (self.seams.publisher.clone(), self.seams.clock.now());
        self.refusals.push(Box::pin(async move {
            held.publish_refusal(&publisher, &refusal, now).await;
            held.tag()
        }));
    }

    async fn acknowledge(&mut self) -> Result<(), Fault> {
        for ack in self.acks.due() {
            self.channel.basic_ack(ack.tag, BasicAckOptions { multiple: ack.multiple }).await?;
        }
        Ok(())
    }

    fn note(&self, event: Event) -> Result<(), Fault> {
        match event {
            Event::ConnectionBlocked(reason) => self.report(Some(reason)),
            Event::Error(error) => return Err(error.into()),
            _ => {}
        }
        Ok(())
    }

    fn look(&self) -> Result<(), Fault> {
        if !self.channel.status().connected() {
            return Err(Fault::ChannelClosed);
        }
        self.report(self.seams.publisher.blocked());
        Ok(())
    }

    fn report(&self, blocked: Option<String>) {
        let health = match (blocked, &self.consumer) {
            (Some(reason), _) => BrokerHealth::Blocked { reason },
            (None, Consuming::Active(_)) => BrokerHealth::Consuming,
            (None, _) => BrokerHealth::Paused,
        };
        self.seams.health.send_if_modified(|last| std::mem::replace(last, health.clone()) != health);
    }
}

async fn next(consumer: &mut Consuming) -> Option<Result<Delivery, lapin::Error>> {
    match consumer {
        Consuming::Idle => std::future::pending().await,
        Consuming::Active(consumer) | Consuming::Draining(consumer) => consumer.next().await,
    }
}
