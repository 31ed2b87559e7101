//! What holds for every answer: problems, headers, limits, probes, the stop.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use signalpost::domain::api_key::Scope;
use signalpost::web::Surface;
use signalpost::web::health::Part;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{ACME, Answer, App, start_of_tests};

async fn send(app: &App, method: &str, path: &str) -> Answer {
    Answer::of(app.request(method, path).send().await.unwrap()).await
}

#[tokio::test]
async fn every_answer_has_the_headers_that_hold_a_browser_back() {
    let app = App::start().await;
    for (method, path) in [
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
        ("get", "/nowhere"),
        ("delete", "/healthz"),
        ("get", "/v1/dispatches"),
        ("post", "/v1/events"),
        ("delete", "/v1/events"),
        ("get", "/p/acme/reset-password?token=x"),
        ("head", "/p/acme/reset-password?token=x"),
        ("post", "/p/acme/reset-password"),
        ("get", "/p/nobody/reset-password?token=x"),
        ("get", "/console/mailbox"),
        ("get", "/console/mailbox/dsp_00000000000000000000000000000001"),
    ] {
        let answer = send(&app, method, path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{name} of {method} {path}");
        }
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{policy} of {method} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_done_are_problems() {
    let app = App::start().await;
    let answer = send(&app, "get", "/v1/nothing").await;
    answer.is_problem(404, "not-found");
    let answer = send(&app, "delete", "/v1/events").await;
    answer.is_problem(405, "method-not-allowed");
    let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    send(&app, "delete", "/p/acme/reset-password").await.is_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn a_body_that_is_too_large_or_of_another_kind_is_refused() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::AccountsWrite]).await;
    let large = json!({"token": "x".repeat(1024 * 1024)});
    app.post(&key, "/v1/tokens/inspect", &large).await.is_problem(413, "too-large");
    let request = app.request("post", "/v1/tokens/inspect").bearer_auth(key.expose()).body("token=x");
    let answer = Answer::of(request.send().await.unwrap()).await;
    answer.is_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn readiness_says_which_part_is_not_ready_and_since_when() {
    let app = App::start().await;
    app.readiness.ready(Part::Database);
    let at = start_of_tests() + TimeDelta::seconds(9);
    app.readiness.not_ready(Part::Broker, "the broker closed the connection", at);
    let answer = send(&app, "get", "/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json,
        json!({"ready": false, "parts": [
            {"part": "database", "ready": true},
            {"part": "broker", "ready": false, "why": "the broker closed the connection",
             "since": "2026-07-01T12:00:00Z"},
        ]})
    );
    app.readiness.ready(Part::Broker);
    assert_eq!(send(&app, "get", "/readyz").await.status, 200);
    assert_eq!(send(&app, "get", "/healthz").await.status, 200);
}

#[tokio::test]
async fn an_address_serves_only_its_surface() {
    let public = App::with(Surface { api: true, admin: false, dev: false }).await;
    for path in ["/readyz", "/metrics", "/console/mailbox"] {
        send(&public, "get", path).await.is_problem(404, "not-found");
    }
    send(&public, "get", "/v1/dispatches").await.is_problem(401, "unauthorized");
    let probes = App::with(Surface { api: false, admin: true, dev: false }).await;
    for path in ["/v1/dispatches", "/p/acme/reset-password", "/console/mailbox"] {
        send(&probes, "get", path).await.is_problem(404, "not-found");
    }
    assert_eq!(send(&probes, "get", "/metrics").await.status, 200);
}

#[tokio::test]
async fn a_stop_lets_go_of_idle_connections_and_ends() {
    let mut app = App::start().await;
    let mut idle = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    app.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), app.tasks.join_next()).await;
    ended.expect("the server ends in time").unwrap().unwrap();
    assert_eq!(idle.read(&mut answer).await.unwrap(), 0);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let app = App::start().await;
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
    let head =
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "x".repeat(64 * 1024));
    // The server may close before it has read all of it.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn the_description_of_the_broker_s_side_needs_no_key() {
    let app = App::start().await;
    let answer = send(&app, "get", "/asyncapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json["asyncapi"], "3.0.0");
    assert!(answer.json["components"]["messages"]["account.created"].is_object());
}
