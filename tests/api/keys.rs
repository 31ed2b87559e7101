//! Who may call what.

use chrono::TimeDelta;
use serde_json::json;
use signalpost::domain::api_key::{ApiKey, Scope};
use signalpost::store::lite;
use signalpost::web::api::ROUTES;

use crate::app::{ACME, Answer, App};
use crate::matrix::{Names, address};

/// The routes of the table, each with an address at which the project has something, or could have.
fn matrix() -> impl Iterator<Item = (&'static str, Scope, String)> {
    ROUTES.iter().map(|route| (route.method, route.scope, address(route.path, &Names::OURS)))
}

async fn call(app: &App, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let mut request = app.request(method, path).header("content-type", "application/json");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    Answer::of(request.body("{}").send().await.unwrap()).await
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
    for (method, _, path) in matrix() {
        for authorization in &wrong {
            let answer = call(&app, method, &path, authorization.as_deref()).await;
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
    for (method, scope, path) in matrix() {
        let others: Vec<Scope> = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
        let key = app.key(ACME, &others).await;
        let answer = call(&app, method, &path, Some(&format!("Bearer {}", key.expose()))).await;
        assert_eq!(answer.is_problem(403, "forbidden")["scope"], scope.name());
        assert!(answer.text.contains(&format!("`{}`", scope.name())));
    }
    assert!(app.submissions().is_empty());
}

#[tokio::test]
async fn a_key_with_just_the_scope_is_let_in() {
    let app = App::start().await;
    for (method, scope, path) in matrix() {
        let key = app.key(ACME, &[scope]).await;
        let answer = call(&app, method, &path, Some(&format!("bearer {}", key.expose()))).await;
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
    for (method, _, path) in matrix() {
        let answer = call(&app, method, &path, Some(&format!("Bearer {}", key.expose()))).await;
        answer.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_before_a_wrong_body() {
    let app = App::start().await;
    let request = app.request("post", "/v1/password-resets").json(&json!({"nonsense": true}));
    Answer::of(request.send().await.unwrap()).await.is_problem(401, "unauthorized");
}
