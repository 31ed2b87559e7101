//! What a dead letter looks like, pure: a refused message as it came, or the copy of a dead dispatch's event, with
//! headers that say why.

use chrono::{DateTime, SecondsFormat, Utc};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::json;

use super::origin::{Identity, Origin, OriginKeys};
use super::topology::EVENTS_EXCHANGE;
use crate::domain::event::Refusal;
use crate::domain::id::DispatchId;
use crate::pipeline::dead_letters::DeadCopy;
use crate::pipeline::decode::STRUCTURED;

/// Start of the headers that say why a message is a dead letter.
pub(super) const HEADER_PREFIX: &str = "x-signalpost-";
/// What those headers are called after the prefix, and what they say.
pub(super) const SAID: [(&str, &str); 6] = [
    ("reason", "Why it was refused, or why the dispatch is dead"),
    ("detail", "The same as a sentence"),
    ("field", "The field that is wrong"),
    ("at", "When, RFC 3339"),
    ("dispatch-id", "Of a copy: the dispatch that is dead"),
    (
        "origin",
        "Exchange and routing key that it came by, with a MAC: what is moved back with it is a replay",
    ),
];
/// The dispatch whose event it is a copy of.
pub(super) const DISPATCH_HEADER: &str = "x-signalpost-dispatch-id";
/// Where it came from, proven.
pub(super) const ORIGIN_HEADER: &str = "x-signalpost-origin";
/// Written by the queue that delivers; means nothing in another.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// Octets of original headers above which a dead letter goes without them: with ours, they must fit one frame of
/// 128 KiB, or the broker closes the connection over it each time.
const MAX_HEADERS: usize = 96 * 1024;
/// A message as it came.
#[derive(Clone, Copy)]
pub struct Letter<'a> {
    pub origin: &'a Origin<'a>,
    pub identity: Identity<'a>,
    pub properties: &'a BasicProperties,
    pub body: &'a [u8],
}

/// The properties as they came, but for what would keep the message from getting there or staying.
pub(super) fn refused_properties(
    letter: &Letter<'_>,
    refusal: &Refusal,
    at: DateTime<Utc>,
    keys: &OriginKeys,
) -> BasicProperties {
    let original = letter.properties;
    let mut headers = FieldTable::default();
    let all = original.headers().iter().flat_map(FieldTable::inner);
    let fit = original.headers().as_ref().map_or(0, table_size) <= MAX_HEADERS;
    for (name, value) in all.filter(|_| fit) {
        let is_ours = name.as_str().starts_with(HEADER_PREFIX) || name.as_str() == DELIVERY_COUNT;
        if !is_ours {
            headers.insert(name.clone(), value.clone());
        }
    }
    let origin = keys.sign(letter.origin, letter.identity, letter.body);
    let why = Why {
        reason: refusal.reason.name(),
        detail: Some(&refusal.detail),
        field: refusal.field.as_deref(),
        at,
        dispatch: None,
    };
    say(&mut headers, &why, &origin);
    kept_properties(original).with_headers(headers)
}

/// What the headers of a dead letter say.
struct Why<'a> {
    reason: &'a str,
    detail: Option<&'a str>,
    field: Option<&'a str>,
    at: DateTime<Utc>,
    dispatch: Option<DispatchId>,
}

fn say(headers: &mut FieldTable, why: &Why<'_>, origin: &str) {
    let at = why.at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let dispatch = why.dispatch.map(|id| id.to_string());
    let texts =
        [Some(why.reason), why.detail, why.field, Some(at.as_str()), dispatch.as_deref(), Some(origin)];
    for ((name, _), text) in SAID.into_iter().zip(texts) {
        if let Some(text) = text {
            let name = ShortString::from(format!("{HEADER_PREFIX}{name}"));
            headers.insert(name, AMQPValue::LongString(text.into()));
        }
    }
}

/// The copy of a dead dispatch's event, structured, whatever it came as, since that says all of it.
pub(super) struct CopyLetter {
    /// PROJECT.TYPE, in full: a routing key of the broker may be too short for it.
    pub(super) origin: Origin<'static>,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
}

impl CopyLetter {
    pub(super) fn new(copy: &DeadCopy, at: DateTime<Utc>, keys: &OriginKeys) -> Self {
        let event = &copy.event;
        let mut body = json!({
            "specversion": "1.0", "id": event.id, "source": event.source, "type": event.kind,
            "time": event.time, "project": event.project, "data": event.data,
        });
        if let Some(traceparent) = &event.traceparent {
            body["traceparent"] = traceparent.as_str().into();
        }
        let body = body.to_string().into_bytes();
        let routing_key = format!("{}.{}", event.project, event.kind).into();
        let origin = Origin { exchange: EVENTS_EXCHANGE.into(), routing_key, user_id: None };
        let identity = Identity { project: &event.project, source: &event.source, id: &event.id };
        let why = Why {
            reason: &copy.reason,
            detail: copy.detail.as_deref(),
            field: None,
            at,
            dispatch: Some(copy.dispatch),
        };
        let mut headers = FieldTable::default();
        say(&mut headers, &why, &keys.sign(&origin, identity, &body));
        let properties =
            BasicProperties::default().with_content_type(STRUCTURED.into()).with_headers(headers);
        let properties = match ShortString::try_new(event.id.clone()) {
            Ok(id) => properties.with_message_id(id),
            Err(_) => properties,
        };
        Self { origin, properties, body }
    }
}

type With = fn(BasicProperties, ShortString) -> BasicProperties;

/// All but the headers and three: `user_id`, which the broker takes only from that user (it is in the origin);
/// `expiration`, which would empty the dead queue; and a reply address that is only good on the first channel.
fn kept_properties(original: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    let texts: [(&Option<ShortString>, With); 7] = [
        (original.content_type(), BasicProperties::with_content_type),
        (original.content_encoding(), BasicProperties::with_content_encoding),
        (original.correlation_id(), BasicProperties::with_correlation_id),
        (original.message_id(), BasicProperties::with_message_id),
        (original.kind(), BasicProperties::with_type),
        (original.app_id(), BasicProperties::with_app_id),
        (original.cluster_id(), BasicProperties::with_cluster_id),
    ];
    for (text, with) in texts {
        if let Some(text) = text {
            kept = with(kept, text.clone());
        }
    }
    if let Some(priority) = *original.priority() {
        kept = kept.with_priority(priority);
    }
    if let Some(timestamp) = *original.timestamp() {
        kept = kept.with_timestamp(timestamp);
    }
    match original.reply_to() {
        Some(reply_to) if !reply_to.as_str().starts_with("amq.") => kept.with_reply_to(reply_to.clone()),
        _ => kept,
    }
}

/// About how many octets a header table takes.
fn table_size(table: &FieldTable) -> usize {
    table.inner().iter().map(|(name, value)| name.as_str().len() + 2 + value_size(value)).sum()
}

fn value_size(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldTable(table) => 4 + table_size(table),
        AMQPValue::FieldArray(items) => {
            4 + items.as_slice().iter().map(|item| 1 + value_size(item)).sum::<usize>()
        }
        // Numbers, flags and times take 8 at most.
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Reason;

    fn refused(original: &BasicProperties) -> BasicProperties {
        let origin = Origin { exchange: "e".into(), routing_key: "acme.x".into(), user_id: None };
        let identity = Identity { project: "acme", source: "amqp", id: "1" };
        let letter = Letter { origin: &origin, identity, properties: original, body: b"" };
        let refusal = Refusal::new(Reason::UnknownMember, "there is no such member");
        refused_properties(&letter, &refusal, DateTime::UNIX_EPOCH, &OriginKeys::new([0; 32], vec![]))
    }

    fn names(properties: &BasicProperties) -> Vec<String> {
        properties.headers().as_ref().unwrap().inner().keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_would_keep_it_from_staying_is_left_out() {
        let mut headers = FieldTable::default();
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(9));
        headers.insert("x-signalpost-field".into(), AMQPValue::LongString("old".into()));
        headers.insert("mine".into(), AMQPValue::Boolean(true));
        let original = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("1".into())
            .with_user_id("alice".into())
            .with_expiration("1000".into())
            .with_reply_to("amq.rabbitmq.reply-to.g1".into());
        let letter = refused(&original);
        let ours = ["at", "detail", "origin", "reason"].map(|name| format!("x-signalpost-{name}"));
        assert_eq!(names(&letter), [&["mine".to_owned()], &ours[..]].concat());
        assert_eq!(letter.message_id(), original.message_id());
        assert!(letter.user_id().is_none() && letter.expiration().is_none() && letter.reply_to().is_none());
    }

    #[test]
    fn headers_that_would_not_fit_a_frame_are_left_out() {
        let mut headers = FieldTable::default();
        headers.insert("long".into(), AMQPValue::LongString("x".repeat(MAX_HEADERS).into()));
        let letter = refused(&BasicProperties::default().with_headers(headers));
        assert!(!names(&letter).contains(&"long".to_owned()));
    }
}
