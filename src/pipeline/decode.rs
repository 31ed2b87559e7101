//! Step 1, pure: bytes and properties become an [`Incoming`], or a refusal that names the field. Knows the three
//! AMQP forms and the two HTTP forms of an event, and no client library. Looks nothing up: whether the
//! project or the type exists is for planning to say.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::attribute::{
    Attribute, check_specversion, checked, full_type, header_text, is_traceparent, required, rfc3339,
    split_routing_key,
};
use super::json::{NUL, has_nul, parse, without_nul};
use crate::domain::event::{Incoming, MAX_AHEAD, MAX_NESTING, Refusal};

/// Content type of a structured event.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// What the headers of a binary event start with, over AMQP.
pub const AMQP_PREFIXES: [&str; 2] = ["cloudEvents:", "cloudEvents_"];
/// And over HTTP.
const HTTP_PREFIX: &str = "ce-";
/// The source of an event that names none, and whose publisher the broker does not know either.
const DEFAULT_SOURCE: &str = "amqp";
/// One message as the broker delivered it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawMessage<'a> {
    pub routing_key: &'a str,
    pub content_type: Option<&'a str>,
    /// Headers, scalars turned to text. `None`: the value is no text (a table, an array, bytes that are not UTF-8).
    pub headers: &'a [(String, Option<String>)],
    pub message_id: Option<&'a str>,
    /// The property `type`.
    pub kind: Option<&'a str>,
    pub app_id: Option<&'a str>,
    /// The broker lets a publisher set only its own name.
    pub user_id: Option<&'a str>,
    /// In seconds since 1970.
    pub timestamp: Option<u64>,
    pub body: &'a [u8],
}

/// A message that is no event: why, and what could be told of it. What could not is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecodable {
    pub refusal: Refusal,
    pub project: String,
    pub source: String,
    pub id: String,
    pub kind: String,
}

/// Reads a message of the broker.
pub fn decode_amqp(raw: &RawMessage<'_>, received_at: DateTime<Utc>) -> Result<Incoming, Undecodable> {
    let (project, kind) = split_routing_key(raw.routing_key);
    let transport = Transport {
        project,
        kind: kind.map(Some),
        project_must_agree: true,
        default_source: given(raw.app_id).or(given(raw.user_id)).unwrap_or(DEFAULT_SOURCE),
        traceparent: header(raw.headers, "", "traceparent").unwrap_or_default(),
        received_at,
    };
    if is_structured(raw.content_type) {
        return transport.structured_body(raw.body);
    }
    let is_there = |prefix: &&&str| !matches!(header(raw.headers, prefix, "specversion"), Ok(None));
    let binary = AMQP_PREFIXES.iter().find(is_there);
    let attributes = match binary {
        Some(prefix) => Attributes::read(|name| header(raw.headers, prefix, name)),
        None => Attributes::bare(raw),
    };
    transport.read(attributes, || match binary {
        Some(_) if raw.body.is_empty() => Ok(Value::Null),
        _ => parse(raw.body, "data", MAX_NESTING),
    })
}

/// Reads one event of HTTP: structured, or binary with `ce-` headers. The project is that of the API key. A header
/// without a text is not UTF-8.
pub fn decode_http(
    content_type: Option<&str>,
    headers: &[(String, Option<String>)],
    body: &[u8],
    project: &str,
    received_at: DateTime<Utc>,
) -> Result<Incoming, Undecodable> {
    let mut transport = Transport::http(project, received_at);
    let get = |name: &str| {
        let mut headers = headers.iter();
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, text)| text.as_deref())
    };
    transport.traceparent = get("traceparent").flatten().map(Cow::from);
    if is_structured(content_type) {
        return transport.structured_body(body);
    }
    if get("ce-specversion").is_none() {
        let what = format!("is not {STRUCTURED}, and there is no header ce-specversion");
        return Err(transport.refuse(Refusal::invalid("content-type", &what)));
    }
    let attributes = Attributes::read(|name| match get(&format!("{HTTP_PREFIX}{name}")) {
        None => Ok(None),
        Some(None) => Err(Refusal::invalid(name, "is not UTF-8")),
        Some(Some(text)) => match header_text(text) {
            Ok(text) => Ok(Some(text)),
            Err(()) => Err(Refusal::invalid(name, "is not UTF-8 once percent-decoded")),
        },
    });
    transport.read(attributes, || match body {
        [] => Ok(Value::Null),
        _ => parse(body, "data", MAX_NESTING),
    })
}

/// Reads a structured event of HTTP that is parsed already, such as an item of a batch.
pub fn read_structured(
    event: Value,
    project: &str,
    received_at: DateTime<Utc>,
) -> Result<Incoming, Undecodable> {
    Transport::http(project, received_at).structured(event)
}

/// What the event says of itself, in whatever form.
struct Attributes<'a> {
    /// `None`: a form that has none.
    specversion: Option<Attribute<'a>>,
    project: Attribute<'a>,
    kind: Attribute<'a>,
    kind_may_be_left_out: bool,
    id: Attribute<'a>,
    source: Attribute<'a>,
    time: Result<Option<DateTime<Utc>>, Refusal>,
    traceparent: Attribute<'a>,
}

impl<'a> Attributes<'a> {
    /// The attributes of CloudEvents, each by its name.
    fn read(get: impl Fn(&str) -> Attribute<'a>) -> Self {
        let time = get("time").and_then(|text| text.as_deref().map(rfc3339).transpose());
        Self {
            specversion: Some(get("specversion")),
            project: get("project"),
            kind: get("type"),
            kind_may_be_left_out: false,
            id: get("id"),
            source: get("source"),
            time,
            traceparent: get("traceparent"),
        }
    }

    /// Those of a bare message, out of its properties.
    fn bare(raw: &RawMessage<'a>) -> Self {
        let seconds = raw.timestamp.map(|at| {
            let time = i64::try_from(at).ok().and_then(|at| DateTime::from_timestamp(at, 0));
            time.ok_or_else(|| Refusal::invalid("time", "is not a time: `timestamp` is in seconds"))
        });
        Self {
            specversion: None,
            project: Ok(None),
            kind: Ok(given(raw.kind).map(Cow::from)),
            kind_may_be_left_out: true,
            id: given(raw.message_id)
                .map(|id| Some(id.into()))
                .ok_or_else(|| Refusal::invalid("id", "is missing: the property `message_id` is not set")),
            source: Ok(None),
            time: seconds.transpose(),
            traceparent: Ok(None),
        }
    }
}

/// What is known of an event from the way it came.
struct Transport<'a> {
    project: Result<&'a str, Refusal>,
    kind: Attribute<'a>,
    project_must_agree: bool,
    default_source: &'a str,
    traceparent: Option<Cow<'a, str>>,
    received_at: DateTime<Utc>,
}

impl<'a> Transport<'a> {
    fn http(project: &'a str, received_at: DateTime<Utc>) -> Self {
        Self {
            project: Ok(project),
            kind: Ok(None),
            project_must_agree: false,
            default_source: DEFAULT_SOURCE,
            traceparent: None,
            received_at,
        }
    }

    fn structured_body(&self, body: &[u8]) -> Result<Incoming, Undecodable> {
        // The envelope is one level around `data`.
        match parse(body, "body", MAX_NESTING + 1) {
            Ok(event) => self.structured(event),
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    fn structured(&self, event: Value) -> Result<Incoming, Undecodable> {
        let Value::Object(mut fields) = event else {
            return Err(self.refuse(Refusal::invalid("body", "is not a JSON object")));
        };
        let data = fields.remove("data").unwrap_or(Value::Null);
        let attributes = Attributes::read(|name| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str().into())),
            Some(_) => Err(Refusal::invalid(name, "is not a string")),
        });
        self.read(attributes, || {
            if fields.contains_key("data_base64") {
                return Err(Refusal::invalid("data_base64", "is not taken: send JSON in `data`"));
            }
            without_nul(&fields, "body")?;
            Ok(data)
        })
    }

    /// A refusal of which only the way it came can be told.
    fn refuse(&self, refusal: Refusal) -> Undecodable {
        let text = |read: &Attribute<'_>| read.clone().ok().flatten().map(Cow::into_owned);
        Undecodable {
            refusal,
            project: self.project.clone().unwrap_or_default().to_owned(),
            source: String::new(),
            id: String::new(),
            kind: text(&self.kind).unwrap_or_default(),
        }
    }

    /// Checks the attributes, then reads the data. The first thing that is wrong is the refusal, but all that
    /// could be told of the event goes with it.
    fn read(
        &self,
        attributes: Attributes<'_>,
        data: impl FnOnce() -> Result<Value, Refusal>,
    ) -> Result<Incoming, Undecodable> {
        let mut known = self.refuse(Refusal::invalid("body", "is no event"));
        let (project, traceparent) = (attributes.project, attributes.traceparent);
        let checks = [
            self.project.clone().map(drop),
            attributes.specversion.map_or(Ok(()), check_specversion),
            self.check_project(project),
            keep(&mut known.kind, self.kind_of(attributes.kind, attributes.kind_may_be_left_out)),
            keep(&mut known.id, attributes.id.and_then(required("id"))),
            keep(&mut known.source, attributes.source.and_then(|source| self.source_of(source))),
        ];
        let told = checks.into_iter().collect::<Result<(), _>>();
        let read = told.and_then(|()| {
            let time = self.time_of(attributes.time?)?;
            let traceparent = self.traceparent_of(traceparent?.as_deref());
            let data = data()?;
            match &data {
                Value::Object(fields) => without_nul(fields, "data")?,
                other if has_nul(other) => return Err(Refusal::invalid("data", NUL)),
                _ => {}
            }
            Ok((time, traceparent, data))
        });
        let Undecodable { project, source, id, kind, .. } = known;
        match read {
            Ok((time, traceparent, data)) => {
                let received_at = self.received_at;
                Ok(Incoming { project, source, id, kind, time, received_at, data, traceparent })
            }
            Err(refusal) => Err(Undecodable { refusal, project, source, id, kind }),
        }
    }

    fn check_project(&self, said: Attribute<'_>) -> Result<(), Refusal> {
        match (said?, &self.project) {
            (Some(said), Ok(project)) if self.project_must_agree && said != *project => {
                Err(Refusal::invalid("project", "is not the project of the routing key"))
            }
            _ => Ok(()),
        }
    }

    fn kind_of(&self, said: Attribute<'_>, may_be_left_out: bool) -> Result<String, Refusal> {
        let said = said?.map(|kind| checked("type", &kind).map(|()| full_type(&kind))).transpose()?;
        match (self.kind.clone()?, said) {
            (None, None) => Err(Refusal::invalid("type", "is missing")),
            (Some(_), None) if !may_be_left_out => Err(Refusal::invalid("type", "is missing")),
            (Some(key), None) => Ok(key.into_owned()),
            (None, Some(said)) => Ok(said),
            (Some(key), Some(said)) if key == said => Ok(said),
            (Some(_), Some(_)) => Err(Refusal::invalid("type", "is not the type of the routing key")),
        }
    }

    fn source_of(&self, said: Option<Cow<'_, str>>) -> Result<String, Refusal> {
        let source = said.unwrap_or(self.default_source.into());
        checked("source", &source).map(|()| source.into_owned())
    }

    fn time_of(&self, said: Option<DateTime<Utc>>) -> Result<DateTime<Utc>, Refusal> {
        let Some(time) = said else { return Ok(self.received_at) };
        if time > self.received_at + MAX_AHEAD {
            return Err(Refusal::invalid("time", "is more than 5 min ahead"));
        }
        if time < DateTime::UNIX_EPOCH {
            return Err(Refusal::invalid("time", "is before 1970"));
        }
        Ok(time)
    }

    /// One that is not well-formed is dropped, as W3C Trace Context has it: the trace starts anew.
    fn traceparent_of(&self, said: Option<&str>) -> Option<String> {
        let header = self.traceparent.as_deref();
        said.or(header).filter(|text| is_traceparent(text)).map(str::to_owned)
    }
}

fn keep(place: &mut String, read: Result<String, Refusal>) -> Result<(), Refusal> {
    *place = read?;
    Ok(())
}

fn is_structured(content_type: Option<&str>) -> bool {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(STRUCTURED)
}

fn given(property: Option<&str>) -> Option<&str> {
    property.filter(|text| !text.is_empty())
}

fn header<'a>(headers: &'a [(String, Option<String>)], prefix: &str, name: &str) -> Attribute<'a> {
    let mut headers = headers.iter();
    match headers.find(|(key, _)| key.strip_prefix(prefix).is_some_and(|rest| rest == name)) {
        None => Ok(None),
        Some((_, Some(text))) => Ok(Some(text.into())),
        Some((_, None)) => Err(Refusal::invalid(name, "is not a text")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-01-31T12:00:00Z".parse().unwrap()
    }

    fn bare(body: &[u8]) -> RawMessage<'_> {
        let (routing_key, message_id) = ("acme.account.signed-in", Some("1"));
        RawMessage { routing_key, message_id, body, ..RawMessage::default() }
    }

    fn headers(prefix: &str, pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
        pairs.iter().map(|(name, text)| (format!("{prefix}{name}"), text.map(str::to_owned))).collect()
    }

    fn structured(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Vec<u8> {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "shop", "type": "account.signed-in",
            "data": {"member": "elon"}});
        change(event.as_object_mut().unwrap());
        serde_json::to_vec(&event).unwrap()
    }

    fn nested(depth: usize) -> Vec<u8> {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
    }

    fn field(result: Result<Incoming, Undecodable>) -> String {
        match result {
            Ok(_) => "ok".to_owned(),
            Err(undecodable) => undecodable.refusal.field.unwrap(),
        }
    }

    const GOOD: &[u8] = br#"{"member":"elon"}"#;

    #[test]
    fn a_bare_message_is_its_properties_and_its_body() {
        let raw = RawMessage {
            app_id: Some("shop"),
            user_id: Some("alice"),
            timestamp: Some(1_769_860_800),
            kind: Some("signed-in"),
            content_type: Some("text/plain"),
            ..bare(GOOD)
        };
        let event = decode_amqp(&raw, now()).unwrap();
        let expected = Incoming {
            project: "acme".into(),
            source: "shop".into(),
            id: "1".into(),
            kind: "account.signed-in".into(),
            time: now(),
            received_at: now(),
            data: json!({"member": "elon"}),
            traceparent: None,
        };
        assert_eq!(event, expected);
        let by_user = RawMessage { app_id: None, ..raw };
        assert_eq!(decode_amqp(&by_user, now()).unwrap().source, "alice");
        let by_nobody = RawMessage { app_id: Some(""), user_id: None, ..raw };
        assert_eq!(decode_amqp(&by_nobody, now()).unwrap().source, "amqp");
    }

    #[test]
    fn the_three_forms_say_the_same() {
        let plain = decode_amqp(&RawMessage { app_id: Some("shop"), ..bare(GOOD) }, now()).unwrap();
        let body = structured(|_| ());
        let content_type = Some("Application/CloudEvents+json; charset=utf-8");
        let raw = RawMessage { content_type, message_id: None, ..bare(&body) };
        assert_eq!(decode_amqp(&raw, now()).unwrap(), plain);
        for prefix in AMQP_PREFIXES {
            let said = [("specversion", "1.0"), ("id", "1"), ("source", "shop"), ("type", "signed-in")];
            let headers = headers(prefix, &said.map(|(name, text)| (name, Some(text))));
            let raw = RawMessage { headers: &headers, message_id: Some("other"), ..bare(GOOD) };
            assert_eq!(decode_amqp(&raw, now()).unwrap(), plain);
        }
    }

    #[test]
    fn a_bare_message_that_is_wrong_is_refused_naming_the_field() {
        let long = "x".repeat(256);
        let (deep, deepest) = (nested(33), nested(32));
        let large = [b"\"", "x".repeat(256 * 1024).as_bytes(), b"\""].concat();
        let ok = bare(GOOD);
        for (place, (raw, expected)) in [
            (ok, "ok"),
            (RawMessage { message_id: None, ..ok }, "id"),
            (RawMessage { message_id: Some(""), ..ok }, "id"),
            (RawMessage { message_id: Some(&long), ..ok }, "id"),
            (RawMessage { message_id: Some("a\0b"), ..ok }, "id"),
            (RawMessage { app_id: Some(&long), ..ok }, "source"),
            (RawMessage { app_id: Some("a\0b"), ..ok }, "source"),
            (RawMessage { kind: Some("account.signed-in"), ..ok }, "ok"),
            (RawMessage { kind: Some("signed-in"), ..ok }, "ok"),
            (RawMessage { kind: Some(""), ..ok }, "ok"),
            (RawMessage { kind: Some("account.created"), ..ok }, "type"),
            (RawMessage { kind: Some("a\0b"), ..ok }, "type"),
            (RawMessage { routing_key: "acme.signed-in", ..ok }, "ok"),
            (RawMessage { routing_key: "acme.billing.card-expiring", ..ok }, "ok"),
            (RawMessage { routing_key: "", ..ok }, "routing_key"),
            (RawMessage { routing_key: "acme", ..ok }, "routing_key"),
            (RawMessage { routing_key: "acme.", ..ok }, "routing_key"),
            (RawMessage { routing_key: ".account.created", ..ok }, "routing_key"),
            (RawMessage { routing_key: "Acme.account.created", ..ok }, "routing_key"),
            (RawMessage { routing_key: &format!("{}.a", "p".repeat(64)), ..ok }, "routing_key"),
            (RawMessage { routing_key: &format!("acme.{long}"), ..ok }, "type"),
            (RawMessage { timestamp: Some(0), ..ok }, "ok"),
            (RawMessage { timestamp: Some(1_769_860_800 + 300), ..ok }, "ok"),
            (RawMessage { timestamp: Some(1_769_860_800 + 301), ..ok }, "time"),
            (RawMessage { timestamp: Some(1_769_860_800_000), ..ok }, "time"),
            (RawMessage { timestamp: Some(u64::MAX), ..ok }, "time"),
            (RawMessage { body: b"", ..ok }, "data"),
            (RawMessage { body: b"elon", ..ok }, "data"),
            (RawMessage { body: b"{\"member\":\"\xff\"}", ..ok }, "data"),
            (RawMessage { body: b"\xef\xbb\xbf{}", ..ok }, "data"),
            (RawMessage { body: b"{} {}", ..ok }, "data"),
            (RawMessage { body: b"{\"n\":1e999}", ..ok }, "data"),
            (RawMessage { body: br#"{"member":"a\u0000b"}"#, ..ok }, "member"),
            (RawMessage { body: br#"{"member":[{"a":"\u0000"}]}"#, ..ok }, "member"),
            (RawMessage { body: br#"{"a\u0000":1}"#, ..ok }, "data"),
            (RawMessage { body: br#"["a\u0000"]"#, ..ok }, "data"),
            (RawMessage { body: br#"{"member":"a\\u0000b"}"#, ..ok }, "ok"),
            (RawMessage { body: br#"{"member":"[[[[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#, ..ok }, "ok"),
            (RawMessage { body: &deepest, ..ok }, "ok"),
            (RawMessage { body: &deep, ..ok }, "data"),
            (RawMessage { body: &"[".repeat(200_000).into_bytes(), ..ok }, "data"),
            (RawMessage { body: &large, ..ok }, "body"),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(field(decode_amqp(&raw, now())), expected, "row {place}: {raw:?}");
        }
    }

    #[test]
    fn a_structured_message_that_is_wrong_is_refused_naming_the_field() {
        let set =
            |name: &'static str, value: Value| structured(|event| drop(event.insert(name.into(), value)));
        let without = |name: &'static str| structured(|event| drop(event.remove(name)));
        let deep = serde_json::from_slice::<Value>(&nested(33)).unwrap();
        let deepest = serde_json::from_slice::<Value>(&nested(32)).unwrap();
        for (body, expected) in [
            (structured(|_| ()), "ok"),
            (without("source"), "ok"),
            (without("data"), "ok"),
            (without("id"), "id"),
            (without("type"), "type"),
            (without("specversion"), "specversion"),
            (set("specversion", json!("0.3")), "specversion"),
            (set("specversion", json!(1.0)), "specversion"),
            (set("id", json!(7)), "id"),
            (set("id", json!(["1"])), "id"),
            (set("id", json!(null)), "id"),
            (set("id", json!("")), "id"),
            (set("source", json!("")), "source"),
            (set("source", json!({"a": 1})), "source"),
            (set("source", json!("s".repeat(256))), "source"),
            (set("type", json!("account.created")), "type"),
            (set("type", json!("signed-in")), "ok"),
            (set("project", json!("acme")), "ok"),
            (set("project", json!("other")), "project"),
            (set("project", json!(1)), "project"),
            (set("time", json!("2026-01-31T13:00:00+01:00")), "ok"),
            (set("time", json!("2026-01-31T12:05:00Z")), "ok"),
            (set("time", json!("2026-01-31T12:05:00.000001Z")), "time"),
            (set("time", json!("yesterday")), "time"),
            (set("time", json!("2026-01-31")), "time"),
            (set("time", json!(1_769_860_800)), "time"),
            (set("time", json!("0001-01-01T00:00:00Z")), "time"),
            (set("time", json!("2016-12-31T23:59:60Z")), "ok"),
            (set("data_base64", json!("e30=")), "data_base64"),
            (set("subject", json!("a\0b")), "subject"),
            (set("subject", json!({"unknown": "ignored"})), "ok"),
            (set("data", json!({"member": "a\0b"})), "member"),
            (set("data", deepest), "ok"),
            (set("data", deep), "body"),
            (set("traceparent", json!(5)), "traceparent"),
            (set("traceparent", json!("nonsense")), "ok"),
            (b"[]".to_vec(), "body"),
            (b"null".to_vec(), "body"),
            (b"{".to_vec(), "body"),
            (Vec::new(), "body"),
            (vec![b' '; 256 * 1024 + 1], "body"),
        ] {
            let raw = RawMessage { content_type: Some(STRUCTURED), ..bare(&body) };
            assert_eq!(field(decode_amqp(&raw, now())), expected, "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn a_binary_message_that_is_wrong_is_refused_naming_the_field() {
        let whole = [("specversion", Some("1.0")), ("id", Some("1")), ("type", Some("signed-in"))];
        let with = |name, text| [&whole[..], &[(name, text)]].concat();
        for (pairs, body, expected) in [
            (whole.to_vec(), GOOD, "ok"),
            (whole.to_vec(), b"", "ok"),
            (whole.to_vec(), b"{", "data"),
            (vec![("specversion", Some("1.1"))], GOOD, "specversion"),
            (vec![("specversion", None)], GOOD, "specversion"),
            (whole[..2].to_vec(), GOOD, "type"),
            (vec![whole[0], whole[2]], GOOD, "id"),
            (with("source", None), GOOD, "source"),
            (with("time", Some("soon")), GOOD, "time"),
            (with("project", Some("other")), GOOD, "project"),
            (with("unknown", None), GOOD, "ok"),
        ] {
            let headers = headers("cloudEvents:", &pairs);
            let raw = RawMessage { headers: &headers, ..bare(body) };
            assert_eq!(field(decode_amqp(&raw, now())), expected, "{pairs:?}");
        }
    }

    #[test]
    fn what_could_be_told_goes_with_the_refusal() {
        let raw = RawMessage { app_id: Some("shop"), ..bare(b"{") };
        let undecodable = decode_amqp(&raw, now()).unwrap_err();
        assert_eq!(undecodable.refusal, Refusal::invalid("data", "is not JSON (line 1, column 1)"));
        let told = [undecodable.project, undecodable.source, undecodable.id, undecodable.kind];
        assert_eq!(told, ["acme", "shop", "1", "account.signed-in"]);
        let body = structured(|event| drop(event.insert("id".into(), json!({}))));
        let raw = RawMessage { content_type: Some(STRUCTURED), ..bare(&body) };
        let undecodable = decode_amqp(&raw, now()).unwrap_err();
        assert_eq!((undecodable.source.as_str(), undecodable.id.as_str()), ("shop", ""));
    }

    #[test]
    fn a_trace_is_carried_in_every_form() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = headers("", &[("traceparent", Some(parent))]);
        let raw = RawMessage { headers: &headers, ..bare(GOOD) };
        assert_eq!(decode_amqp(&raw, now()).unwrap().traceparent.unwrap(), parent);
        let body = structured(|event| drop(event.insert("traceparent".into(), json!(parent))));
        let raw = RawMessage { content_type: Some(STRUCTURED), ..bare(&body) };
        assert_eq!(decode_amqp(&raw, now()).unwrap().traceparent.unwrap(), parent);
    }

    #[test]
    fn over_http_the_key_s_project_decides() {
        let body = structured(|event| drop(event.insert("project".into(), json!("other"))));
        let event = decode_http(Some(STRUCTURED), &[], &body, "acme", now()).unwrap();
        assert_eq!((event.project.as_str(), event.kind.as_str()), ("acme", "account.signed-in"));
        let said = [("CE-Specversion", "1.0"), ("ce-id", "50%25 %C3%A9%"), ("ce-type", "signed-in")];
        let headers = said.map(|(name, text)| (name.to_owned(), Some(text.to_owned())));
        let event = decode_http(Some("application/json"), &headers, GOOD, "acme", now()).unwrap();
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("50% é%", "account.signed-in"));
        for (text, id) in [
            (Some("\"a \\\"b\\\" %20\""), "a \"b\"  "),
            (Some("%+f%zz%"), "%+f%zz%"),
            (Some("\""), "\""),
            (Some("%ff"), ""),
            (None, ""),
        ] {
            let mut headers = headers.to_vec();
            headers[1].1 = text.map(str::to_owned);
            let read = decode_http(None, &headers, GOOD, "acme", now());
            assert_eq!(read.as_ref().map_or("", |event| &event.id), id, "{text:?}");
            assert!(read.is_ok() || field(read) == "id", "{text:?}");
        }
        let neither = decode_http(Some("application/json"), &[], GOOD, "acme", now());
        assert_eq!(field(neither), "content-type");
        assert_eq!(field(read_structured(json!(1), "acme", now())), "body");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            key in ".{0,40}",
            texts in proptest::collection::vec(".{0,20}", 6),
            timestamp in any::<Option<u64>>(),
            form in 0..3,
        ) {
            let names = ["specversion", "id", "time", "type", "source", "traceparent"];
            let pairs = names.iter().zip(&texts).map(|(name, text)| (*name, Some(text.as_str())));
            let headers = headers("cloudEvents:", &pairs.collect::<Vec<_>>());
            let raw = RawMessage {
                routing_key: &key,
                content_type: (form == 1).then_some(STRUCTURED),
                headers: if form == 2 { &headers } else { &[] },
                message_id: Some(&texts[1]),
                timestamp,
                body: &body,
                ..RawMessage::default()
            };
            let _ = decode_amqp(&raw, now());
            let _ = decode_http(raw.content_type, &[], &body, &key, now());
            let _ = header_text(&key);
        }

        #[test]
        fn no_json_panics_it(text in r#"(\{|\}|\[|\]|"|\\|:|,|1|id|data|type|é|\x00){0,80}"#) {
            let raw = RawMessage { content_type: Some(STRUCTURED), ..bare(text.as_bytes()) };
            let _ = decode_amqp(&raw, now());
        }
    }
}
