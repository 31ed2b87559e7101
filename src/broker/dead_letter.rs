//! One letter of the dead queue, pure: what its headers and its body say of it, and an id that stays the same however
//! often it is looked at.

use chrono::{DateTime, Utc};
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::letter::{DISPATCH_HEADER, HEADER_PREFIX};
use super::message::{header, read, read_genuine, text};
use super::origin::{Origin, OriginKeys};
use super::topology::EVENTS_EXCHANGE;
use crate::domain::id::{DeadMessageId, DispatchId};
use crate::pipeline::Payload;
use crate::pipeline::dead_letters::DeadMessage;

/// A letter in hand.
pub(super) struct Held {
    pub(super) delivery: Delivery,
    pub(super) message: DeadMessage,
    /// Under which it was published at first.
    pub(super) routing_key: String,
}

impl Held {
    pub(super) fn read(delivery: Delivery, keys: &OriginKeys, now: DateTime<Utc>) -> Self {
        let genuine = read_genuine(&delivery, keys, now);
        let is_genuine = genuine.is_some();
        let (origin, payload) = genuine.unwrap_or_else(|| {
            // As the broker puts messages there that were delivered too often.
            let routing_key = delivery.routing_key.to_string().into();
            let origin = Origin { exchange: EVENTS_EXCHANGE.into(), routing_key, user_id: None };
            let payload = read(&delivery, &origin, now);
            (origin, payload)
        });
        let ours = |name: &str| said(&delivery, &format!("{HEADER_PREFIX}{name}"));
        let at = ours("at").and_then(|at| at.parse().ok()).or_else(|| died_at(&delivery)).unwrap_or(now);
        let (project, source, source_id, kind) = match payload {
            Payload::Event(event) => (event.project, event.source, event.id, event.kind),
            Payload::Undecodable(what) => (what.project, what.source, what.id, what.kind),
        };
        let dispatch = said(&delivery, DISPATCH_HEADER).and_then(|id| id.parse::<DispatchId>().ok());
        let message = DeadMessage {
            id: letter_id(&delivery, at),
            project,
            source,
            source_id,
            kind,
            reason: ours("reason").or_else(|| died_of(&delivery)).unwrap_or_else(|| "unexplained".to_owned()),
            detail: ours("detail"),
            field: ours("field"),
            at,
            routing_key: origin.routing_key.clone().into_owned(),
            content_type: text(delivery.properties.content_type().as_ref()).map(str::to_owned),
            dispatch: dispatch.filter(|_| is_genuine),
            body: None,
        };
        Self { routing_key: origin.routing_key.into_owned(), delivery, message }
    }
}

/// The time of the refusal, then a hash over what tells the letter from others; the same whenever it is looked at.
fn letter_id(delivery: &Delivery, at: DateTime<Utc>) -> DeadMessageId {
    let mut hash = Sha256::new();
    let names = ["at", "reason", "dispatch-id", "origin"];
    let said = names.map(|name| said(delivery, &format!("{HEADER_PREFIX}{name}")).unwrap_or_default());
    let id = text(delivery.properties.message_id().as_ref()).unwrap_or_default();
    let key = delivery.routing_key.as_str();
    for part in
        said.iter().map(String::as_str).chain([id, key]).map(str::as_bytes).chain([delivery.data.as_slice()])
    {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    let milliseconds = at.timestamp_millis().to_be_bytes();
    bytes[..6].copy_from_slice(&milliseconds[2..]);
    bytes[6..].copy_from_slice(&hash.finalize()[..10]);
    DeadMessageId(Uuid::from_bytes(bytes))
}

fn said(delivery: &Delivery, name: &str) -> Option<String> {
    match header(delivery, name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        _ => None,
    }
}

/// Why the broker itself put it there, in its word: `delivery_limit`.
fn died_of(delivery: &Delivery) -> Option<String> {
    match first_death(delivery)?.inner().get("reason")? {
        AMQPValue::LongString(text) => Some(text.to_string().replace('_', "-")),
        _ => None,
    }
}

fn died_at(delivery: &Delivery) -> Option<DateTime<Utc>> {
    match first_death(delivery)?.inner().get("time")? {
        AMQPValue::Timestamp(at) => DateTime::from_timestamp(i64::try_from(*at).ok()?, 0),
        _ => None,
    }
}

fn first_death(delivery: &Delivery) -> Option<&FieldTable> {
    let AMQPValue::FieldArray(deaths) = header(delivery, "x-death")? else { return None };
    match deaths.as_slice().first()? {
        AMQPValue::FieldTable(death) => Some(death),
        _ => None,
    }
}
