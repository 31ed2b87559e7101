//! Messages of the broker in all forms, right and wrong in every way: what becomes of each. Read as the broker would
//! hand them over, then planned by the application.

use chrono::TimeDelta;
use serde_json::{Value, json};
use signalpost::domain::event::Planned;
use signalpost::pipeline::Payload;
use signalpost::pipeline::decode::{RawMessage, STRUCTURED, decode_amqp};

use super::world::World;

const RESET: &str = "acme.account.password-reset-requested";

/// One message as a publisher makes it.
#[derive(Clone)]
struct Message {
    key: String,
    content_type: Option<&'static str>,
    headers: Vec<(String, Option<String>)>,
    id: Option<String>,
    kind: Option<&'static str>,
    app: Option<String>,
    user: Option<&'static str>,
    seconds: Option<u64>,
    body: Vec<u8>,
}

impl Message {
    fn bare(id: &str) -> Self {
        Self {
            key: RESET.to_owned(),
            content_type: None,
            headers: Vec::new(),
            id: Some(id.to_owned()),
            kind: None,
            app: None,
            user: None,
            seconds: None,
            body: br#"{"member":"elon"}"#.to_vec(),
        }
    }

    fn data(self, data: &Value) -> Self {
        Self { body: data.to_string().into_bytes(), ..self }
    }

    fn structured(id: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut event = json!({
            "specversion": "1.0", "id": id, "source": "shop", "type": "account.password-reset-requested",
            "data": { "member": "elon" },
        });
        change(&mut event);
        Self { content_type: Some(STRUCTURED), id: None, ..Self::bare(id).data(&event) }
    }

    fn binary(prefix: &str, id: &str, more: &[(&str, Option<&str>)]) -> Self {
        let usual =
            [("specversion", Some("1.0")), ("id", Some(id)), ("type", Some("password-reset-requested"))];
        let all = usual.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).chain(more);
        let headers = all.map(|(name, text)| (format!("{prefix}{name}"), text.map(str::to_owned)));
        Self { headers: headers.collect(), id: None, ..Self::bare(id) }
    }

    fn keyed(id: &str, key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::bare(id) }
    }

    /// Hands it over; the outcome, or the reason and the field.
    async fn becomes(&self, world: &World) -> (String, String) {
        let raw = RawMessage {
            routing_key: &self.key,
            content_type: self.content_type,
            headers: &self.headers,
            message_id: self.id.as_deref(),
            kind: self.kind,
            app_id: self.app.as_deref(),
            user_id: self.user,
            timestamp: self.seconds,
            body: &self.body,
        };
        let read = decode_amqp(&raw, world.clock.now());
        let payload = read.map_or_else(Payload::Undecodable, Payload::Event);
        match world.app(0).engine.intake.submit(payload).await.unwrap() {
            Planned::Accepted { outcome, .. } => (outcome.to_owned(), String::new()),
            Planned::Duplicate { outcome, .. } => (format!("duplicate {outcome}"), String::new()),
            Planned::Refused { refusal, .. } => {
                (refusal.reason.name().to_owned(), refusal.field.unwrap_or_default())
            }
        }
    }
}

type Row = (&'static str, Message, &'static str, &'static str);

/// Each form as it is meant, and what it may leave out or add.
fn right() -> Vec<Row> {
    let bare = Message::bare;
    let parameters = Some("application/cloudevents+json; charset=UTF-8");
    vec![
        ("bare", bare("r1"), "dispatched", ""),
        ("bare, text/plain", Message { content_type: Some("text/plain"), ..bare("r2") }, "dispatched", ""),
        (
            "bare, its type said too",
            Message { kind: Some("password-reset-requested"), ..bare("r3") },
            "dispatched",
            "",
        ),
        ("bare, timed", Message { seconds: Some(1_782_907_200), ..bare("r4") }, "dispatched", ""),
        ("bare, old", Message { seconds: Some(1_782_800_000), ..bare("r5") }, "stale", ""),
        ("a short type in the key", Message::keyed("r6", "acme.password-reset-requested"), "dispatched", ""),
        ("Jexia's data", bare("r7").data(&json!({ "email": "elon@example.com" })), "dispatched", ""),
        ("structured", Message::structured("r8", |_| ()), "dispatched", ""),
        (
            "structured, parameters",
            Message { content_type: parameters, ..Message::structured("r9", |_| ()) },
            "dispatched",
            "",
        ),
        (
            "structured, short type",
            Message::structured("r10", |one| one["type"] = json!("password-reset-requested")),
            "dispatched",
            "",
        ),
        (
            "structured, the right project",
            Message::structured("r11", |one| one["project"] = json!("acme")),
            "dispatched",
            "",
        ),
        (
            "structured, unknown attributes",
            Message::structured("r12", |one| one["more"] = json!({ "a": [1] })),
            "dispatched",
            "",
        ),
        (
            "structured, a trace that is none",
            Message::structured("r13", |one| one["traceparent"] = json!("no trace")),
            "dispatched",
            "",
        ),
    ]
}

/// In binary form, and what was said before.
fn right_again() -> Vec<Row> {
    let bare = Message::bare;
    let ce = |id, more| Message::binary("cloudEvents:", id, more);
    vec![
        ("binary, colon", ce("r14", &[]), "dispatched", ""),
        ("binary, underscore", Message::binary("cloudEvents_", "r15", &[]), "dispatched", ""),
        ("binary, a time", ce("r16", &[("time", Some("2026-07-01T13:30:00.5+02:00"))]), "dispatched", ""),
        ("binary, an unknown header", ce("r17", &[("subject", None)]), "dispatched", ""),
        ("no mail owed", Message::keyed("r18", "acme.account.signed-in"), "applied|no-automation", ""),
        ("the same again", bare("r1"), "duplicate dispatched", ""),
        (
            "the same in another form",
            Message { app: Some("shop".into()), ..bare("r8") },
            "duplicate dispatched",
            "",
        ),
        (
            "the same at another time",
            Message { seconds: Some(1_782_907_100), ..bare("r1") },
            "duplicate dispatched",
            "",
        ),
        (
            "the same id of another source",
            Message { app: Some("other".into()), ..bare("r1") },
            "dispatched",
            "",
        ),
        ("the same id of another user", Message { user: Some("alice"), ..bare("r1") }, "dispatched", ""),
    ]
}

fn wrong_properties() -> Vec<Row> {
    let bare = Message::bare;
    let long = || "x".repeat(256);
    let keyed = Message::keyed;
    vec![
        ("no id", Message { id: None, ..bare("") }, "invalid", "id"),
        ("an empty id", bare(""), "invalid", "id"),
        ("a long id", bare(&long()), "invalid", "id"),
        ("a NUL in the id", bare("a\0b"), "invalid", "id"),
        ("a long source", Message { app: Some(long()), ..bare("w1") }, "invalid", "source"),
        ("a NUL in the source", Message { app: Some("a\0b".into()), ..bare("w2") }, "invalid", "source"),
        (
            "another type than the key's",
            Message { kind: Some("account.deleted"), ..bare("w3") },
            "invalid",
            "type",
        ),
        ("no project in the key", keyed("w4", ".account.deleted"), "invalid", "routing_key"),
        ("no type in the key", keyed("w5", "acme"), "invalid", "routing_key"),
        ("no slug", keyed("w6", "Acme.account.deleted"), "invalid", "routing_key"),
        ("6 min ahead", Message { seconds: Some(1_782_907_560), ..bare("w7") }, "invalid", "time"),
        ("milliseconds", Message { seconds: Some(1_782_907_200_000), ..bare("w8") }, "invalid", "time"),
        ("an unknown project", keyed("w9", "nobody.account.signed-in"), "unknown-project", "project"),
        ("an unknown type", keyed("w10", "acme.account.flew-away"), "unknown-type", "type"),
        (
            "an unregistered type of one's own",
            keyed("w11", "acme.billing.card-expiring"),
            "unknown-type",
            "type",
        ),
    ]
}

fn wrong_envelopes() -> Vec<Row> {
    let set = |id: &str, name: &'static str, value: Value| Message::structured(id, |one| one[name] = value);
    let ce = |id, more| Message::binary("cloudEvents:", id, more);
    let without =
        |id: &str, name: &str| Message::structured(id, |one| drop(one.as_object_mut().unwrap().remove(name)));
    vec![
        ("another version", set("e1", "specversion", json!("0.3")), "invalid", "specversion"),
        ("no version", without("e2", "specversion"), "invalid", "specversion"),
        ("structured, no id", without("e3", "id"), "invalid", "id"),
        ("structured, a number as id", set("e4", "id", json!(4)), "invalid", "id"),
        ("structured, no type", without("e5", "type"), "invalid", "type"),
        ("structured, another type", set("e6", "type", json!("account.deleted")), "invalid", "type"),
        ("structured, another project", set("e7", "project", json!("other")), "invalid", "project"),
        ("structured, a list as source", set("e8", "source", json!(["shop"])), "invalid", "source"),
        ("structured, no time", set("e9", "time", json!("yesterday")), "invalid", "time"),
        ("structured, 301 s ahead", set("e10", "time", json!("2026-07-01T12:05:01Z")), "invalid", "time"),
        ("structured, base64", set("e11", "data_base64", json!("e30=")), "invalid", "data_base64"),
        ("structured, a NUL", set("e12", "subject", json!("a\0b")), "invalid", "subject"),
        ("structured, no object", Message::structured("e13", |one| *one = json!([1])), "invalid", "body"),
        (
            "structured, no JSON",
            Message { body: b"{".to_vec(), ..Message::structured("e14", |_| ()) },
            "invalid",
            "body",
        ),
        ("binary, another version", ce("e15", &[("specversion", Some("1.1"))]), "invalid", "specversion"),
        ("binary, no text as id", ce("e16", &[("id", None)]), "invalid", "id"),
        ("binary, another project", ce("e17", &[("project", Some("other"))]), "invalid", "project"),
        ("binary, another type", ce("e18", &[("type", Some("account.deleted"))]), "invalid", "type"),
        ("binary, no JSON", Message { body: b"elon".to_vec(), ..ce("e19", &[]) }, "invalid", "data"),
    ]
}

fn wrong_data() -> Vec<Row> {
    let with = |id: &str, data: Value| Message::bare(id).data(&data);
    let body = |id: &str, body: &[u8]| Message { body: body.to_vec(), ..Message::bare(id) };
    let deep = format!("{{\"member\":\"elon\",\"deep\":{}{}}}", "[".repeat(32), "]".repeat(32));
    let created = |id: &str, data: Value| Message::keyed(id, "acme.account.created").data(&data);
    vec![
        ("no JSON", body("d1", b"elon"), "invalid", "data"),
        ("no UTF-8", body("d2", b"{\"member\":\"\xff\"}"), "invalid", "data"),
        ("nothing", body("d3", b""), "invalid", "data"),
        ("no object", with("d4", json!(["elon"])), "invalid", "data"),
        ("nested 33 deep", body("d5", deep.as_bytes()), "invalid", "data"),
        (
            "257 KiB",
            with("d6", json!({ "member": "elon", "note": "n".repeat(257 * 1024) })),
            "invalid",
            "body",
        ),
        ("a NUL in it", with("d7", json!({ "member": "elon", "note": "a\0b" })), "invalid", "note"),
        ("no member", with("d8", json!({})), "invalid", "member"),
        ("a list of members", with("d9", json!({ "member": ["elon", "ada"] })), "invalid", "member"),
        ("an object as member", with("d10", json!({ "member": { "id": "elon" } })), "invalid", "member"),
        ("a long member", with("d11", json!({ "member": "m".repeat(2000) })), "invalid", "member"),
        (
            "another reason",
            with("d12", json!({ "member": "elon", "reason": "because" })),
            "invalid",
            "reason",
        ),
        (
            "a wrong address",
            created("d13", json!({ "username": "ada", "email": "ada@" })),
            "invalid",
            "email",
        ),
        (
            "an address of another's",
            created("d14", json!({ "id": "mem_ada", "email": "elon@example.com" })),
            "email-in-use",
            "email",
        ),
        (
            "an id with other data",
            with("r1", json!({ "member": "elon", "reason": "admin" })),
            "id-reused",
            "id",
        ),
        ("an id with another type", Message::keyed("r2", "acme.account.signed-in"), "id-reused", "id"),
        ("an unknown member", with("d15", json!({ "member": "nobody" })), "unknown-member", "member"),
        (
            "an unknown address",
            with("d16", json!({ "member": "no@body.example" })),
            "unknown-member",
            "member",
        ),
    ]
}

#[tokio::test]
async fn every_form_is_taken_and_every_fault_is_told_by_its_reason_and_field() {
    let world = World::start().await;
    world.member("elon").await;
    let rows = [right(), right_again(), wrong_properties(), wrong_envelopes(), wrong_data()].concat();
    assert!(rows.len() >= 70);
    let mut faults = Vec::new();
    for (what, message, outcome, field) in &rows {
        let ((becomes, named), _) = world.while_time_passes(message.becomes(&world)).await;
        if !outcome.split('|').any(|one| one == becomes) || named != *field {
            faults.push(format!("{what}: {becomes} {named}, not {outcome} {field}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let refused = rows.iter().filter(|(.., field)| !field.is_empty()).count();
    assert_eq!(world.number("select count(*) from refusals").await, i64::try_from(refused).unwrap());
    world.until_idle().await;
    assert!(world.mails().iter().all(|mail| mail.recipient == "elon@example.com"));
}

#[tokio::test]
async fn a_refusal_is_found_by_the_publishers_id_beside_the_event_that_was_accepted() {
    let world = World::start().await;
    world.member("elon").await;
    let mut event = world.event("password-reset-requested", &json!({ "member": "elon" }));
    assert_eq!(world.post("/v1/events", event.clone()).await.status, 202);
    event["data"]["reason"] = json!("admin");
    assert_eq!(world.post("/v1/events", event.clone()).await.said(), (409, "id-reused"));
    let path = format!("/v1/events?source=/shop&id={}", event["id"].as_str().unwrap());
    let found = world.get(&path).await.json["items"].clone();
    let outcomes: Vec<&Value> = found.as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["dispatched", "id-reused"]);
    let fields: Vec<&String> = found[1].as_object().unwrap().keys().collect();
    let wanted = [
        "automations",
        "dispatches",
        "field",
        "id",
        "outcome",
        "reason",
        "source",
        "source_id",
        "time",
        "type",
    ];
    assert_eq!(fields, wanted);
    assert_eq!((&found[1]["reason"], &found[1]["field"]), (&json!("id-reused"), &json!("id")));
}

#[tokio::test]
async fn events_are_listed_newest_first_page_by_page_and_by_type_and_outcome() {
    let world = World::start().await;
    for number in 0..5 {
        let name = format!("m{number}");
        world.pass(TimeDelta::seconds(1)).await;
        world.member(&name).await;
        world.pass(TimeDelta::seconds(1)).await;
        world.publish("deleted", json!({})).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/v1/events?limit=3".to_owned());
    loop {
        let page = world.get(&path).await.json;
        seen.extend(page["items"].as_array().unwrap().iter().map(|one| one["source_id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/events?limit=3&after={next}");
    }
    let numbers: Vec<String> = (0..10).rev().map(|number| number.to_string()).collect();
    assert_eq!(seen, numbers);
    for (filter, count) in [
        ("type=account.deleted", 5),
        ("outcome=invalid", 5),
        ("outcome=applied", 5),
        ("outcome=dispatched", 0),
        ("type=account.created&outcome=invalid", 0),
    ] {
        let found = world.get(&format!("/v1/events?{filter}")).await.json;
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{filter}");
    }
}
