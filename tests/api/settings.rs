//! The project's settings, its event types, and pausing.

use serde_json::{Value, json};
use signalpost::domain::api_key::{ApiKey, Scope};

use crate::app::{ACME, AUTOMATION, Answer, App, INTEGRATION};

async fn patch(app: &App, key: &ApiKey, body: &Value) -> Answer {
    let etag = app.get(key, "/v1/project").await.header("etag").to_owned();
    app.call(key, ("patch", "/v1/project"), &[("if-match", &etag)], Some(body)).await
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_leaves_the_rest() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let before = app.get(&key, "/v1/project").await.json;
    let wish = json!({
        "name": "Acme Ltd", "link_hosts": ["app.acme.example"], "origins": ["https://app.acme.example"],
        "jexia_calls": true, "out_of_office": {"limit": 3}, "throttle": {"recipient": "9/h"},
        "notices": ["account.*", "dispatch.sent"], "brand": {"footer": "Acme Ltd", "color": null},
    });
    let after = patch(&app, &key, &wish).await;
    assert_eq!(after.status, 200, "{}", after.text);
    let mut wanted = before;
    for field in ["name", "link_hosts", "origins", "jexia_calls", "notices"] {
        wanted[field] = wish[field].clone();
    }
    wanted["out_of_office"]["limit"] = json!(3);
    wanted["throttle"]["recipient"] = json!("9/h");
    wanted["brand"] = json!({"footer": "Acme Ltd", "color": null, "logo_url": null});
    assert_eq!(after.json, wanted);
    assert_eq!(app.get(&key, "/v1/project").await.json, wanted);
    let audit = app.get(&key, "/v1/audit").await;
    assert_eq!(audit.json["items"][0]["action"], "project.changed");
}

#[tokio::test]
async fn a_wrong_setting_is_told_by_its_field() {
    let app = App::start().await;
    let key = app.all_keys().await;
    for (field, body) in [
        ("name", json!({"name": " "})),
        ("link_hosts[0]", json!({"link_hosts": ["https://x"]})),
        ("origins[1]", json!({"origins": ["https://a.example", "http://b.example"]})),
        ("out_of_office.limit", json!({"out_of_office": {"limit": 0}})),
        ("throttle.client", json!({"throttle": {"client": "many"}})),
        ("notices[0]", json!({"notices": ["billing.*"]})),
        ("brand.color", json!({"brand": {"color": "blue"}})),
        ("brand.logo_url", json!({"brand": {"logo_url": "http://x.example/l.png"}})),
        ("slug", json!({"slug": "other"})),
    ] {
        let answer = patch(&app, &key, &body).await;
        assert_eq!(answer.is_problem(400, "invalid")["field"], field, "{}", answer.text);
    }
    app.call(&key, ("patch", "/v1/project"), &[], Some(&json!({})))
        .await
        .is_problem(428, "precondition-required");
}

#[tokio::test]
async fn a_host_that_a_stored_link_goes_to_stays_a_link_host() {
    let app = App::start().await;
    let key = app.all_keys().await;
    patch(&app, &key, &json!({"link_hosts": ["app.acme.example"]})).await;
    let sql = "update automations set link = 'https://app.acme.example/r?t={{ token }}'";
    sqlx::query(sql).execute(&mut *app.write().await).await.unwrap();
    let answer = patch(&app, &key, &json!({"link_hosts": ["other.acme.example"]})).await;
    let problem = answer.is_problem(400, "invalid");
    assert!(problem["detail"].as_str().unwrap().contains("Reset password"), "{problem}");
}

#[tokio::test]
async fn a_host_that_a_stored_text_leads_to_stays_a_link_host() {
    let app = App::start().await;
    let key = app.all_keys().await;
    patch(&app, &key, &json!({"link_hosts": ["app.acme.example", "old.acme.example"]})).await;
    let own = json!({"name": "Own", "event": "account.password-reset-requested", "integration": "main",
                     "subject": "Reset", "body": "Go to https://old.acme.example/r?t={{ token }}."});
    assert_eq!(app.post(&key, "/v1/automations", &own).await.status, 201);
    let answer = patch(&app, &key, &json!({"link_hosts": ["app.acme.example"]})).await;
    let problem = answer.is_problem(400, "invalid");
    assert_eq!(problem["field"], "link_hosts");
    assert!(problem["detail"].as_str().unwrap().contains("the stored body of \"Own\""), "{problem}");
    let both = json!({"link_hosts": ["new.acme.example", "old.acme.example"]});
    assert_eq!(patch(&app, &key, &both).await.status, 200);
}

#[tokio::test]
async fn an_event_type_is_registered_read_and_changed_by_version() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let path = "/v1/event-types/billing.card-expiring";
    let body = json!({"schema": {"type": "object", "required": ["member", "last4"]}});
    app.get(&key, path).await.is_problem(404, "not-found");
    let made = app.call(&key, ("put", path), &[], Some(&body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.json, json!({"type": "billing.card-expiring", "schema": body["schema"]}));
    assert_eq!(app.get(&key, path).await.json, made.json);
    assert_eq!(app.get(&key, "/v1/event-types").await.json, json!({"items": [made.json], "next": null}));
    let other = json!({"schema": {"type": "object"}});
    app.call(&key, ("put", path), &[], Some(&other)).await.is_problem(428, "precondition-required");
    let etag = made.header("etag");
    assert_eq!(app.call(&key, ("put", path), &[("if-match", etag)], Some(&other)).await.status, 200);
    app.call(&key, ("put", path), &[("if-match", etag)], Some(&other))
        .await
        .is_problem(412, "precondition-failed");
}

#[tokio::test]
async fn a_schema_that_leads_elsewhere_or_a_name_of_our_own_is_refused() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let put = async |kind: &str, schema: Value| {
        app.call(&key, ("put", &format!("/v1/event-types/{kind}")), &[], Some(&json!({"schema": schema})))
            .await
    };
    let answer = put("billing.x", json!({"$ref": "https://evil.example/s.json"})).await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "schema");
    let answer = put("billing.x", json!({"type": "nonsense"})).await;
    assert_eq!(answer.is_problem(400, "invalid")["field"], "schema");
    for kind in ["account.mine", "billing", "Billing.x"] {
        assert_eq!(put(kind, json!({})).await.is_problem(400, "invalid")["field"], "type");
    }
}

#[tokio::test]
async fn what_is_paused_says_so_and_goes_on_when_it_is_resumed() {
    let app = App::start().await;
    let key = app.all_keys().await;
    let integration = format!("/v1/integrations/{INTEGRATION}");
    for path in ["/v1/project".to_owned(), integration, format!("/v1/automations/{AUTOMATION}")] {
        for (action, paused) in [("pause", true), ("pause", true), ("resume", false)] {
            let answer = app.post(&key, &format!("{path}/{action}"), &json!({})).await;
            assert_eq!((answer.status, &answer.json["paused"]), (200, &json!(paused)), "{}", answer.text);
            if !path.contains("automations") {
                assert_eq!(app.get(&key, &path).await.json["paused"], paused);
            }
        }
    }
    let missing = "/v1/integrations/int_00000000000000000000000000000099/pause";
    app.post(&key, missing, &json!({})).await.is_problem(404, "not-found");
}

#[tokio::test]
async fn who_may_change_automations_may_not_change_where_links_go() {
    let app = App::start().await;
    let key = app.key(ACME, &[Scope::AutomationsWrite, Scope::Read]).await;
    let answer = patch(&app, &key, &json!({"link_hosts": ["evil.example"]})).await;
    assert_eq!(answer.is_problem(403, "forbidden")["scope"], "integrations:write");
}
