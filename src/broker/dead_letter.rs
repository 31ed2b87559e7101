//! One letter of the dead queue, pure: what its headers and its body say of it, and an id that stays the same however
//! often it is looked at.

use chrono::{DateTime, Utc};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::letter::{HEADER_PREFIX, Letter, dropped_properties, moved_properties};
use super::message::{Genuine, header, read, read_genuine, text};
use super::origin::{Identity, Origin, OriginKeys, Signer};
use super::topology::EVENTS_EXCHANGE;
use crate::domain::dispatch::DeadReason;
use crate::domain::event::Reason;
use crate::domain::id::{DeadMessageId, DispatchId};
use crate::pipeline::Payload;
use crate::pipeline::dead_letters::DeadMessage;

/// A letter in hand.
pub(super) struct Held {
    pub(super) delivery: Delivery,
    pub(super) message: DeadMessage,
    /// Where it came from at first.
    pub(super) origin: Origin<'static>,
    /// Whether we put it there, which its origin proves.
    is_ours: bool,
}

/// The reasons of the broker itself.
const DEATHS: [&str; 4] = ["delivery-limit", "rejected", "expired", "maxlen"];
/// Nobody who can be believed said why it is there.
const UNKNOWN: &str = "unknown";

impl Held {
    pub(super) fn read(delivery: Delivery, keys: &OriginKeys, now: DateTime<Utc>) -> Self {
        let genuine = read_genuine(&delivery, keys, now);
        let signer = genuine.as_ref().map(|genuine| genuine.signer);
        let (origin, payload) = if let Some(Genuine { origin, payload, .. }) = genuine {
            (origin, payload)
        } else {
            let origin = dropped_origin(&delivery);
            let payload = read(&delivery, &origin, now);
            (origin, payload)
        };
        // Without an origin of ours, anybody may have written them.
        let ours = |name: &str| signer.and_then(|_| said(&delivery, &format!("{HEADER_PREFIX}{name}")));
        let at = ours("at").and_then(|at| at.parse().ok()).or_else(|| died_at(&delivery));
        let reason = ours("reason").as_deref().and_then(known_reason).or_else(|| died_of(&delivery));
        let dispatch = ours("dispatch-id").and_then(|id| id.parse::<DispatchId>().ok());
        let (project, source, source_id, kind) = match payload {
            Payload::Event(event) => (event.project, event.source, event.id, event.kind),
            Payload::Undecodable(what) => (what.project, what.source, what.id, what.kind),
        };
        let message = DeadMessage {
            id: letter_id(&delivery, at.unwrap_or(DateTime::UNIX_EPOCH)),
            project,
            source,
            source_id,
            kind,
            reason: reason.unwrap_or(UNKNOWN).to_owned(),
            detail: ours("detail"),
            field: ours("field"),
            at: at.unwrap_or(now),
            routing_key: origin.routing_key.clone().into_owned(),
            content_type: text(delivery.properties.content_type().as_ref()).map(str::to_owned),
            dispatch,
            is_of_old_key: signer == Some(Signer::Old),
            body: None,
        };
        Self { origin, is_ours: signer.is_some(), delivery, message }
    }

    /// With which it is published again, here or back among the events.
    pub(super) fn properties(&self, keys: &OriginKeys) -> BasicProperties {
        let (properties, message) = (&self.delivery.properties, &self.message);
        if self.is_ours {
            return moved_properties(properties);
        }
        let identity =
            Identity { project: &message.project, source: &message.source, id: &message.source_id };
        let letter = Letter { origin: &self.origin, identity, properties, body: &self.delivery.data };
        dropped_properties(&letter, &message.reason, message.at, keys)
    }
}

/// Of a message that the broker itself put there, as it does when one was delivered too often: the broker has seen
/// to it that `user_id` is whose it was.
fn dropped_origin(delivery: &Delivery) -> Origin<'static> {
    Origin {
        exchange: EVENTS_EXCHANGE.into(),
        routing_key: delivery.routing_key.to_string().into(),
        user_id: text(delivery.properties.user_id().as_ref()).map(|user| user.to_owned().into()),
    }
}

/// Only what we say ourselves: it becomes the label of a metric.
fn known_reason(said: &str) -> Option<&'static str> {
    let refused = Reason::ALL.into_iter().map(Reason::name);
    let dead = DeadReason::ALL.into_iter().map(DeadReason::name);
    refused.chain(dead).chain(DEATHS).find(|known| *known == said)
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

/// Why the broker itself put it there.
fn died_of(delivery: &Delivery) -> Option<&'static str> {
    let AMQPValue::LongString(said) = first_death(delivery)?.inner().get("reason")? else { return None };
    let said = std::str::from_utf8(said.as_bytes()).ok()?;
    DEATHS
        .into_iter()
        .find(|known| known.bytes().eq(said.bytes().map(|octet| if octet == b'_' { b'-' } else { octet })))
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

#[cfg(test)]
mod tests {
    use lapin::types::{FieldArray, ShortString};

    use super::*;
    use crate::domain::event::Refusal;

    const KEY: &str = "acme.account.signed-in";

    fn keys() -> OriginKeys {
        OriginKeys::new([1; 32], vec![])
    }

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    fn died(reason: &str) -> AMQPValue {
        let mut death = FieldTable::default();
        death.insert("reason".into(), long(reason));
        death.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
        AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(death)]))
    }

    fn headers(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut headers = FieldTable::default();
        for (name, value) in entries {
            headers.insert((*name).into(), value.clone());
        }
        headers
    }

    fn delivery(properties: BasicProperties) -> Delivery {
        let key = ShortString::from(KEY);
        let mut delivery = Delivery::mock(1, "signalpost.dead".into(), key, false, b"{}".to_vec());
        delivery.properties = properties.with_message_id("1".into());
        delivery
    }

    fn held(properties: BasicProperties) -> Held {
        Held::read(delivery(properties), &keys(), DateTime::from_timestamp(1_800_000_000, 0).unwrap())
    }

    #[test]
    fn what_headers_say_without_an_origin_of_ours_is_not_believed() {
        let origin = r#"{"exchange":"signalpost.events","routing_key":"acme.account.deleted","mac":"AAAA"}"#;
        let forged = [
            ("x-signalpost-reason", long("poison")),
            ("x-signalpost-detail", long("call +1 555 0100")),
            ("x-signalpost-field", long("member")),
            ("x-signalpost-at", long("2001-01-01T00:00:00Z")),
            ("x-signalpost-dispatch-id", long("dsp_00000000000000000000000000000001")),
            ("x-signalpost-origin", long(origin)),
        ];
        let message = held(BasicProperties::default().with_headers(headers(&forged))).message;
        assert_eq!((message.reason.as_str(), message.detail, message.field), ("unknown", None, None));
        assert_eq!((message.at.timestamp(), message.dispatch), (1_800_000_000, None));
        assert_eq!(message.routing_key, KEY);
    }

    #[test]
    fn what_the_broker_says_is_a_reason_if_it_is_one_of_its_own() {
        let of = |reason: &str| {
            let message =
                held(BasicProperties::default().with_headers(headers(&[("x-death", died(reason))]))).message;
            (message.reason, message.at.timestamp())
        };
        assert_eq!(of("delivery_limit"), ("delivery-limit".to_owned(), 1_700_000_000));
        assert_eq!(of("maxlen"), ("maxlen".to_owned(), 1_700_000_000));
        assert_eq!(of("any text at all").0, "unknown");
    }

    #[test]
    fn an_id_stays_the_same_where_nobody_says_when_it_was() {
        let later = DateTime::from_timestamp(1_900_000_000, 0).unwrap();
        let again = Held::read(delivery(BasicProperties::default()), &keys(), later);
        assert_eq!(held(BasicProperties::default()).message.id, again.message.id);
    }

    #[test]
    fn a_reason_that_nobody_gives_is_unknown_even_with_a_genuine_origin() {
        let origin = Origin { exchange: EVENTS_EXCHANGE.into(), routing_key: KEY.into(), user_id: None };
        let identity = Identity { project: "acme", source: "amqp", id: "1" };
        let properties = BasicProperties::default();
        let letter = Letter { origin: &origin, identity, properties: &properties, body: b"{}" };
        let refusal = Refusal::new(Reason::UnknownMember, "there is no such member");
        let told = super::super::letter::refused_properties(&letter, &refusal, DateTime::UNIX_EPOCH, &keys());
        assert_eq!(held(told.clone()).message.reason, "unknown-member");
        let mut changed = told.headers().clone().unwrap();
        changed.insert("x-signalpost-reason".into(), long("label-1"));
        assert_eq!(held(told.with_headers(changed)).message.reason, "unknown");
    }

    #[test]
    fn a_letter_that_the_broker_put_there_is_moved_without_its_user_and_keeps_its_source() {
        let entries =
            [("x-death", died("delivery_limit")), ("x-delivery-count", AMQPValue::LongLongInt(5000))];
        let properties = BasicProperties::default()
            .with_user_id("alice".into())
            .with_expiration("1000".into())
            .with_headers(headers(&entries));
        let before = held(properties);
        assert_eq!(before.message.source, "alice");
        let moved = before.properties(&keys());
        assert!(moved.user_id().is_none() && moved.expiration().is_none());
        assert!(!moved.headers().as_ref().unwrap().contains_key("x-delivery-count"));
        let after = held(moved);
        assert!(after.is_ours);
        let told = |held: &Held| {
            let DeadMessage { source, source_id, reason, at, .. } = held.message.clone();
            (source, source_id, reason, at, held.origin.clone())
        };
        assert_eq!(told(&after), told(&before));
    }
}
