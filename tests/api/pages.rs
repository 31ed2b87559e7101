//! The pages: what a mail's link opens, and the mailbox.

use chrono::TimeDelta;
use serde_json::json;
use signalpost::domain::id::{DispatchId, ProjectId};
use signalpost::domain::token::{Purpose, Token, TokenId};
use signalpost::mail::capture::CapturedMail;
use signalpost::store::lite;
use signalpost::store::rows::TokenRow;
use signalpost::store::shown::StoredCapture;
use signalpost::web::Surface;
use uuid::Uuid;

use crate::app::{ACME, Answer, App, OTHER, start_of_tests};

const TOKEN: TokenId = TokenId(Uuid::from_u128(0x70));

/// Issues a token of elon's, and says the link that his mail has.
async fn link(app: &App, purpose: Purpose) -> String {
    let at = start_of_tests();
    let row = TokenRow {
        project_id: ACME.0,
        member_id: "mem_elon".to_owned(),
        purpose: purpose.name(),
        id: TOKEN.0,
        key_id: app.keyring.current_id().to_owned(),
        event_id: Uuid::from_u128(1),
        dispatches: "[]".to_owned(),
        scope: String::new(),
        payload: "{}".to_owned(),
        lifetime_s: 1800,
        requested_at: at,
        expires_at: at + TimeDelta::minutes(30),
    };
    lite::tokens::issue(&mut *app.write().await, &[row]).await.unwrap();
    let token = Token::make(&app.keyring, app.keyring.current_id(), purpose, TOKEN).unwrap();
    format!("/p/acme/reset-password?token={}", token.expose())
}

async fn open(app: &App, method: &str, path: &str, accept: &str) -> Answer {
    Answer::of(app.request(method, path).header("accept", accept).send().await.unwrap()).await
}

#[tokio::test]
async fn get_and_head_of_a_link_change_nothing() {
    let app = App::start().await;
    let link = link(&app, Purpose::ResetPassword).await;
    for method in ["get", "head", "options"] {
        for accept in ["text/html", "application/json"] {
            for _ in 0..10 {
                open(&app, method, &link, accept).await;
            }
        }
    }
    let row = lite::tokens::find(&mut *app.write().await, TOKEN.0).await.unwrap().unwrap();
    assert!(row.used_at.is_none() && row.ended_at.is_none());
    assert_eq!(row.expires_at, start_of_tests() + TimeDelta::minutes(30));
    assert!(app.submissions().is_empty());
}

#[tokio::test]
async fn a_page_has_a_strict_policy_with_a_fresh_nonce() {
    let app = App::start().await;
    let link = link(&app, Purpose::ResetPassword).await;
    let mut policies = Vec::new();
    for _ in 0..2 {
        let page = open(&app, "get", &link, "text/html").await;
        let policy = page.header("content-security-policy").to_owned();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(page.text.matches(&format!("<style nonce=\"{nonce}\">")).count(), 1);
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        policies.push(policy);
    }
    assert_ne!(policies[0], policies[1]);
}

#[tokio::test]
async fn a_link_of_no_project_is_not_found_and_says_so_to_each_in_his_way() {
    let app = App::start().await;
    let page = open(&app, "get", "/p/nobody/reset-password?token=x", "text/html").await;
    assert_eq!(page.status, 404);
    assert!(page.text.contains("This link does not work"));
    let answer = open(&app, "get", "/p/nobody/reset-password?token=x", "application/json").await;
    answer.is_problem(404, "not-found");
}

#[tokio::test]
async fn a_post_that_is_neither_form_nor_json_is_refused() {
    let app = App::start().await;
    let request =
        app.request("post", "/p/acme/reset-password").header("content-type", "text/plain").body("x");
    Answer::of(request.send().await.unwrap()).await.is_problem(415, "unsupported-media-type");
    let request = app.request("post", "/p/acme/reset-password").form(&[("token", "x".repeat(20_000))]);
    Answer::of(request.send().await.unwrap()).await.is_problem(413, "too-large");
    let request = app.request("post", "/p/acme/reset-password").form(&[("token", "x")]);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "new_password");
}

async fn keep(app: &App, project: ProjectId, number: u128, subject: &str) -> DispatchId {
    let id = DispatchId(Uuid::from_u128(number));
    let mail = CapturedMail {
        project_id: project,
        template: "reset-password-confirm".to_owned(),
        from: "Acme <no-reply@acme.example>".to_owned(),
        to: "elon@example.com".to_owned(),
        subject: subject.to_owned(),
        text: "Your link".to_owned(),
        html: "<p style=\"color:red\">Your link</p>".to_owned(),
    };
    let sealed = mail.seal(&app.keyring, id, &mut rand::rng()).unwrap();
    let at = start_of_tests() + TimeDelta::seconds(i64::try_from(number).unwrap());
    let capture = StoredCapture { dispatch_id: id.0, captured_at: at, sealed };
    lite::captures::insert(&mut *app.write().await, project.0, &capture).await.unwrap();
    id
}

#[tokio::test]
async fn the_mailbox_lists_mails_of_every_project_newest_first() {
    let app = App::start().await;
    let (first, second) = (keep(&app, ACME, 1, "First").await, keep(&app, OTHER, 2, "Second").await);
    let page = open(&app, "get", "/console/mailbox", "text/html").await;
    assert_eq!(page.status, 200);
    assert!(page.text.find("Second").unwrap() < page.text.find("First").unwrap());
    assert!(page.text.contains(&format!("href=\"mailbox/{first}\"")));
    let list = open(&app, "get", "/console/mailbox", "application/json").await;
    let items = list.json["items"].as_array().unwrap();
    assert_eq!(items[0]["dispatch_id"], json!(second));
    assert_eq!(
        items[1],
        json!({
            "dispatch_id": first,
            "at": "2026-07-01T12:00:01Z",
            "project_id": ACME,
            "template": "reset-password-confirm",
            "from": "Acme <no-reply@acme.example>",
            "to": "elon@example.com",
            "subject": "First",
            "text": "Your link",
            "html": "<p style=\"color:red\">Your link</p>",
        })
    );
}

#[tokio::test]
async fn a_mail_is_shown_under_a_policy_that_lets_its_styles_in_and_no_script() {
    let app = App::start().await;
    let id = keep(&app, ACME, 1, "First").await;
    let page = open(&app, "get", &format!("/console/mailbox/{id}"), "text/html").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("First") && page.text.contains("href=\"../mailbox\""));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("style-src 'unsafe-inline'") && policy.contains("img-src https:"), "{policy}");
    assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
    let missing = DispatchId(Uuid::from_u128(9));
    for id in [missing.to_string(), "x".to_owned()] {
        open(&app, "get", &format!("/console/mailbox/{id}"), "text/html").await.is_problem(404, "not-found");
    }
}

#[tokio::test]
async fn a_mail_whose_key_is_gone_is_listed_but_not_opened() {
    let app = App::start().await;
    let capture =
        StoredCapture { dispatch_id: Uuid::from_u128(1), captured_at: start_of_tests(), sealed: vec![0; 64] };
    lite::captures::insert(&mut *app.write().await, ACME.0, &capture).await.unwrap();
    let page = open(&app, "get", "/console/mailbox", "text/html").await;
    assert!(page.text.contains("sealed with a key that is not here"));
    let path = format!("/console/mailbox/{}", DispatchId(capture.dispatch_id));
    open(&app, "get", &path, "text/html").await.is_problem(404, "not-found");
}

#[tokio::test]
async fn another_site_cannot_read_the_mailbox() {
    let app = App::start().await;
    let id = keep(&app, ACME, 1, "First").await;
    for path in ["/console/mailbox".to_owned(), format!("/console/mailbox/{id}")] {
        for (name, value) in [("host", "evil.example"), ("sec-fetch-site", "cross-site")] {
            let request = app.request("get", &path).header(name, value);
            let answer = Answer::of(request.send().await.unwrap()).await;
            answer.is_problem(403, "forbidden");
            assert!(!answer.text.contains("First"));
        }
    }
    let public = App::with(Surface { api: true, admin: true, dev: false }).await;
    open(&public, "get", "/console/mailbox", "text/html").await.is_problem(404, "not-found");
}

const GOOD: &str = "gravel piano umbrella";

async fn submit(app: &App, link: &str, password: &str) -> Answer {
    let token = link.split("token=").nth(1).unwrap();
    let form = [("token", token), ("username", "elon"), ("new_password", password)];
    let request = app.request("post", "/p/acme/reset-password").header("accept", "text/html");
    Answer::of(request.form(&form).send().await.unwrap()).await
}

#[tokio::test]
async fn a_person_sets_a_password_after_a_hundred_looks_of_a_scanner() {
    let app = App::start().await;
    let link = link(&app, Purpose::ResetPassword).await;
    for _ in 0..50 {
        assert_eq!(open(&app, "get", &link, "*/*").await.status, 200);
        assert_eq!(open(&app, "head", &link, "*/*").await.status, 200);
    }
    let form = open(&app, "get", &link, "text/html").await;
    assert!(form.text.contains("<form method=\"post\" action=\"reset-password\">"), "{}", form.text);

    let weak = submit(&app, &link, "password").await;
    assert_eq!(weak.status, 422);
    assert!(weak.text.contains("role=\"alert\"") && weak.text.contains("The password "));
    assert!(!weak.text.contains("value=\"password\""));

    let done = submit(&app, &link, GOOD).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert!(done.text.contains("Your password has been updated"));

    for page in [submit(&app, &link, GOOD).await, open(&app, "get", &link, "text/html").await] {
        assert_eq!(page.status, 410);
        assert!(page.text.contains("It has been used already"));
    }
}

#[tokio::test]
async fn a_link_that_does_not_work_says_why() {
    let app = App::start().await;
    let good = link(&app, Purpose::ResetPassword).await;
    for (path, sentence) in [
        ("/p/acme/reset-password".to_owned(), "not a link"),
        (format!("{good}x"), "not a link"),
        ("/p/acme/reset-password?token=%ff&token=a".to_owned(), "not a link"),
        (good.replace("acme", "other"), "not a link"),
    ] {
        let page = open(&app, "get", &path, "text/html").await;
        assert_eq!(page.status, 410, "{path}");
        assert!(page.text.contains(sentence), "{path}");
    }
    app.clock.advance(TimeDelta::minutes(31));
    assert!(open(&app, "get", &good, "text/html").await.text.contains("has expired"));
    let answer = open(&app, "get", &good, "application/json").await;
    assert_eq!(answer.is_problem(410, "token-invalid")["reason"], "expired");
}

#[tokio::test]
async fn without_the_database_a_person_is_asked_to_try_again() {
    let app = App::start().await;
    let link = link(&app, Purpose::ResetPassword).await;
    app.store.close().await;
    let page = open(&app, "get", &link, "text/html").await;
    assert_eq!((page.status, page.header("retry-after")), (503, "2"));
    assert!(page.text.contains("Please try again"));
    open(&app, "get", &link, "application/json").await.is_problem(503, "unavailable");
}

#[tokio::test]
async fn a_token_of_another_purpose_does_nothing_here() {
    let app = App::start().await;
    let link = link(&app, Purpose::ChangeEmail).await;
    assert_eq!(open(&app, "get", &link, "text/html").await.status, 410);
    assert_eq!(submit(&app, &link, GOOD).await.status, 410);
    let row = lite::tokens::find(&mut *app.write().await, TOKEN.0).await.unwrap().unwrap();
    assert!(row.used_at.is_none());
}

#[tokio::test]
async fn a_front_end_does_with_json_what_the_form_does() {
    let app = App::start().await;
    let link = link(&app, Purpose::ResetPassword).await;
    let token = link.split("token=").nth(1).unwrap();
    let seen = open(&app, "get", &link, "application/json").await;
    let member = json!({"id": "mem_elon", "username": "elon", "is_admin": false});
    let wanted = json!({"purpose": "reset-password", "expires_at": "2026-07-01T12:30:00Z", "member": member});
    assert_eq!(seen.json, wanted);
    let post = async |password: &str| {
        let body = json!({"token": token, "new_password": password});
        let request = app.request("post", "/p/acme/reset-password").json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    assert_eq!(post("password").await.is_problem(422, "weak-password")["field"], "new_password");
    let done = post(GOOD).await;
    assert_eq!((done.status, &done.json["member"]["id"]), (200, &json!("mem_elon")));
    assert_eq!(post(GOOD).await.is_problem(410, "token-invalid")["reason"], "used");
}

#[tokio::test]
async fn the_api_inspects_redeems_and_completes_once() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let link = link(&app, Purpose::ResetPassword).await;
    let token = link.split("token=").nth(1).unwrap();
    for _ in 0..2 {
        let seen = app.post(&key, "/v1/tokens/inspect", &json!({"token": token})).await;
        assert_eq!((seen.status, &seen.json["purpose"]), (200, &json!("reset-password")));
    }
    let other = json!({"token": token, "purpose": "change-email"});
    let answer = app.post(&key, "/v1/tokens/redeem", &other).await;
    assert_eq!(answer.is_problem(410, "token-invalid")["reason"], "unknown");
    let stranger = app.key(OTHER, &signalpost::domain::api_key::Scope::ALL).await;
    let body = json!({"token": token, "purpose": "reset-password"});
    let answer = app.post(&stranger, "/v1/tokens/redeem", &body).await;
    assert_eq!(answer.is_problem(410, "token-invalid")["reason"], "unknown");
    let redeemed = app.post(&key, "/v1/tokens/redeem", &body).await;
    assert_eq!((redeemed.status, &redeemed.json["member"]["id"]), (200, &json!("mem_elon")));
    let complete = json!({"token": token, "new_password": GOOD});
    let answer = app.post(&key, "/v1/password-resets/complete", &complete).await;
    assert_eq!(answer.is_problem(410, "token-invalid")["reason"], "used");
}
