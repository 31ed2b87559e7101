//! Dispatches, members and password resets.

use chrono::TimeDelta;
use serde_json::json;
use signalpost::domain::api_key::Scope;
use signalpost::domain::id::{DispatchId, EventId, ProjectId};
use signalpost::store::lite;
use signalpost::store::rows::{AttemptRow, DispatchRow};
use uuid::Uuid;

use crate::app::{ACME, AUTOMATION, App, INTEGRATION, OTHER, start_of_tests};

async fn owe(app: &App, project: ProjectId, number: u128) -> DispatchId {
    let id = DispatchId(Uuid::from_u128(number));
    let at = start_of_tests();
    let row = DispatchRow {
        id: id.0,
        project_id: project.0,
        event_id: Uuid::from_u128(7),
        automation_id: AUTOMATION.0,
        automation_version: 1,
        integration_id: INTEGRATION.0,
        template: "reset-password-confirm".to_owned(),
        member_id: "mem_elon".to_owned(),
        recipient: "elon@example.com".to_owned(),
        purpose: None,
        token_id: None,
        message_id: "<1@acme.example>".to_owned(),
        state: "pending",
        reason: None,
        holder: None,
        due_at: at,
        expires_at: at + TimeDelta::hours(2),
        created_at: at,
    };
    lite::dispatches::insert(&mut *app.write().await, &[row]).await.unwrap();
    id
}

async fn try_again(app: &App, id: DispatchId) {
    let mut c = app.write().await;
    let sql = "update dispatches set first_at = $2, first_class = 'transient', first_code = 451, \
               first_reply = '451 later' where id = $1";
    sqlx::query(sql).bind(id.0).bind(start_of_tests()).execute(&mut *c).await.unwrap();
    let row = AttemptRow {
        dispatch_id: id.0,
        number: 2,
        tried_at: start_of_tests() + TimeDelta::seconds(5),
        class: "accepted",
        code: Some(250),
        reply: "250 ok".to_owned(),
    };
    lite::work::insert_attempts(&mut c, &[row]).await.unwrap();
}

#[tokio::test]
async fn a_dispatch_shows_every_attempt_and_what_people_call_its_automation() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::Read]).await;
    let id = owe(&app, ACME, 1).await;
    try_again(&app, id).await;
    let shown = app.get(&key, &format!("/v1/dispatches/{id}")).await;
    assert_eq!(
        shown.json,
        json!({
            "id": id,
            "event_id": EventId(Uuid::from_u128(7)),
            "automation": "Reset password",
            "template": "reset-password-confirm",
            "to": "elon@example.com",
            "state": "pending",
            "reason": null,
            "message_id": "<1@acme.example>",
            "next_attempt_at": "2026-07-01T12:00:00Z",
            "sent_at": null,
            "bounced_at": null, "bounce_status": null, "bounce_diagnostic": null,
            "attempts": [
                {"at": "2026-07-01T12:00:00Z", "class": "transient", "code": 451, "reply": "451 later"},
                {"at": "2026-07-01T12:00:05Z", "class": "accepted", "code": 250, "reply": "250 ok"},
            ],
        })
    );
    let list = app.get(&key, "/v1/dispatches").await;
    assert_eq!(list.json, json!({"items": [shown.json], "next": null}));
}

#[tokio::test]
async fn a_dispatch_in_hand_is_sending_and_has_no_next_time() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::Read]).await;
    let id = owe(&app, ACME, 1).await;
    let query = sqlx::query("update dispatches set holder = 1 where id = $1").bind(id.0);
    query.execute(&mut *app.write().await).await.unwrap();
    let shown = app.get(&key, &format!("/v1/dispatches/{id}")).await;
    assert_eq!(shown.json["state"], "sending");
    assert_eq!(shown.json["next_attempt_at"], json!(null));
}

#[tokio::test]
async fn a_list_pages_by_key_newest_first() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::Read]).await;
    for number in 1..=5 {
        owe(&app, ACME, number).await;
    }
    let mut path = "/v1/dispatches?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = app.get(&key, &path).await;
        let items = page.json["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page.json["next"].as_str() else { break };
        path = format!("/v1/dispatches?limit=2&after={next}");
    }
    let wanted: Vec<String> = (1..=5).rev().map(|n| DispatchId(Uuid::from_u128(n)).to_string()).collect();
    assert_eq!(seen, wanted);
    for (query, field) in
        [("limit=0", "limit"), ("limit=201", "limit"), ("after=x", "after"), ("page=2", "page")]
    {
        let answer = app.get(&key, &format!("/v1/dispatches?{query}")).await;
        assert_eq!(answer.is_problem(400, "invalid")["field"], field);
    }
}

#[tokio::test]
async fn what_another_project_has_is_not_there() {
    let app = App::start().await;
    let key = app.key(ACME, &Scope::ALL).await;
    let theirs = owe(&app, OTHER, 9).await;
    app.get(&key, &format!("/v1/dispatches/{theirs}")).await.is_problem(404, "not-found");
    app.get(&key, "/v1/dispatches/evt_1").await.is_problem(404, "not-found");
    app.get(&key, "/v1/events/dsp_1").await.is_problem(404, "not-found");
    assert_eq!(app.get(&key, "/v1/dispatches").await.json["items"], json!([]));
    for name in ["mem_olga", "olga", "olga@example.com"] {
        app.get(&key, &format!("/v1/members/{name}")).await.is_problem(404, "unknown-member");
        let answer = app.post(&key, "/v1/password-resets", &json!({"member": name})).await;
        answer.is_problem(404, "unknown-member");
    }
    assert!(app.submissions().is_empty());
}

#[tokio::test]
async fn a_member_is_found_by_each_of_its_names_and_shows_no_secret() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::Read]).await;
    for name in ["mem_elon", "Elon", "ELON@example.com", "elon%40example.com"] {
        let shown = app.get(&key, &format!("/v1/members/{name}")).await;
        assert_eq!(
            shown.json,
            json!({
                "id": "mem_elon",
                "username": "elon",
                "email": "elon@example.com",
                "first_name": "elon",
                "last_name": null,
                "locale": null,
                "is_admin": false,
                "on_vacation": false,
                "auto_replies": 0,
            })
        );
    }
    let answer = app.get(&key, "/v1/members/elon%00").await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "member");
}

#[tokio::test]
async fn a_reset_becomes_an_event_of_the_member_it_names() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::AccountsWrite]).await;
    let body = json!({"member": "elon@example.com", "reason": "admin"});
    for _ in 0..2 {
        let answer = app.post(&key, "/v1/password-resets", &body).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json, json!({"event_id": "evt_000000000000000000000000000000e0"}));
    }
    let submitted = app.submissions();
    assert_ne!(submitted[0].id, submitted[1].id);
    assert_eq!(submitted[0].kind, "account.password-reset-requested");
    assert_eq!((submitted[0].project.as_str(), submitted[0].source.as_str()), ("acme", "signalpost"));
    assert_eq!(submitted[0].data, json!({"member": "mem_elon", "reason": "admin"}));
}

#[tokio::test]
async fn a_wrong_body_names_the_field_and_repeats_no_secret() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::AccountsWrite]).await;
    for (path, body, field) in [
        ("/v1/password-resets", json!({"mebmer": "elon"}), json!("mebmer")),
        ("/v1/password-resets", json!({}), json!("member")),
        ("/v1/password-resets", json!({"member": ["elon"]}), json!("member")),
        ("/v1/password-resets", json!({"member": ""}), json!("member")),
        ("/v1/password-resets", json!({"member": "elon", "reason": "hunter2"}), json!("reason")),
        (
            "/v1/password-resets/complete",
            json!({"token": "t", "new_password": 12_345}),
            json!("new_password"),
        ),
        ("/v1/password-resets/complete", json!({"token": "t"}), json!("new_password")),
        ("/v1/tokens/inspect", json!({"token": {"a": "hunter2"}}), json!("token")),
        ("/v1/tokens/redeem", json!({"token": "t", "purpose": "hunter2"}), json!("purpose")),
        ("/v1/tokens/redeem", json!(["hunter2"]), json!(null)),
    ] {
        let answer = app.post(&key, path, &body).await;
        assert_eq!(answer.is_problem(400, "invalid")["field"], field, "{}", answer.text);
        assert!(!answer.text.contains("hunter2") && !answer.text.contains("12345"), "{}", answer.text);
    }
    assert!(app.submissions().is_empty());
}

#[tokio::test]
async fn dispatches_are_found_by_state_and_retried_or_cancelled() {
    let app = App::start().await;
    let key = app.key(ACME, &Scope::ALL).await;
    let (waits, dead) = (owe(&app, ACME, 1).await, owe(&app, ACME, 2).await);
    let theirs = owe(&app, OTHER, 3).await;
    let sql = "update dispatches set state = 'dead', reason = 'rejected' where id = $1";
    sqlx::query(sql).bind(dead.0).execute(&mut *app.write().await).await.unwrap();
    let ids = async |query: &str| -> Vec<String> {
        let list = app.get(&key, &format!("/v1/dispatches?{query}")).await;
        list.json["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("state=dead&reason=rejected").await, [dead.to_string()]);
    assert_eq!(ids("state=pending").await, [waits.to_string()]);
    assert!(ids("reason=expired").await.is_empty());
    let wrong = app.get(&key, "/v1/dispatches?state=lost").await;
    assert_eq!(wrong.is_problem(400, "invalid")["field"], "state");

    let filter = json!({"filter": {"reason": "rejected"}});
    let retried = app.post(&key, "/v1/dispatches/retry", &filter).await;
    assert_eq!(retried.json, json!({"retried": 1, "failed": []}), "{}", retried.text);
    let both = json!({"ids": [waits, dead, theirs, "nonsense"]});
    let cancelled = app.post(&key, "/v1/dispatches/cancel", &both).await;
    assert_eq!(cancelled.json["cancelled"], 2, "{}", cancelled.text);
    assert_eq!(cancelled.json["failed"].as_array().unwrap().len(), 2);
    assert_eq!(ids("state=cancelled").await, [dead.to_string(), waits.to_string()]);
    let audit = app.get(&key, "/v1/audit").await;
    assert!(audit.text.contains("dispatches.retried") && audit.text.contains("dispatches.cancelled"));
    app.post(&key, "/v1/dispatches/retry", &json!({})).await.is_problem(400, "invalid");
}

#[tokio::test]
async fn an_event_is_replayed_with_what_is_dead_of_it_and_nobody_else_s() {
    let app = App::start().await;
    let key = app.key(ACME, &Scope::ALL).await;
    let (waits, dead) = (owe(&app, ACME, 1).await, owe(&app, ACME, 2).await);
    let sql = "insert into events (id, project_id, source, source_id, type, time, received_at, outcome, data, dispatches) \
               values ($1, $2, 'shop', '1', 'account.password-reset-requested', $3, $3, 'dispatched', \
               '{\"member\": \"elon\"}', $4)";
    let query = sqlx::query(sql).bind(Uuid::from_u128(7)).bind(ACME.0).bind(start_of_tests());
    let query = query.bind(json!([waits.0, dead.0]).to_string());
    query.execute(&mut *app.write().await).await.unwrap();
    let sql = "update dispatches set state = 'dead', reason = 'rejected' where id = $1";
    sqlx::query(sql).bind(dead.0).execute(&mut *app.write().await).await.unwrap();
    let event = EventId(Uuid::from_u128(7));
    let path = format!("/v1/events/{event}/replay");
    let theirs = app.key(OTHER, &Scope::ALL).await;
    app.post(&theirs, &path, &json!({})).await.is_problem(404, "not-found");
    let reader = app.key(ACME, &[Scope::Read]).await;
    app.post(&reader, &path, &json!({})).await.is_problem(403, "forbidden");
    let replayed = app.post(&key, &path, &json!({})).await;
    assert_eq!(replayed.json, json!({"replayed": 1, "failed": []}), "{}", replayed.text);
    let shown = app.get(&key, &format!("/v1/dispatches/{dead}")).await;
    assert_eq!((&shown.json["state"], &shown.json["reason"]), (&json!("pending"), &json!(null)));
    assert_ne!(
        shown.json["message_id"],
        app.get(&key, &format!("/v1/dispatches/{waits}")).await.json["message_id"]
    );
    assert_eq!(app.post(&key, &path, &json!({})).await.json, json!({"replayed": 0, "failed": []}));
    let audit = app.get(&key, "/v1/audit").await;
    assert!(audit.text.contains("event.replayed") && audit.text.contains(&event.to_string()));
}
