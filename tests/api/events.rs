//! Events over HTTP.

use serde_json::{Value, json};
use signalpost::domain::api_key::Scope;

use crate::app::{ACME, Answer, App, OTHER};

fn event(id: &str) -> Value {
    json!({
        "specversion": "1.0",
        "source": "shop",
        "id": id,
        "type": "account.signed-in",
        "data": {"member": "elon"},
    })
}

#[tokio::test]
async fn an_accepted_event_answers_202_and_a_duplicate_200_with_the_same() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::EventsWrite]).await;
    let first = app.publish(&key, &event("1")).await;
    assert_eq!(first.status, 202);
    assert_eq!(
        first.json,
        json!({
            "event_id": "evt_000000000000000000000000000000e0",
            "outcome": "dispatched",
            "dispatches": ["dsp_000000000000000000000000000000d0"],
        })
    );
    let again = app.publish(&key, &event("duplicate")).await;
    assert_eq!((again.status, again.json), (200, first.json));
    assert_eq!(app.submissions()[0].project, "acme");
}

#[tokio::test]
async fn a_refused_event_answers_with_its_reason_and_its_id() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::EventsWrite]).await;
    for (code, status) in [
        ("invalid", 400),
        ("unknown-type", 422),
        ("unknown-member", 404),
        ("email-in-use", 409),
        ("id-reused", 409),
        ("poison", 422),
    ] {
        let answer = app.publish(&key, &event(code)).await;
        let problem = answer.is_problem(status, code);
        assert_eq!(problem["event_id"], "evt_000000000000000000000000000000e0");
        assert_eq!((&problem["field"], &problem["detail"]), (&json!("data"), &json!("said the planner")));
    }
}

#[tokio::test]
async fn a_planner_that_is_gone_is_unavailable_and_says_when_to_come_again() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::EventsWrite]).await;
    let answer = app.publish(&key, &event("stopped")).await;
    answer.is_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "2");
}

#[tokio::test]
async fn a_batch_answers_for_each_event_in_order() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::EventsWrite]).await;
    let batch =
        json!([event("1"), event("unknown-type"), {"source": "shop"}, event("duplicate"), event("stopped")]);
    let request = app.request("post", "/v1/events").bearer_auth(key.expose());
    let request = request.header("content-type", "application/cloudevents-batch+json; charset=utf-8");
    let answer = Answer::of(request.body(batch.to_string()).send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let codes: Vec<&Value> = answer.json.as_array().unwrap().iter().map(|one| &one["code"]).collect();
    let wanted = [json!(null), json!("unknown-type"), json!("invalid"), json!(null), json!("unavailable")];
    assert_eq!(codes, wanted.iter().collect::<Vec<_>>());
    let submitted: Vec<String> = app.submissions().into_iter().map(|incoming| incoming.id).collect();
    assert_eq!(submitted, ["1", "unknown-type", "duplicate", "stopped"]);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_can_be_looked_up_by_its_publisher_alone() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let mut unreadable = event("");
    unreadable["id"] = json!(null);
    let answer = app.publish(&key, &unreadable).await;
    let problem = answer.is_problem(400, "invalid");
    assert_eq!(problem["field"], "id");
    let path = format!("/v1/events/{}", problem["event_id"].as_str().unwrap());
    let shown = app.get(&key, &path).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    assert_eq!((&shown.json["outcome"], &shown.json["field"]), (&json!("invalid"), &json!("id")));
    assert_eq!(shown.json["dispatches"], json!([]));
    let stranger = app.key(OTHER, &Scope::ALL).await;
    app.get(&stranger, &path).await.is_problem(404, "not-found");
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused_and_a_batch_may_be_larger() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::EventsWrite]).await;
    let mut large = event("1");
    large["data"]["note"] = json!("x".repeat(300 * 1024));
    app.publish(&key, &large).await.is_problem(413, "too-large");
    for (copies, status) in [(3, 200), (4, 413)] {
        let batch = Value::from(vec![large.clone(); copies]);
        let request = app.request("post", "/v1/events").bearer_auth(key.expose());
        let request = request.header("content-type", "application/cloudevents-batch+json");
        let answer = Answer::of(request.body(batch.to_string()).send().await.unwrap()).await;
        assert_eq!(answer.status, status, "{}", &answer.text[..100.min(answer.text.len())]);
    }
}

#[tokio::test]
async fn looking_an_event_up_needs_both_halves_of_its_identity() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let found = app.get(&key, "/v1/events?source=shop&id=never").await;
    assert_eq!(found.json, json!({"items": [], "next": null}));
    let answer = app.get(&key, "/v1/events?source=shop").await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "id");
    let answer = app.get(&key, "/v1/events?source=shop&id=1&tpye=x").await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "tpye");
    let answer = app.get(&key, "/v1/events?id=1").await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "source");
    let answer = app.get(&key, "/v1/events?after=x").await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "after");
    let answer = app.get(&key, "/v1/events?source=shop&id=%00").await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "id");
}
