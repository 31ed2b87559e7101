//! Integrations over the API: a password comes in and never goes out.

use chrono::TimeDelta;
use serde_json::{Value, json};
use signalpost::domain::api_key::{ApiKey, Scope};
use sqlx::Row as _;

use crate::app::{ACME, Answer, App, INTEGRATION};
use crate::support::sink::{At, Sink, Step};

const PATH: &str = "/v1/integrations";

fn main(url: &str) -> Value {
    json!({"name": "relay", "kind": "smtp", "url": url, "from": "Acme <no-reply@acme.example>",
           "reply_to": "help@acme.example", "rate": "50/s", "return_path": "bounces@acme.example"})
}

async fn put(app: &App, key: &ApiKey, made: &Answer, body: &Value) -> Answer {
    let path = format!("{PATH}/{}", made.json["id"].as_str().unwrap());
    let etag = app.get(key, &path).await.header("etag").to_owned();
    app.call(key, ("put", &path), &[("if-match", &etag)], Some(body)).await
}

#[tokio::test]
async fn one_is_made_read_changed_and_taken_out_of_use() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let made = app.post(&key, PATH, &main("smtp://me:hunter2@mail.example.com?tls=required")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = made.header("location").to_owned();
    assert_eq!(
        made.json,
        json!({
            "id": path.rsplit('/').next(), "name": "relay", "kind": "smtp", "password_set": true,
            "url": "smtp://me@mail.example.com:587?tls=required", "from": "Acme <no-reply@acme.example>",
            "reply_to": "help@acme.example", "connections": 10, "rate": "50/s", "auto_submitted": true,
            "return_path": "bounces@acme.example", "reply_path": null, "paused": false,
        })
    );
    let read = app.get(&key, &path).await;
    assert_eq!((read.json.clone(), read.header("etag")), (made.json.clone(), made.header("etag")));
    let mut body = read.json;
    body["connections"] = json!(3);
    app.clock.advance(TimeDelta::seconds(1));
    let changed = put(&app, &key, &made, &body).await;
    assert_eq!((changed.status, &changed.json["connections"]), (200, &json!(3)), "{}", changed.text);
    assert_ne!(changed.header("etag"), made.header("etag"));
    let names = |list: &Answer| -> Vec<String> {
        list.json["items"].as_array().unwrap().iter().map(|one| one["name"].to_string()).collect()
    };
    assert_eq!(names(&app.get(&key, PATH).await), ["\"main\"", "\"relay\""]);
    app.clock.advance(TimeDelta::seconds(1));
    assert_eq!(app.call(&key, ("delete", &path), &[], None).await.status, 204);
    app.get(&key, &path).await.is_problem(404, "not-found");
    assert_eq!(names(&app.get(&key, PATH).await), ["\"main\""]);
    let audit = app.get(&key, "/v1/audit").await;
    let told: Vec<&str> =
        audit.json["items"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert_eq!(told, ["integration.retired", "integration.changed", "integration.created"]);
    let first = &audit.json["items"][1];
    assert!(first["actor"].as_str().unwrap().starts_with("key_"), "{first}");
    assert!(first["subject"].as_str().unwrap().ends_with("(relay): connections"), "{first}");
    assert_eq!(first["client"], "127.0.0.1");
}

#[tokio::test]
async fn a_change_says_which_version_it_changes() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let made = app.post(&key, PATH, &main("smtp://mail.example.com")).await;
    let path = made.header("location").to_owned();
    let body = main("smtp://mail2.example.com");
    app.call(&key, ("put", &path), &[], Some(&body)).await.is_problem(428, "precondition-required");
    let stale = app.call(&key, ("put", &path), &[("if-match", "\"old\"")], Some(&body)).await;
    stale.is_problem(412, "precondition-failed");
    let etag = made.header("etag");
    assert_eq!(app.call(&key, ("put", &path), &[("if-match", etag)], Some(&body)).await.status, 200);
    let late = app.call(&key, ("put", &path), &[("if-match", etag)], Some(&body)).await;
    late.is_problem(412, "precondition-failed");
}

#[tokio::test]
async fn a_password_is_sealed_shown_to_nobody_and_asked_for_again_when_it_would_go_elsewhere() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let made = app.post(&key, PATH, &main("smtp://me:hunter2@mail.example.com")).await;
    let same = put(&app, &key, &made, &main("smtp://me@mail.example.com:587?tls=required")).await;
    assert_eq!(same.json["password_set"], true, "{}", same.text);
    for url in [
        "smtp://me@evil.example",
        "smtp://me@mail.example.com:25",
        "smtp://you@mail.example.com",
        "smtps://me@mail.example.com:587",
    ] {
        let answer = put(&app, &key, &made, &main(url)).await;
        let problem = answer.is_problem(400, "invalid");
        assert_eq!(problem["field"], "url");
        assert!(problem["detail"].as_str().unwrap().contains("password again"), "{problem}");
    }
    let other = put(&app, &key, &made, &main("smtp://me:hunter3@mail.example.com")).await;
    assert_ne!(other.header("etag"), same.header("etag"), "another password is another version");
    let list = app.get(&key, PATH).await;
    for answer in [made, same, other, list] {
        assert!(!answer.text.contains("hunter"), "{}", answer.text);
    }
    let rows = sqlx::query("select hex(sealed_password) from integrations where name = 'relay'");
    let sealed: String = rows.fetch_one(&mut *app.write().await).await.unwrap().get(0);
    assert!(!sealed.contains("68756E746572"), "{sealed}");
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field() {
    let app = App::start().await;
    let key = app.all_keys().await;
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("a\nb")),
        ("kind", json!("pigeon")),
        ("url", json!("http://u:hunter2@h")),
        ("url", json!("smtp://u@h.example")),
        ("url", json!("smtp://u:hunter2@h.example?tls=none")),
        ("from", json!("nobody")),
        ("from", json!("A <a@x.example>\r\nBcc: b@x.example")),
        ("reply_to", json!("a@x.example,b@x.example")),
        ("connections", json!(0)),
        ("connections", json!(70000)),
        ("rate", json!("fast")),
        ("return_path", json!("Bounces <b@x.example>")),
        ("colour", json!("blue")),
    ] {
        let mut body = main("smtp://mail.example.com");
        body[field] = value;
        let answer = app.post(&key, PATH, &body).await;
        assert_eq!(answer.is_problem(400, "invalid")["field"], field, "{}", answer.text);
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    }
    let mut body = main("smtp://mail.example.com");
    body["name"] = json!("main");
    assert_eq!(app.post(&key, PATH, &body).await.is_problem(409, "name-in-use")["field"], "name");
}

#[tokio::test]
async fn one_that_an_automation_sends_through_stays() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let answer = app.call(&key, ("delete", &format!("{PATH}/{INTEGRATION}")), &[], None).await;
    assert!(answer.is_problem(409, "in-use")["detail"].as_str().unwrap().contains("Reset password"));
}

#[tokio::test]
async fn a_try_tells_every_step_and_stops_at_the_one_that_failed() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let sink = Sink::start().await;
    let url = format!("smtp://127.0.0.1:{}?tls=none", sink.port());
    let made = app.post(&key, PATH, &main(&url)).await;
    let path = format!("{}/test", made.header("location"));
    let tried = app.post(&key, &path, &json!({"to": "ops@acme.example"})).await;
    let steps = |answer: &Answer| -> Vec<String> {
        let steps = answer.json["steps"].as_array().unwrap().iter();
        steps.map(|step| format!("{} {}", step["step"].as_str().unwrap(), step["ok"])).collect()
    };
    assert_eq!(steps(&tried), ["resolve true", "connect true", "greeting true", "ehlo true", "mail true"]);
    assert_eq!(tried.json["ok"], true);
    let mails = sink.mails();
    assert_eq!((mails.len(), mails[0].to.as_slice()), (1, ["ops@acme.example".to_owned()].as_slice()));
    sink.script([Step::reply_at(At::Greeting, "554 5.3.2 closed")]);
    let tried = app.post(&key, &path, &json!({})).await;
    assert_eq!(steps(&tried).last().unwrap(), "greeting false");
    assert!(tried.json["steps"][2]["detail"].as_str().unwrap().contains("closed"), "{}", tried.text);
    assert_eq!((tried.status, &tried.json["ok"]), (200, &json!(false)));
    drop(sink);
    assert_eq!(steps(&app.post(&key, &path, &json!({})).await).last().unwrap(), "connect false");
    app.post(&key, &path, &json!({"to": "not an address"})).await.is_problem(400, "invalid");
}

#[tokio::test]
async fn tls_and_the_password_are_steps_of_their_own() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let sink = Sink::builder().usual().starttls().auth("PLAIN", "me", "hunter2").start().await;
    let made = app.post(&key, PATH, &main(&format!("smtp://me:hunter2@127.0.0.1:{}", sink.port()))).await;
    let tried = app.post(&key, &format!("{}/test", made.header("location")), &json!({})).await;
    let last = tried.json["steps"].as_array().unwrap().last().unwrap().clone();
    // The tests' own authority is nobody's.
    assert_eq!((&last["step"], &last["ok"]), (&json!("tls"), &json!(false)), "{}", tried.text);
    assert!(!tried.text.contains("hunter2"));
}

#[tokio::test]
async fn an_inner_address_is_not_reached_and_nothing_of_it_is_told() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let made = app.post(&key, PATH, &main("smtp://10.0.0.1:25?tls=none")).await;
    let tried = app.post(&key, &format!("{}/test", made.header("location")), &json!({})).await;
    assert_eq!(tried.json["steps"].as_array().unwrap().len(), 1);
    assert!(tried.text.contains("network policy"), "{}", tried.text);
}

#[tokio::test]
async fn one_made_twice_with_one_idempotency_key_is_one() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::IntegrationsWrite]).await;
    let once = [("idempotency-key", "setup-1")];
    let body = main("smtp://me:hunter2@mail.example.com");
    let first = app.call(&key, ("post", PATH), &once, Some(&body)).await;
    let second = app.call(&key, ("post", PATH), &once, Some(&body)).await;
    assert_eq!((first.status, second.status), (201, 201), "{}", second.text);
    assert_eq!(first.json, second.json);
}

#[tokio::test]
async fn a_try_needs_no_body() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let path = format!("/v1/integrations/{INTEGRATION}/test");
    let tried = app.call(&key, ("post", &path), &[], None).await;
    assert_eq!((tried.status, &tried.json["ok"]), (200, &json!(true)), "{}", tried.text);
    let plain = app.request("post", &path).bearer_auth(key.expose()).body("to=x").send().await.unwrap();
    assert_eq!(plain.status(), 415);
}

#[tokio::test]
async fn a_path_without_room_for_the_id_of_a_dispatch_is_refused() {
    let app = App::start().await;
    let key = app.all_keys().await;
    for field in ["return_path", "reply_path"] {
        let mut body = main("smtp://mail.example.com");
        body[field] = json!("account-bounces@acme.example");
        let answer = app.post(&key, PATH, &body).await;
        answer.is_problem(400, "invalid");
        assert_eq!(answer.json["field"], field, "{}", answer.text);
        assert!(answer.text.contains("15 octets"), "{}", answer.text);
    }
}
