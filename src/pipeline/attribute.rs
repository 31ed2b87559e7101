//! One attribute of an event at a time, pure: how it is written, how long it may be. Does not know where it stands
//! in a message.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::json::NUL;
use crate::domain::event::{MAX_ATTRIBUTE, Refusal};

/// The longest slug of a project, in characters.
const MAX_SLUG: usize = 63;

/// An attribute: absent, a text, or not even that.
pub(super) type Attribute<'a> = Result<Option<Cow<'a, str>>, Refusal>;

/// The project and the full type that a routing key names.
pub(super) fn split_routing_key(key: &str) -> (Result<&str, Refusal>, Result<Cow<'_, str>, Refusal>) {
    let wrong = || Refusal::invalid("routing_key", "is not PROJECT.TYPE");
    let Some((project, kind)) = key.split_once('.').filter(|(_, kind)| !kind.is_empty()) else {
        return (Err(wrong()), Err(wrong()));
    };
    let slug = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_slug = (1..=MAX_SLUG).contains(&project.len()) && project.bytes().all(slug);
    let project = if is_slug { Ok(project) } else { Err(wrong()) };
    (project, checked("type", kind).map(|()| full_type(kind).into()))
}

/// A type without a dot is one of accounts.
pub fn full_type(kind: &str) -> String {
    if kind.contains('.') { kind.to_owned() } else { format!("account.{kind}") }
}

pub(super) fn checked(field: &str, text: &str) -> Result<(), Refusal> {
    match text {
        "" => Err(Refusal::invalid(field, "is empty")),
        _ if text.len() > MAX_ATTRIBUTE => Err(Refusal::invalid(field, "is longer than 255 octets")),
        _ if text.contains('\0') => Err(Refusal::invalid(field, NUL)),
        _ => Ok(()),
    }
}

pub(super) fn required(field: &'static str) -> impl Fn(Option<Cow<'_, str>>) -> Result<String, Refusal> {
    move |text| {
        let text = text.ok_or_else(|| Refusal::invalid(field, "is missing"))?;
        checked(field, &text).map(|()| text.into_owned())
    }
}

pub(super) fn check_specversion(said: Attribute<'_>) -> Result<(), Refusal> {
    match said?.as_deref() {
        Some("1.0") => Ok(()),
        Some(_) => Err(Refusal::invalid("specversion", "is not 1.0")),
        None => Err(Refusal::invalid("specversion", "is missing")),
    }
}

pub(super) fn rfc3339(text: &str) -> Result<DateTime<Utc>, Refusal> {
    let time = DateTime::parse_from_rfc3339(text).ok();
    // By way of microseconds: what both databases keep, and a leap second becomes the next one.
    let time = time.and_then(|time| DateTime::from_timestamp_micros(time.timestamp_micros()));
    time.ok_or_else(|| Refusal::invalid("time", "is not a time of RFC 3339, such as 2026-01-31T12:00:00Z"))
}

pub(super) fn is_traceparent(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    let hex = |c: u8| c == b'-' || c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    lengths.eq([2, 32, 16, 2]) && text.bytes().all(hex)
}

/// A header of HTTP as the HTTP binding of CloudEvents has it: out of its quotes (RFC 7230 section 3.2.6), then one
/// round of percent-decoding.
pub(super) fn header_text(text: &str) -> Result<Cow<'_, str>, ()> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        None => percent_decoded(text),
        Some(quoted) => percent_decoded(&unescaped(quoted)).map(|text| text.into_owned().into()),
    }
}

/// Without the backslashes of a quoted string.
fn unescaped(quoted: &str) -> String {
    let (mut text, mut characters) = (String::with_capacity(quoted.len()), quoted.chars());
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

/// What is no escape stays.
fn percent_decoded(text: &str) -> Result<Cow<'_, str>, ()> {
    if !text.contains('%') {
        return Ok(text.into());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|pair| *first == b'%' && pair.iter().all(u8::is_ascii_hexdigit));
        let digits = escaped.and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map(Cow::from).map_err(drop)
}
