//! One delivery between the broker and the planner: read as what it is, kept until it is answered, put aside if it is
//! refused.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use chrono::{DateTime, SecondsFormat, Utc};
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::oneshot;

use super::letter::{Letter, ORIGIN_HEADER};
use super::origin::{Identity, Origin, OriginKeys};
use super::publisher::Publisher;
use super::screen;
use crate::domain::event::{Incoming, Planned, Refusal};
use crate::pipeline::Payload;
use crate::pipeline::decode::{RawMessage, Undecodable, decode_amqp};

/// Set by a quorum queue from the second delivery on.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// From so many failed deliveries on, a message is suspected of taking workers down.
const SUSPECT: i64 = 3;

/// A delivery that is not acknowledged yet.
pub(super) struct Held {
    delivery: Delivery,
    /// Where it came from at first, if it is a genuine replay.
    replayed: Option<Origin<'static>>,
    /// How often it came back, and how often the planner left it unanswered.
    failures: i64,
}

impl Held {
    pub(super) fn new(delivery: Delivery) -> Self {
        let failures = delivery_count(&delivery);
        Self { delivery, replayed: None, failures }
    }

    pub(super) fn tag(&self) -> u64 {
        self.delivery.delivery_tag
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.failures >= SUSPECT
    }

    pub(super) fn is_replay(&self) -> bool {
        self.replayed.is_some()
    }

    #[must_use]
    pub(super) fn unanswered(mut self) -> Self {
        self.failures += 1;
        self
    }

    /// What it says, as of where it came from at first.
    pub(super) fn decode(&mut self, keys: &OriginKeys, now: DateTime<Utc>) -> Payload {
        if let Some((origin, payload)) = read_genuine(&self.delivery, keys, now) {
            self.replayed = Some(origin);
            return payload;
        }
        read(&self.delivery, &self.origin(), now)
    }

    /// Puts it into the dead queue; returns once it is there.
    pub(super) async fn publish_refusal(&self, publisher: &Publisher, refusal: &Refusal, at: DateTime<Utc>) {
        let origin = self.origin();
        let payload = read(&self.delivery, &origin, at);
        let identity = identity(&payload);
        let (properties, body) = (&self.delivery.properties, self.delivery.data.as_slice());
        let letter = Letter { origin: &origin, identity, properties, body };
        publisher.publish_refusal(&letter, refusal, at).await;
    }

    fn origin(&self) -> Origin<'_> {
        match &self.replayed {
            Some(origin) => origin.clone(),
            None => Origin {
                exchange: self.delivery.exchange.as_str().into(),
                routing_key: self.delivery.routing_key.as_str().into(),
                user_id: text(self.delivery.properties.user_id().as_ref()).map(Cow::from),
            },
        }
    }
}

/// What a delivery says and where it came from at first, if we put it into the dead queue.
pub(super) fn read_genuine(
    delivery: &Delivery,
    keys: &OriginKeys,
    now: DateTime<Utc>,
) -> Option<(Origin<'static>, Payload)> {
    let AMQPValue::LongString(text) = header(delivery, ORIGIN_HEADER)? else { return None };
    let signed = OriginKeys::read(std::str::from_utf8(text.as_bytes()).ok()?)?;
    let payload = read(delivery, &signed.0, now);
    keys.is_genuine(&signed, identity(&payload), &delivery.data).then_some((signed.0, payload))
}

/// What a delivery says, as of where it came from.
pub(super) fn read(delivery: &Delivery, origin: &Origin<'_>, now: DateTime<Utc>) -> Payload {
    let properties = &delivery.properties;
    let headers = properties.headers().as_ref().map(texts).unwrap_or_default();
    let raw = RawMessage {
        routing_key: &origin.routing_key,
        content_type: text(properties.content_type().as_ref()),
        headers: &headers,
        message_id: text(properties.message_id().as_ref()),
        kind: text(properties.kind().as_ref()),
        app_id: text(properties.app_id().as_ref()),
        user_id: origin.user_id.as_deref(),
        timestamp: *properties.timestamp(),
        body: &delivery.data,
    };
    match (decode_amqp(&raw, now), screen::refusal(properties)) {
        (Ok(incoming), None) => Payload::Event(incoming),
        (Err(undecodable), None) => Payload::Undecodable(undecodable),
        (Err(undecodable), Some(refusal)) => Payload::Undecodable(Undecodable { refusal, ..undecodable }),
        (Ok(Incoming { project, source, id, kind, .. }), Some(refusal)) => {
            Payload::Undecodable(Undecodable { refusal, project, source, id, kind })
        }
    }
}

/// How often the broker has delivered it before, in vain.
pub(super) fn delivery_count(delivery: &Delivery) -> i64 {
    let count = header(delivery, DELIVERY_COUNT).and_then(AMQPValue::as_long_long_int).unwrap_or(0);
    // On a first delivery the header is left over from another queue.
    if delivery.redelivered { count } else { 0 }
}

/// The planner's answer to come; `None` if it was dropped.
pub(super) struct Answer {
    held: Option<Held>,
    planned: oneshot::Receiver<Planned>,
}

impl Answer {
    pub(super) fn new(held: Held, planned: oneshot::Receiver<Planned>) -> Self {
        Self { held: Some(held), planned }
    }
}

impl Future for Answer {
    type Output = (Held, Option<Planned>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let planned = ready!(Pin::new(&mut self.planned).poll(context)).ok();
        // Taken once: a future that is ready is not polled again.
        self.held.take().map_or(Poll::Pending, |held| Poll::Ready((held, planned)))
    }
}

pub(super) fn identity(payload: &Payload) -> Identity<'_> {
    match payload {
        Payload::Event(event) => Identity { project: &event.project, source: &event.source, id: &event.id },
        Payload::Undecodable(what) => Identity { project: &what.project, source: &what.source, id: &what.id },
    }
}

pub(super) fn text(property: Option<&ShortString>) -> Option<&str> {
    property.map(ShortString::as_str)
}

pub(super) fn header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name)
}

/// The headers that an event can have; all others are ignored, and cost nothing.
fn texts(headers: &FieldTable) -> Vec<(String, Option<String>)> {
    let meant = |name: &str| name.starts_with("cloudEvents") || name == "traceparent";
    let headers = headers.inner().iter().filter(|(name, _)| meant(name.as_str()));
    headers.map(|(name, value)| (name.to_string(), scalar(value))).collect()
}

fn scalar(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?.to_owned(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(flag) => flag.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Timestamp(at) => {
            let time = DateTime::from_timestamp(i64::try_from(*at).ok()?, 0)?;
            time.to_rfc3339_opts(SecondsFormat::Secs, true)
        }
        _ => return None,
    })
}
