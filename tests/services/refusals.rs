//! Bad events among good ones: each bad one is put aside with its reason, and holds up nobody.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde_json::{Value, json};

use super::scene::{self, Numbered, RESET};
use super::support::program::Program;
use super::support::services::{Publisher, Services};
use super::support::sink::Sink;

const GOOD: usize = 500;
/// By which a bad event is known again, with or without an id of its own.
const NUMBER: &str = "test-number";

/// Bad events as lines of a publisher's file, each with the reason that it must be refused for.
fn bad() -> Vec<(Value, &'static str)> {
    let member = json!({ "member": "user0" });
    let nested = "[".repeat(40) + &"]".repeat(40);
    let unread = |body: Value| (body, RESET, "invalid");
    let kinds = [
        unread(json!({ "member": 5 })),
        unread(json!({ "member": ["user0@acme.example"] })),
        unread(json!({ "member": { "email": "user0" } })),
        unread(json!({ "member": null })),
        unread(json!({})),
        unread(json!([1, 2])),
        unread(json!("{\"member\": \"user0")),
        unread(json!("no JSON at all")),
        unread(json!("")),
        unread(json!({ "member": "user0\u{0}" })),
        unread(json!({ "member": "user0", "note": "n".repeat(300_000) })),
        unread(json!(format!("{{\"member\": \"user0\", \"deep\": {nested}}}"))),
        unread(json!({ "member": "user0", "reason": "because" })),
        (member.clone(), "acme.account.flew-away", "unknown-type"),
        (member.clone(), "nobody.account.password-reset-requested", "unknown-project"),
        (json!({ "member": "nobody@acme.example" }), RESET, "unknown-member"),
        (json!({ "member": "nobody" }), RESET, "unknown-member"),
        (json!({ "username": "somebody", "email": "no address" }), "acme.account.created", "invalid"),
    ];
    let mut lines = Vec::new();
    for (number, (body, key, reason)) in kinds.into_iter().enumerate() {
        let properties =
            json!({ "message_id": format!("bad-{number}"), "headers": { NUMBER: number.to_string() } });
        lines.push((json!({ "routing_key": key, "properties": properties, "body": body }), reason));
    }
    let number = lines.len().to_string();
    let properties = json!({ "headers": { NUMBER: number } });
    lines.push((json!({ "routing_key": RESET, "properties": properties, "body": member }), "invalid"));
    let number = lines.len().to_string();
    let properties = json!({ "message_id": "bad-raw", "headers": { NUMBER: number } });
    let raw = STANDARD.encode([0xff, 0xfe, 0x00, 0x7b]);
    lines.push((json!({ "routing_key": RESET, "properties": properties, "body_base64": raw }), "invalid"));
    lines
}

fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_bad_events_among_five_hundred_are_put_aside_with_their_reasons() {
    let services = Services::from_env().unwrap();
    let (database, vhost) = (services.database().await.unwrap(), services.vhost().await.unwrap());
    let sink = Sink::builder().usual().start_on_own_thread();
    let domain = Services::domain();
    let program = Program::new(database.url()).with("SIGNALPOST_AMQP_URL", vhost.url());
    program.run(&["migrate"]);
    program.apply(&scene::project_for(&sink));
    let mut workers = [program.serve("one", &[]).await, program.serve("two", &["--only", "worker"]).await];
    scene::create_members(&workers[0], &program.api_key("acme"), &domain, GOOD).await;

    let bad = bad();
    assert_eq!(bad.len(), 20);
    let mut lines = String::new();
    for (line, _) in &bad {
        writeln!(lines, "{line}").unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    let load = Numbered { services: services.clone(), url: vhost.url().to_owned(), domain: domain.clone() };
    let arguments = ["--file", file.path().to_str().unwrap()];
    let (good, refused) = tokio::join!(
        load.publish(Publisher::Amqplib, (0, GOOD), false),
        services.publish(Publisher::Pika, vhost.url(), &arguments),
    );
    assert_eq!((good.unwrap(), refused.unwrap()), (GOOD, bad.len()));

    scene::until_quiet(database.url(), GOOD, Duration::from_mins(1)).await;
    scene::until_waiting(vhost.url(), "signalpost.dead", bad.len(), Duration::from_secs(30)).await;
    for worker in &mut workers {
        worker.stop().await;
    }
    let ledger = scene::balance(&program, GOOD, &domain, scene::letters(&sink)).await;
    assert_eq!(scene::balanced(&ledger, 0).mails, GOOD);
    assert_eq!(scene::waiting_in(vhost.url(), "signalpost.events").await, 0);
    let letters = scene::dead_letters(vhost.url()).await;
    let reasons: BTreeMap<usize, String> = letters
        .iter()
        .map(|(properties, _)| {
            let number = header(properties, NUMBER).unwrap().parse().unwrap();
            (number, header(properties, "x-signalpost-reason").unwrap_or_default())
        })
        .collect();
    let expected: BTreeMap<usize, String> =
        bad.iter().enumerate().map(|(number, (_, reason))| (number, (*reason).to_owned())).collect();
    assert_eq!((letters.len(), reasons), (bad.len(), expected));
}
