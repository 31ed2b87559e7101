//! Automations over the API: made, changed, restored, previewed, tried, explained.

use chrono::TimeDelta;
use serde_json::{Value, json};
use signalpost::domain::api_key::ApiKey;

use crate::app::{Answer, App};

const PATH: &str = "/v1/automations";
const RESET: &str = "account.password-reset-requested";

fn own(body: &str) -> Value {
    json!({"name": "Own", "event": RESET, "integration": "main", "subject": "Reset for {{ email }}", "body": body})
}

async fn put(app: &App, key: &ApiKey, path: &str, body: &Value) -> Answer {
    let etag = app.get(key, path).await.header("etag").to_owned();
    app.call(key, ("put", path), &[("if-match", &etag)], Some(body)).await
}

#[tokio::test]
async fn one_is_made_changed_restored_and_taken_out_of_use() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let made = app.post(&key, PATH, &own("Hello, {{.token}}")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = made.header("location").to_owned();
    assert_eq!(
        made.json,
        json!({
            "id": path.rsplit('/').next(), "version": 1, "name": "Own", "event": RESET, "integration": "main",
            "subject": "Reset for {{ email }}", "body": "Hello, {{.token}}", "condition": null, "link": null,
            "token": {"purpose": "reset-password", "lifetime": "30m"}, "max_age": "2h", "enabled": true,
            "paused": false,
        })
    );
    let mut body = app.get(&key, &path).await.json;
    body["body"] = json!("Now {{ link }}");
    body["condition"] = json!("event.reason == 'admin'");
    let changed = put(&app, &key, &path, &body).await;
    assert_eq!((changed.status, &changed.json["version"]), (200, &json!(2)), "{}", changed.text);
    assert_ne!(changed.header("etag"), made.header("etag"));
    let again = put(&app, &key, &path, &body).await;
    assert_eq!(again.json["version"], 2, "nothing changed");
    let versions = app.get(&key, &format!("{path}/versions")).await;
    let told: Vec<_> =
        versions.json["items"].as_array().unwrap().iter().map(|one| one["body"].clone()).collect();
    assert_eq!(told, ["Now {{ link }}", "Hello, {{.token}}"]);
    let restored = app.post(&key, &format!("{path}/versions/1/restore"), &json!({})).await;
    assert_eq!((restored.status, &restored.json["version"]), (200, &json!(3)), "{}", restored.text);
    assert_eq!(
        (&restored.json["body"], &restored.json["condition"]),
        (&json!("Hello, {{.token}}"), &Value::Null)
    );
    app.post(&key, &format!("{path}/versions/9/restore"), &json!({})).await.is_problem(404, "not-found");
    app.clock.advance(TimeDelta::seconds(1));
    assert_eq!(app.call(&key, ("delete", &path), &[], None).await.status, 204);
    app.get(&key, &path).await.is_problem(404, "not-found");
    let audit = app.get(&key, "/v1/audit").await;
    let mut told: Vec<_> =
        audit.json["items"].as_array().unwrap().iter().map(|one| one["action"].clone()).collect();
    told.sort_by_key(ToString::to_string);
    assert_eq!(
        told,
        ["automation.changed", "automation.created", "automation.restored", "automation.retired"]
    );
}

#[tokio::test]
async fn a_change_without_the_newest_etag_is_refused() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let path = app.post(&key, PATH, &own("{{ link }}")).await.header("location").to_owned();
    let body = own("Other {{ link }}");
    app.call(&key, ("put", &path), &[], Some(&body)).await.is_problem(428, "precondition-required");
    let stale = app.call(&key, ("put", &path), &[("if-match", "\"old\"")], Some(&body)).await;
    stale.is_problem(412, "precondition-failed");
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_field_and_its_place() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let with = |field: &str, value: Value| {
        let mut body = own("{{ link }}");
        body[field] = value;
        body
    };
    for (body, field, place) in [
        (with("name", json!("")), "name", None),
        (with("name", json!("Reset password")), "name", None),
        (with("event", json!("account.exploded")), "event", None),
        (with("integration", json!("other")), "integration", None),
        (with("template", json!("change-password")), "template", None),
        (with("subject", json!("a {{ token }}")), "subject", Some((1, 6))),
        (with("subject", Value::Null), "subject", None),
        (with("body", json!("a\n  {{ tokn }}")), "body", Some((2, 6))),
        (with("body", json!("no placeholder")), "body", Some((1, 1))),
        (with("body", json!("[x](https://evil.example/{{ token }})")), "body", Some((1, 1))),
        (with("condition", json!("event.reson == 'x'")), "condition", Some((1, 1))),
        (with("condition", json!("event.reason ==")), "condition", Some((1, 14))),
        (with("link", json!("https://evil.example/{{ token }}")), "link", None),
        (with("token", json!({"lifetime": "13h"})), "token.lifetime", None),
        (with("token", json!({"purpose": "change-email"})), "token.purpose", None),
        (with("token", json!({"purpose": "fun"})), "token.purpose", None),
        (with("max_age", json!("1s")), "max_age", None),
        (with("max_age", json!("soon")), "max_age", None),
        (with("enabled", json!("yes")), "enabled", None),
        (with("colour", json!("red")), "colour", None),
    ] {
        let answer = app.post(&key, PATH, &body).await;
        assert!([400, 409].contains(&answer.status), "{body}: {}", answer.text);
        assert_eq!(answer.json["field"], field, "{body}: {}", answer.text);
        if let Some((line, column)) = place {
            assert_eq!(
                (&answer.json["line"], &answer.json["column"]),
                (&json!(line), &json!(column)),
                "{body}"
            );
        }
    }
    let none = with("token", Value::Null);
    app.post(&key, PATH, &none).await.is_problem(400, "invalid");
}

#[tokio::test]
async fn a_preview_shows_the_mail_with_a_sample_token_and_stores_nothing() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let mut body = own("Hello **{{ member.first_name }}**, {{ link }}");
    body["member"] = json!({"first_name": "<b>", "email": "b@example.com"});
    let shown = app.post(&key, &format!("{PATH}/preview"), &body).await;
    assert_eq!(
        (shown.status, &shown.json["subject"]),
        (200, &json!("Reset for b@example.com")),
        "{}",
        shown.text
    );
    let html = shown.json["html"].as_str().unwrap();
    assert!(html.contains("<strong>&#60;b&#62;</strong>") && html.contains("SAMPLE-token"), "{html}");
    assert!(shown.json["text"].as_str().unwrap().contains("/p/acme/reset-password?token=SAMPLE-token"));
    body["body"] = json!("{{ tokn }}");
    let wrong = app.post(&key, &format!("{PATH}/preview"), &body).await;
    assert_eq!((wrong.status, &wrong.json["column"]), (400, &json!(4)));
    assert_eq!(app.get(&key, PATH).await.json["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_test_goes_through_the_integration_with_a_sample_token() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let path = app.post(&key, PATH, &own("Token {{ token }}")).await.header("location").to_owned();
    let sent = app.post(&key, &format!("{path}/test"), &json!({"to": "ops@acme.example"})).await;
    assert_eq!((sent.status, &sent.json["ok"]), (200, &json!(true)), "{}", sent.text);
    let mailbox = Answer::of(app.request("get", "/console/mailbox").send().await.unwrap()).await;
    assert!(mailbox.text.contains("ops@acme.example"), "{}", mailbox.text);
    app.post(&key, &format!("{path}/test"), &json!({"to": "ops"})).await.is_problem(400, "invalid");
}

#[tokio::test]
async fn an_event_is_explained_with_every_automation_and_its_mail() {
    let app = App::start().await;
    let key = app.all_keys().await;
    for (name, condition) in [("Admins", "member.is_admin"), ("Others", "not member.is_admin")] {
        let mut body = own("Hi {{ member.username }}: {{ token }}");
        body["name"] = json!(name);
        body["condition"] = json!(condition);
        assert_eq!(app.post(&key, PATH, &body).await.status, 201);
    }
    let event = json!({"type": RESET, "data": {"member": "elon"}});
    let told = app.post(&key, "/v1/explain", &event).await;
    assert_eq!((told.status, &told.json["outcome"]), (200, &json!("dispatched")), "{}", told.text);
    let why: Vec<_> = told.json["automations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["why"].as_str()))
        .collect();
    assert_eq!(
        why,
        [("Admins", Some("its condition does not hold")), ("Others", None), ("Reset password", None)]
    );
    let mail = &told.json["mails"][0];
    assert_eq!(
        (&mail["to"], &mail["subject"]),
        (&json!("elon@example.com"), &json!("Reset for elon@example.com"))
    );
    assert!(mail["text"].as_str().unwrap().starts_with("Hi elon: SAMPLE-token"), "{mail}");
    assert!(app.submissions().is_empty());
    let unknown = json!({"type": RESET, "data": {"member": "nobody"}});
    app.post(&key, "/v1/explain", &unknown).await.is_problem(404, "unknown-member");
}

#[tokio::test]
async fn an_event_of_a_registered_type_is_explained_once_it_fits_its_schema() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let kind = "billing.card-expiring";
    let schema = json!({"schema": {"type": "object", "required": ["member", "last4"]}});
    let path = format!("/v1/event-types/{kind}");
    assert_eq!(app.call(&key, ("put", &path), &[], Some(&schema)).await.status, 201);
    let body = json!({"name": "Card", "event": kind, "integration": "main", "subject": "Your card",
                      "body": "It ends in {{ event.last4 }}."});
    let made = app.post(&key, PATH, &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let event = json!({"type": kind, "data": {"member": "elon", "last4": "4242"}});
    let told = app.post(&key, "/v1/explain", &event).await;
    assert_eq!((told.status, &told.json["outcome"]), (200, &json!("dispatched")), "{}", told.text);
    assert!(told.json["mails"][0]["text"].as_str().unwrap().starts_with("It ends in 4242."), "{}", told.text);
    let other = json!({"type": kind, "data": {"member": "elon"}});
    let refused = app.post(&key, "/v1/explain", &other).await;
    assert_eq!(refused.is_problem(400, "invalid")["field"], "data", "{}", refused.text);
    let unknown = json!({"type": "billing.other", "data": {"member": "elon"}});
    app.post(&key, "/v1/explain", &unknown).await.is_problem(422, "unknown-type");
}

#[tokio::test]
async fn the_built_in_e_mails_are_listed_with_their_placeholders() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let list = app.get(&key, "/v1/templates").await.json;
    let one = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "reset-password-confirm")
        .unwrap()
        .clone();
    assert_eq!(one["token"], "reset-password");
    let placeholders = one["placeholders"].as_array().unwrap();
    for name in ["token", "link", "member.first_name", "event.reason", "project.name"] {
        assert!(placeholders.contains(&json!(name)), "{name}");
    }
}
