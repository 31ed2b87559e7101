//! A call that is made twice with one `Idempotency-Key`, and who changed what.

use chrono::TimeDelta;
use serde_json::{Value, json};
use signalpost::domain::api_key::{ApiKey, Scope};
use signalpost::store::lite;
use sqlx::Row as _;

use crate::app::{ACME, Answer, App, INTEGRATION, OTHER};

async fn reset(app: &App, key: &ApiKey, once: &str, body: &Value) -> Answer {
    let request = app.request("post", "/v1/password-resets").bearer_auth(key.expose());
    Answer::of(request.header("idempotency-key", once).json(body).send().await.unwrap()).await
}

#[tokio::test]
async fn a_call_made_twice_with_one_key_is_done_once_and_answered_twice() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let first = reset(&app, &key, "order-1", &json!({"member": "elon"})).await;
    let second = reset(&app, &key, "order-1", &json!({"member": "elon"})).await;
    assert_eq!((first.status, second.status), (202, 202));
    assert_eq!(first.json, second.json);
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), ("", "true"));
    assert_eq!(app.submissions().len(), 1);
    assert_eq!(reset(&app, &key, "order-2", &json!({"member": "elon"})).await.status, 202);
    assert_eq!(app.submissions().len(), 2);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let app = App::start().await;
    let key = app.all_keys().await;
    reset(&app, &key, "order-1", &json!({"member": "elon"})).await;
    let other = reset(&app, &key, "order-1", &json!({"member": "elon", "reason": "admin"})).await;
    other.is_problem(422, "idempotency-key-reused");
    assert_eq!(app.submissions().len(), 1);
}

#[tokio::test]
async fn keys_of_two_callers_have_nothing_to_do_with_each_other() {
    let app = App::start().await;
    let ours = app.all_keys().await;
    let theirs = app.key(OTHER, &Scope::ALL).await;
    assert_eq!(reset(&app, &ours, "1", &json!({"member": "elon"})).await.status, 202);
    assert_eq!(reset(&app, &theirs, "1", &json!({"member": "olga"})).await.status, 202);
    assert_eq!(app.submissions().len(), 2);
}

#[tokio::test]
async fn a_call_that_failed_may_be_made_again_with_its_key() {
    let app = App::start().await;
    let key = app.all_keys().await;
    reset(&app, &key, "1", &json!({"member": "nobody"})).await.is_problem(404, "unknown-member");
    assert_eq!(reset(&app, &key, "1", &json!({"member": "elon"})).await.status, 202);
}

#[tokio::test]
async fn while_the_first_call_is_under_way_the_second_is_a_conflict_and_later_takes_over() {
    let app = App::start().await;
    let key = app.all_keys().await;
    reset(&app, &key, "1", &json!({"member": "elon"})).await;
    // As a process leaves it that died between the call and its end.
    sqlx::query("update idempotency set status = null").execute(&mut *app.write().await).await.unwrap();
    let busy = reset(&app, &key, "1", &json!({"member": "elon"})).await;
    busy.is_problem(409, "idempotency-key-in-use");
    assert_eq!(busy.header("retry-after"), "2");
    app.clock.advance(TimeDelta::seconds(61));
    assert_eq!(reset(&app, &key, "1", &json!({"member": "elon"})).await.status, 202);
    let submitted = app.submissions();
    assert_eq!(submitted.len(), 2);
    assert_eq!(submitted[0].id, submitted[1].id, "the same event, so that no second mail goes out");
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let app = App::start().await;
    let key = app.all_keys().await;
    reset(&app, &key, "1", &json!({"member": "elon"})).await;
    app.clock.advance(TimeDelta::hours(24));
    assert_eq!(reset(&app, &key, "1", &json!({"member": "elon", "reason": "admin"})).await.status, 202);
    let submitted = app.submissions();
    assert_ne!(submitted[0].id, submitted[1].id);
    lite::idempotency::forget(&mut *app.write().await, app.clock.now() + TimeDelta::seconds(1))
        .await
        .unwrap();
    let left = sqlx::query("select count(*) from idempotency").fetch_one(&mut *app.write().await).await;
    assert_eq!(left.unwrap().get::<i64, _>(0), 0);
}

#[tokio::test]
async fn neither_the_key_nor_the_body_is_kept() {
    let app = App::start().await;
    let key = app.all_keys().await;
    reset(&app, &key, "hunter2-key", &json!({"member": "elon"})).await;
    let row = sqlx::query("select hex(fingerprint) || hex(request) || coalesce(answer, '') from idempotency");
    let text: String = row.fetch_one(&mut *app.write().await).await.unwrap().get(0);
    assert!(!text.contains("hunter2") && !text.contains("elon"), "{text}");
}

#[tokio::test]
async fn a_wrong_idempotency_key_is_told_and_one_without_a_right_takes_none() {
    let app = App::start().await;
    let key = app.all_keys().await;
    for wrong in ["", &"x".repeat(256)] {
        let answer = reset(&app, &key, wrong, &json!({"member": "elon"})).await;
        assert_eq!(answer.is_problem(400, "invalid")["field"], "Idempotency-Key");
    }
    let reader = app.key(ACME, &[Scope::Read]).await;
    reset(&app, &reader, "1", &json!({"member": "elon"})).await.is_problem(403, "forbidden");
    assert!(app.submissions().is_empty());
}

#[tokio::test]
async fn an_event_is_answered_by_its_own_identity() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let post = async |id: &str| {
        let event = json!({"specversion": "1.0", "id": id, "source": "shop", "type": "account.signed-in",
                           "data": {"member": "elon"}});
        let request =
            app.request("post", "/v1/events").bearer_auth(key.expose()).header("idempotency-key", "1");
        let request = request.header("content-type", "application/cloudevents+json").body(event.to_string());
        Answer::of(request.send().await.unwrap()).await
    };
    assert_eq!(post("1").await.status, 202);
    assert_eq!(
        post("1").await.status,
        202,
        "the planner of these tests knows no duplicate but one of that id"
    );
    post("2").await.is_problem(422, "idempotency-key-reused");
}

/// Makes a call twice with one key; both answers.
async fn twice(app: &App, path: &str, body: &Value) -> [Answer; 2] {
    let key = app.all_keys().await;
    let headers = [("idempotency-key", "once")];
    let first = app.call(&key, ("post", path), &headers, Some(body)).await;
    [first, app.call(&key, ("post", path), &headers, Some(body)).await]
}

#[tokio::test]
async fn a_call_without_a_record_is_answered_again_with_its_ids_numbers_and_flags() {
    let app = App::start().await;
    let path = format!("/v1/integrations/{INTEGRATION}/test");
    let [first, second] = twice(&app, &path, &json!({})).await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(second.header("idempotency-replayed"), "true");
    assert!(!first.json["steps"].as_array().unwrap().is_empty());
    assert_eq!(second.json, json!({"ok": first.json["ok"], "steps": []}));

    let wish = json!({"email": "ops@acme.example", "username": "ops"});
    let [first, second] = twice(&app, "/v1/administrators", &wish).await;
    assert_eq!((first.status, second.status), (201, 201), "{}", first.text);
    assert!(first.json["event_id"].is_string());
    assert_eq!(first.json, second.json, "with the member and the event");
    assert_eq!(second.header("idempotency-replayed"), "true");
}

#[tokio::test]
async fn calls_that_make_no_record_and_cause_no_mail_ignore_the_key() {
    let app = App::start().await;
    for (path, body) in [
        ("/v1/project/pause", json!({})),
        ("/v1/explain", json!({"type": "account.signed-in", "data": {"member": "elon"}})),
    ] {
        let [first, second] = twice(&app, path, &body).await;
        assert_eq!((first.status, second.status), (200, 200), "{path}");
        assert_eq!(first.json, second.json, "{path}");
        assert_eq!(second.header("idempotency-replayed"), "", "{path}");
    }
    let left = sqlx::query("select count(*) from idempotency").fetch_one(&mut *app.write().await).await;
    assert_eq!(left.unwrap().get::<i64, _>(0), 0);
}
