//! What is said over the broker as an `AsyncAPI` 3 document, made from the names and types that the code itself uses:
//! exchanges, queues, headers, event types. Must not know how it is served.

use serde_json::{Map, Value, json};

use super::letter::{HEADER_PREFIX, SAID};
use super::topology::{DEAD_EXCHANGE, DEAD_QUEUE, EVENTS_EXCHANGE, EVENTS_QUEUE, NOTICES_EXCHANGE};
use crate::domain::account_types::{ACCOUNT_TYPES, AccountType, Kind};
use crate::domain::event::{MAX_ATTRIBUTE, Reason};
use crate::pipeline::decode::{AMQP_PREFIXES, STRUCTURED};

/// What Signalpost tells of what it did, and of whose data.
const NOTICES: [(&str, Tells); 8] = [
    ("account.password-changed", Tells::Event),
    ("account.email-changed", Tells::Event),
    ("account.on-vacation", Tells::Event),
    ("event.refused", Tells::Event),
    ("event.settled", Tells::Event),
    ("dispatch.dead", Tells::Dispatch),
    ("dispatch.bounced", Tells::Dispatch),
    ("dispatch.sent", Tells::Dispatch),
];

#[derive(Clone, Copy)]
enum Tells {
    Event,
    Dispatch,
}

/// The document.
pub fn describe() -> Value {
    let mut messages = Map::new();
    for of in ACCOUNT_TYPES {
        messages.insert(of.name.to_owned(), bare(of));
    }
    messages.insert("event-structured".to_owned(), structured("An event of any type", &json!({})));
    messages.insert("event-binary".to_owned(), binary());
    messages.insert("dead-letter".to_owned(), dead_letter());
    for (name, tells) in NOTICES {
        messages.insert(notice_name(name), structured(&format!("Notice `{name}`"), &notice_data(tells)));
    }
    let events = ACCOUNT_TYPES.iter().map(|of| of.name.to_owned());
    let events: Vec<String> = events.chain(["event-structured".into(), "event-binary".into()]).collect();
    let notices: Vec<String> = NOTICES.iter().map(|(name, _)| notice_name(name)).collect();
    let dead = vec!["dead-letter".to_owned()];
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Signalpost",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Account events become single-use tokens and e-mails. The routing key is PROJECT.TYPE; a type \
                            without a dot is read as account.TYPE.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": channel(EVENTS_EXCHANGE, &events),
            "dead": channel(DEAD_EXCHANGE, &dead),
            "notices": channel(NOTICES_EXCHANGE, &notices),
            "events-queue": queue(EVENTS_QUEUE, &events),
            "dead-queue": queue(DEAD_QUEUE, &dead),
        },
        "operations": {
            "take-event": operation("receive", "events", "What publishers say"),
            "put-aside": operation("send", "dead", "Refused messages, and copies of the events of dead dispatches"),
            "tell": operation("send", "notices", "What Signalpost itself did"),
        },
        "components": { "messages": messages },
    })
}

fn notice_name(name: &str) -> String {
    format!("notice.{name}")
}

fn channel(exchange: &str, messages: &[String]) -> Value {
    json!({
        "address": "{project}.{type}",
        "parameters": {
            "project": { "description": "Slug of the project" },
            "type": { "description": "Type of the event" },
        },
        "messages": references(messages),
        "bindings": { "amqp": {
            "is": "routingKey",
            "exchange": { "name": exchange, "type": "topic", "durable": true, "autoDelete": false },
            "bindingVersion": "0.3.0",
        } },
    })
}

fn queue(name: &str, messages: &[String]) -> Value {
    json!({
        "address": name,
        "messages": references(messages),
        "bindings": { "amqp": {
            "is": "queue",
            "queue": { "name": name, "durable": true, "exclusive": false, "autoDelete": false },
            "bindingVersion": "0.3.0",
        } },
    })
}

fn references(messages: &[String]) -> Value {
    let refer = |name: &String| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") }));
    Value::Object(messages.iter().map(refer).collect())
}

fn operation(action: &str, channel: &str, about: &str) -> Value {
    json!({ "action": action, "summary": about, "channel": { "$ref": format!("#/channels/{channel}") } })
}

fn bare(of: &AccountType) -> Value {
    let properties: Map<String, Value> =
        of.fields.iter().map(|field| (field.name.to_owned(), schema(field.kind, field.about))).collect();
    let required: Vec<&str> =
        of.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut payload = json!({ "type": "object", "properties": properties, "required": required });
    if !of.one_of.is_empty() {
        let each: Vec<Value> = of.one_of.iter().map(|name| json!({ "required": [name] })).collect();
        payload["anyOf"] = json!(each);
    }
    json!({
        "name": of.name,
        "title": of.about,
        "description": "Bare: AMQP property `message_id` is the id; `app_id` the source, `timestamp` (seconds) the time \
                        and `type` the type if they are there; the body is the data, whatever the content type.",
        "payload": payload,
    })
}

fn schema(kind: Kind, about: &str) -> Value {
    match kind {
        Kind::Text | Kind::Member => json!({ "type": "string", "description": about }),
        Kind::Email => json!({ "type": "string", "format": "email", "description": about }),
        Kind::Flag => json!({ "type": "boolean", "description": about }),
        Kind::Number => json!({ "type": "integer", "description": about }),
        Kind::OneOf(names) => json!({ "type": "string", "enum": names, "description": about }),
    }
}

fn text() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_ATTRIBUTE })
}

/// The attributes of CloudEvents that are read.
fn attributes(prefix: &str) -> Map<String, Value> {
    let time = json!({ "type": "string", "format": "date-time" });
    let all = [
        ("specversion", json!({ "const": "1.0" })),
        ("id", text()),
        ("source", text()),
        ("type", text()),
        ("time", time),
        ("project", text()),
        ("traceparent", json!({ "type": "string" })),
    ];
    all.into_iter().map(|(name, schema)| (format!("{prefix}{name}"), schema)).collect()
}

fn structured(about: &str, data: &Value) -> Value {
    let mut properties = attributes("");
    properties.insert("data".to_owned(), data.clone());
    json!({
        "title": about,
        "contentType": STRUCTURED,
        "payload": { "type": "object", "required": ["specversion", "id", "type"], "properties": properties },
    })
}

fn binary() -> Value {
    let [first, second] = AMQP_PREFIXES;
    let mut properties = attributes(first);
    properties.extend(attributes(second));
    json!({
        "title": "An event of any type, its attributes in headers of either prefix",
        "headers": { "type": "object", "properties": properties },
        "payload": {},
    })
}

fn dead_letter() -> Value {
    let headers: Map<String, Value> = SAID
        .iter()
        .map(|(name, about)| {
            (format!("{HEADER_PREFIX}{name}"), json!({ "type": "string", "description": about }))
        })
        .collect();
    json!({
        "title": "A refused message as it came, or the copy of a dead dispatch's event",
        "headers": { "type": "object", "properties": headers },
        "payload": {},
    })
}

fn notice_data(tells: Tells) -> Value {
    let names: &[&str] = match tells {
        Tells::Event => {
            &["event_id", "source", "id", "type", "outcome", "reason", "detail", "field", "dispatches"]
        }
        Tells::Dispatch => &["dispatch_id", "event_id", "source", "id", "state", "reason"],
    };
    let schema = |name: &&str| match *name {
        "dispatches" => json!({ "type": "array", "items": { "type": "string" } }),
        "reason" if matches!(tells, Tells::Event) => {
            json!({ "type": ["string", "null"], "examples": Reason::ALL.map(Reason::name) })
        }
        _ => json!({ "type": ["string", "null"] }),
    };
    let properties: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), schema(name))).collect();
    json!({ "type": "object", "properties": properties })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_exchange_queue_and_header_is_described() {
        let document = describe();
        let messages = &document["components"]["messages"];
        for of in ACCOUNT_TYPES {
            let message = &messages[of.name];
            let told: Vec<&String> = message["payload"]["properties"].as_object().unwrap().keys().collect();
            let mut wanted: Vec<&str> = of.fields.iter().map(|field| field.name).collect();
            wanted.sort_unstable();
            assert_eq!(told, wanted, "{}", of.name);
            assert!(document["channels"]["events"]["messages"][of.name].is_object(), "{}", of.name);
        }
        for (channel, exchange) in
            [("events", EVENTS_EXCHANGE), ("dead", DEAD_EXCHANGE), ("notices", NOTICES_EXCHANGE)]
        {
            assert_eq!(document["channels"][channel]["bindings"]["amqp"]["exchange"]["name"], exchange);
        }
        for queue in [EVENTS_QUEUE, DEAD_QUEUE] {
            let channels = document["channels"].as_object().unwrap().values();
            assert_eq!(channels.filter(|one| one["bindings"]["amqp"]["queue"]["name"] == queue).count(), 1);
        }
        let headers = &messages["dead-letter"]["headers"]["properties"];
        for name in ["reason", "detail", "field", "at", "dispatch-id", "origin"] {
            assert!(headers[format!("x-signalpost-{name}")]["description"].is_string(), "{name}");
        }
        for prefix in AMQP_PREFIXES {
            assert!(messages["event-binary"]["headers"]["properties"][format!("{prefix}id")].is_object());
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn look(document: &Value, value: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(to)) = fields.get("$ref") {
                        assert!(document.pointer(&to[1..]).is_some(), "{to}");
                    }
                    fields.values().for_each(|inner| look(document, inner));
                }
                Value::Array(items) => items.iter().for_each(|inner| look(document, inner)),
                _ => {}
            }
        }
        let document = describe();
        look(&document, &document);
    }
}
