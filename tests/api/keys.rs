//! Who may call what.

use chrono::TimeDelta;
use serde_json::json;
use signalpost::domain::api_key::{ApiKey, Scope};
use signalpost::store::lite;
use signalpost::web::api::ROUTES;

use crate::app::{ACME, Answer, App};

/// Every route that needs a key, with its scope, an address to call it at, and whether it takes a body.
const MATRIX: &[(&str, &str, Scope, &str)] = &[
    ("post", "/v1/events", Scope::EventsWrite, "/v1/events"),
    ("get", "/v1/events", Scope::Read, "/v1/events?source=s&id=1"),
    ("get", "/v1/events/{id}", Scope::Read, "/v1/events/evt_00000000000000000000000000000001"),
    ("get", "/v1/dead-letters", Scope::Read, "/v1/dead-letters"),
    ("get", "/v1/dead-letters/{id}", Scope::Read, "/v1/dead-letters/dsp_00000000000000000000000000000001"),
    ("post", "/v1/dead-letters/replay", Scope::EventsWrite, "/v1/dead-letters/replay"),
    ("post", "/v1/dead-letters/discard", Scope::EventsWrite, "/v1/dead-letters/discard"),
    ("get", "/v1/dispatches", Scope::Read, "/v1/dispatches"),
    ("get", "/v1/dispatches/{id}", Scope::Read, "/v1/dispatches/dsp_00000000000000000000000000000001"),
    ("get", "/v1/members", Scope::Read, "/v1/members"),
    ("post", "/v1/members", Scope::AccountsWrite, "/v1/members"),
    ("get", "/v1/members/{member}", Scope::Read, "/v1/members/elon"),
    ("patch", "/v1/members/{member}", Scope::AccountsWrite, "/v1/members/elon"),
    ("delete", "/v1/members/{member}", Scope::AccountsWrite, "/v1/members/elon"),
    ("get", "/v1/members/{member}/tokens", Scope::Read, "/v1/members/elon/tokens"),
    ("delete", "/v1/members/{member}/tokens", Scope::AccountsWrite, "/v1/members/elon/tokens"),
    ("post", "/v1/members/{member}/email", Scope::AccountsWrite, "/v1/members/elon/email"),
    ("put", "/v1/members/{member}/password", Scope::AccountsWrite, "/v1/members/elon/password"),
    (
        "post",
        "/v1/members/{member}/verify-password",
        Scope::AccountsWrite,
        "/v1/members/elon/verify-password",
    ),
    ("post", "/v1/email-changes/confirm", Scope::AccountsWrite, "/v1/email-changes/confirm"),
    ("post", "/v1/email-changes/undo", Scope::AccountsWrite, "/v1/email-changes/undo"),
    ("post", "/v1/administrators", Scope::AccountsWrite, "/v1/administrators"),
    ("post", "/v1/password-resets", Scope::AccountsWrite, "/v1/password-resets"),
    ("post", "/v1/password-resets/force", Scope::AccountsWrite, "/v1/password-resets/force"),
    ("post", "/v1/password-resets/complete", Scope::AccountsWrite, "/v1/password-resets/complete"),
    ("post", "/v1/tokens/inspect", Scope::AccountsWrite, "/v1/tokens/inspect"),
    ("post", "/v1/tokens/redeem", Scope::AccountsWrite, "/v1/tokens/redeem"),
    ("get", "/v1/audit", Scope::Read, "/v1/audit"),
];

async fn call(app: &App, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let mut request = app.request(method, path).header("content-type", "application/json");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    Answer::of(request.body("{}").send().await.unwrap()).await
}

#[test]
fn every_route_that_needs_a_key_is_in_the_matrix() {
    let told: Vec<_> = ROUTES.iter().map(|route| (route.method, route.path, route.scope)).collect();
    let tested: Vec<_> = MATRIX.iter().map(|(method, path, scope, _)| (*method, *path, *scope)).collect();
    assert_eq!(told, tested);
}

#[tokio::test]
async fn a_call_without_a_good_key_is_unauthorized() {
    let app = App::start().await;
    let good = app.all_keys().await;
    let unknown = ApiKey::generate(&mut rand::rng());
    let wrong = [
        None,
        Some("Bearer".to_owned()),
        Some("Bearer sp_short".to_owned()),
        Some(format!("Bearer {}", unknown.expose())),
        Some(format!("Basic {}", good.expose())),
        Some(format!("Bearer {}x", good.expose())),
        Some(good.expose().to_owned()),
    ];
    for (method, _, _, path) in MATRIX {
        for authorization in &wrong {
            let answer = call(&app, method, path, authorization.as_deref()).await;
            answer.is_problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    assert!(app.submissions().is_empty());
}

#[tokio::test]
async fn two_keys_in_one_call_are_unauthorized() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let request = app.request("get", "/v1/dispatches").bearer_auth(key.expose()).bearer_auth(key.expose());
    Answer::of(request.send().await.unwrap()).await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden_and_the_scope_is_named() {
    let app = App::start().await;
    for (method, _, scope, path) in MATRIX {
        let others: Vec<Scope> = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
        let key = app.key(ACME, &others).await;
        let answer = call(&app, method, path, Some(&format!("Bearer {}", key.expose()))).await;
        assert_eq!(answer.is_problem(403, "forbidden")["scope"], scope.name());
        assert!(answer.text.contains(&format!("`{}`", scope.name())));
    }
    assert!(app.submissions().is_empty());
}

#[tokio::test]
async fn a_key_with_just_the_scope_is_let_in() {
    let app = App::start().await;
    for (method, _, scope, path) in MATRIX {
        let key = app.key(ACME, &[scope]).await;
        let answer = call(&app, method, path, Some(&format!("bearer {}", key.expose()))).await;
        assert!(![401, 403, 405, 500].contains(&answer.status), "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_two_seconds() {
    let app = App::start().await;
    let key = app.all_keys().await;
    assert_eq!(app.get(&key, "/v1/dispatches").await.status, 200);
    let id = lite::keys::list(&mut *app.write().await, ACME.0).await.unwrap()[0].id;
    assert!(lite::keys::revoke(&mut *app.write().await, id, app.clock.now()).await.unwrap());
    app.clock.advance(TimeDelta::seconds(2));
    for (method, _, _, path) in MATRIX {
        let answer = call(&app, method, path, Some(&format!("Bearer {}", key.expose()))).await;
        answer.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_before_a_wrong_body() {
    let app = App::start().await;
    let request = app.request("post", "/v1/password-resets").json(&json!({"nonsense": true}));
    Answer::of(request.send().await.unwrap()).await.is_problem(401, "unauthorized");
}
