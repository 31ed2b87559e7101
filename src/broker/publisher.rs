//! The only place that publishes: persistent, mandatory but for notices, its confirm read, on a connection of its own, since
//! the broker stops reading from one that publishes while its memory or disk is short. Knows nothing of planning.
//!
//! lapin logs a returned message with its body (target `lapin::returned_messages`); telemetry filters that off.

use std::pin::Pin;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, Retryable};
use chrono::{DateTime, Utc};
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, Event};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection::{ConnectError, Options, backoff, connect};
use super::letter::{CopyLetter, Letter, refused_properties};
use super::origin::OriginKeys;
use super::topology::{self, DEAD_EXCHANGE, EVENTS_EXCHANGE, NOTICES_EXCHANGE, TopologyError};
use crate::domain::event::Refusal;
use crate::pipeline::dead_letters::DeadCopy;
use crate::pipeline::decode::STRUCTURED;

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;
/// How often, and how long at most, `publish` tries.
const EVENT_TRIES: usize = 5;
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes. Connects when it is first needed, and anew after a fault. Clones share one connection.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    options: Options,
    origins: OriginKeys,
    state: Mutex<Line>,
    blocked: StdMutex<Option<Arc<Link>>>,
}

/// Behind one lock, so that a thousand waiting refusals make one attempt to connect and not a thousand.
#[derive(Default)]
struct Line {
    link: Option<Arc<Link>>,
    /// After a fault: the waits to come, and when the next attempt may be made.
    backoff: Option<ExponentialBackoff>,
    not_before: Option<Instant>,
}

/// Whoever still waits for a confirm holds it, so replacing it loses nothing.
struct Link {
    connection: Connection,
    channel: Channel,
    events: StdMutex<Pin<Box<dyn Stream<Item = Event> + Send>>>,
    reason: StdMutex<Option<String>>,
}

/// Why a message is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the broker failed: {0}")]
    Broker(#[from] lapin::Error),
    #[error("no queue takes it: {0}")]
    Returned(String),
    #[error("the broker would not keep it (the queue is full, or has no leader)")]
    Nacked,
    #[error("the broker did not confirm it within 30 s")]
    TimedOut,
    #[error("the project and type together are longer than 255 octets")]
    KeyTooLong,
}

struct Outgoing<'a> {
    exchange: &'static str,
    routing_key: ShortString,
    properties: BasicProperties,
    body: &'a [u8],
    /// Whether it must reach a queue.
    mandatory: bool,
}

impl Publisher {
    pub fn new(options: Options, origins: OriginKeys) -> Self {
        Self(Arc::new(Inner { options, origins, state: Mutex::default(), blocked: StdMutex::default() }))
    }

    pub fn origins(&self) -> &OriginKeys {
        &self.0.origins
    }

    /// Puts a refused message into `signalpost.dead`. Returns once it is truly there; until then it tries again,
    /// so the caller bounds it by dropping it. A time-out here would only make a second copy: while the broker's
    /// memory is short it takes the message and confirms it later.
    pub async fn publish_refusal(&self, letter: &Letter<'_>, refusal: &Refusal, at: DateTime<Utc>) {
        let message = Outgoing {
            exchange: DEAD_EXCHANGE,
            routing_key: cut_short(&letter.origin.routing_key),
            properties: refused_properties(letter, refusal, at, &self.0.origins),
            body: letter.body,
            mandatory: true,
        };
        let publish = || self.publish(&message);
        let again = |error: &PublishError, wait: Duration| {
            let (reason, queue) = (refusal.reason.name(), topology::DEAD_QUEUE);
            tracing::warn!(%error, reason, queue, ?wait, "a refused message waits to be put aside");
        };
        // Without a limit of tries it ends only in success.
        let _ = publish.retry(backoff()).notify(again).await;
    }

    /// Publishes one structured event under PROJECT.TYPE, for the `publish` command.
    pub async fn publish_event(&self, project: &str, kind: &str, event: &Value) -> Result<(), PublishError> {
        let body = event.to_string();
        let id = event.get("id").and_then(Value::as_str).and_then(short);
        let properties = BasicProperties::default().with_content_type(STRUCTURED.into());
        let message = Outgoing {
            exchange: EVENTS_EXCHANGE,
            routing_key: short(&format!("{project}.{kind}")).ok_or(PublishError::KeyTooLong)?,
            properties: match id {
                Some(id) => properties.with_message_id(id),
                None => properties,
            },
            body: body.as_bytes(),
            mandatory: true,
        };
        self.publish_soon(&message).await
    }

    /// Puts the copy of a dead dispatch's event into `signalpost.dead`.
    pub async fn publish_copy(&self, copy: &DeadCopy, at: DateTime<Utc>) -> Result<(), PublishError> {
        let CopyLetter { origin, properties, body } = CopyLetter::new(copy, at, &self.0.origins);
        let routing_key = cut_short(&origin.routing_key);
        let message =
            Outgoing { exchange: DEAD_EXCHANGE, routing_key, properties, body: &body, mandatory: true };
        self.publish_soon(&message).await
    }

    /// Puts a letter of the dead queue elsewhere as it is: back to the events, or to the end of the dead queue.
    pub(super) async fn publish_letter(
        &self,
        exchange: &'static str,
        routing_key: &str,
        (properties, body): (&BasicProperties, &[u8]),
    ) -> Result<(), PublishError> {
        let (routing_key, properties) = (cut_short(routing_key), properties.clone());
        self.publish_soon(&Outgoing { exchange, routing_key, properties, body, mandatory: true }).await
    }

    /// Tells whoever listens, if anybody does, what Signalpost itself did.
    pub async fn publish_notice(&self, project: &str, kind: &str, event: &Value) -> Result<(), PublishError> {
        let (body, routing_key) = (event.to_string(), cut_short(&format!("{project}.{kind}")));
        let properties = BasicProperties::default().with_content_type(STRUCTURED.into());
        let (exchange, body) = (NOTICES_EXCHANGE, body.as_bytes());
        self.publish_soon(&Outgoing { exchange, routing_key, properties, body, mandatory: false }).await
    }

    /// Tries some times, for so long at most.
    async fn publish_soon(&self, message: &Outgoing<'_>) -> Result<(), PublishError> {
        let publish = || self.publish(message);
        let trying = publish.retry(backoff().with_max_times(EVENT_TRIES));
        timeout(EVENT_TIMEOUT, trying).await.unwrap_or(Err(PublishError::TimedOut))
    }

    /// Why the broker takes nothing at the moment, if it said so.
    pub fn blocked(&self) -> Option<String> {
        let link = self.0.blocked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        link.and_then(|link| link.blocked())
    }

    /// Closes the connection. A later publish makes a new one.
    pub async fn close(&self) {
        let link = self.0.state.lock().await.link.take();
        self.0.blocked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(link) = link {
            let _ = link.connection.close(200, "done".into()).await;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one home of the call")]
    async fn publish(&self, message: &Outgoing<'_>) -> Result<(), PublishError> {
        let link = self.link().await?;
        let options = BasicPublishOptions { mandatory: message.mandatory, ..Default::default() };
        let (exchange, key) = (message.exchange.into(), message.routing_key.clone());
        let properties = message.properties.clone().with_delivery_mode(PERSISTENT);
        let published = link.channel.basic_publish(exchange, key, options, message.body, properties).await;
        let confirmed = match published {
            Ok(confirm) => confirm.await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(Confirmation::Ack(None)) => Ok(()),
            // An Ack alone is no proof of a route: the message that came back is inside.
            Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned))) => {
                // Declared anew with the next connection.
                self.discard(&link).await;
                Err(PublishError::Returned(returned.reply_text.to_string()))
            }
            Ok(Confirmation::Nack(None) | Confirmation::NotRequested) => Err(PublishError::Nacked),
            Err(error) => {
                self.discard(&link).await;
                Err(error.into())
            }
        }
    }

    async fn link(&self) -> Result<Arc<Link>, PublishError> {
        let mut state = self.0.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| link.is_usable()) {
            return Ok(Arc::clone(link));
        }
        if let Some(at) = state.not_before {
            sleep_until(at).await;
        }
        match Link::open(&self.0.options).await {
            Ok(link) => {
                let link = Arc::new(link);
                *state = Line { link: Some(Arc::clone(&link)), ..Line::default() };
                *self.0.blocked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
                Ok(link)
            }
            Err(error) => {
                let wait = state.backoff.get_or_insert_with(|| backoff().build()).next();
                state.not_before = wait.map(|wait| Instant::now() + wait);
                state.link = None;
                Err(error)
            }
        }
    }

    /// Takes a link out of use, unless another has taken its place.
    async fn discard(&self, link: &Arc<Link>) {
        let mut state = self.0.state.lock().await;
        if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            state.link = None;
        }
    }
}

impl Link {
    async fn open(options: &Options) -> Result<Self, PublishError> {
        let connection = connect(options).await?;
        let events = StdMutex::new(connection.events_listener().boxed());
        let channel = connection.create_channel().await?;
        topology::ensure(&channel, options.declare).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel, events, reason: StdMutex::default() })
    }

    fn is_usable(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    fn blocked(&self) -> Option<String> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Some(event)) = events.next().now_or_never() {
            match event {
                Event::ConnectionBlocked(said) => *reason = Some(said),
                Event::ConnectionUnblocked => *reason = None,
                _ => {}
            }
        }
        reason.clone().filter(|_| self.is_usable())
    }
}

/// As much of a routing key as the broker takes; where all of it is needed, it is in the origin or the body.
fn cut_short(text: &str) -> ShortString {
    short(&text[..text.floor_char_boundary(usize::from(u8::MAX))]).unwrap_or_default()
}

fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text.to_owned()).ok()
}
