//! Every route of the table, called for what another project has: nothing of it is told, nothing is changed.

use serde_json::{Value, json};
use signalpost::domain::api_key::Scope;
use signalpost::domain::id::{AutomationId, DispatchId, EventId, IntegrationId};
use signalpost::web::api::ROUTES;
use uuid::Uuid;

use crate::app::{ACME, AUTOMATION, App, INTEGRATION, OTHER};

/// What every text of the other project has in it.
const MARK: &str = "olga";
/// The other project's records all have this number.
const THEIRS: Uuid = Uuid::from_u128(0x07a);

/// What stands in the place of a path's parameters.
pub(crate) struct Names {
    automation: AutomationId,
    integration: IntegrationId,
    number: Uuid,
    member: &'static str,
    kind: &'static str,
}

impl Names {
    pub(crate) const OURS: Self = Self {
        automation: AUTOMATION,
        integration: INTEGRATION,
        number: Uuid::from_u128(1),
        member: "elon",
        kind: "billing.card",
    };
    const THEIRS: Self = Self {
        automation: AutomationId(THEIRS),
        integration: IntegrationId(THEIRS),
        number: THEIRS,
        member: "olga",
        kind: "olga.card",
    };
}

/// A path with names in it. A new kind of parameter needs a line here.
pub(crate) fn address(path: &str, names: &Names) -> String {
    let id = match path.split('/').nth(2).unwrap() {
        "automations" => names.automation.to_string(),
        "integrations" => names.integration.to_string(),
        "events" => EventId(names.number).to_string(),
        "dispatches" | "dead-letters" => DispatchId(names.number).to_string(),
        _ => "{id}".to_owned(),
    };
    let path = path.replace("{id}", &id).replace("{member}", names.member).replace("{type}", names.kind);
    let path = path.replace("{n}", "1");
    assert!(!path.contains('{'), "{path} has a parameter that is in no line of `address`");
    if path == "/v1/events" { format!("{path}?source={MARK}&id={MARK}") } else { path }
}

/// A right body of a route, as far as it names anything of the other project.
fn body(method: &str, path: &str) -> Value {
    match (method, path) {
        ("put", "/v1/integrations/{id}") => json!({"name": "x", "kind": "capture", "from": "x@acme.example"}),
        ("put", "/v1/automations/{id}") => {
            json!({"name": "x", "event": "olga.card", "integration": "main", "template": "change-password"})
        }
        ("post", "/v1/automations/{id}/test") => json!({"to": "x@acme.example"}),
        ("put", "/v1/event-types/{type}") => json!({"schema": {"title": "ours"}}),
        ("post", "/v1/password-resets") => json!({"member": MARK}),
        _ => json!({}),
    }
}

async fn fill(app: &App) {
    let mut c = app.write().await;
    let at = "2026-07-01T12:00:00+00:00";
    for sql in [
        "insert into integrations (id, project_id, name, kind, sender) values ($1, $2, 'olga', 'capture', 'olga@x.example')",
        "insert into automations (id, project_id, name, event_type, integration_id, template, max_age_s) \
         values ($1, $2, 'olga', 'olga.card', $1, 'change-password', 60)",
        "insert into events (id, project_id, source, source_id, type, time, received_at, outcome, data) \
         values ($1, $2, 'olga', 'olga', 'olga.card', $3, $3, 'dispatched', '{}')",
        "insert into event_identities (project_id, source, source_id, fingerprint, event_id) \
         values ($2, 'olga', 'olga', x'00', $1)",
        "insert into dispatches (id, project_id, event_id, automation_id, automation_version, integration_id, template, \
         member_id, recipient, message_id, state, reason, due_at, expires_at, created_at) \
         values ($1, $2, $1, $1, 1, $1, 'change-password', 'mem_olga', 'olga@example.com', '<olga>', 'dead', 'rejected', \
         $3, $3, $3)",
        "insert into event_types (project_id, type, schema, updated_at) values ($2, 'olga.card', '{\"title\":\"olga\"}', $3)",
        "insert into audit (id, project_id, at, actor, action, subject) values ($1, $2, $3, 'olga', 'olga', 'olga')",
    ] {
        sqlx::query(sql)
            .bind(THEIRS)
            .bind(OTHER.0)
            .bind(at)
            .execute(&mut *c)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    signalpost::store::lite::catalogue::raise_revision(&mut c).await.unwrap();
}

/// What the other project has, as text.
async fn theirs(app: &App) -> String {
    let mut c = app.write().await;
    let mut all = String::new();
    for table in ["integrations", "automations", "dispatches", "event_types", "members", "projects"] {
        let columns: Vec<(String,)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("select name from pragma_table_info('{table}')")))
                .fetch_all(&mut *c)
                .await
                .unwrap();
        let texts: Vec<String> =
            columns.iter().map(|(name,)| format!("coalesce(hex({name}), '-')")).collect();
        let project = if table == "projects" { "id" } else { "project_id" };
        let sql = format!("select {} from {table} where {project} = $1", texts.join(" || ' ' || "));
        let rows: Vec<(String,)> =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(OTHER.0).fetch_all(&mut *c).await.unwrap();
        all.extend(rows.into_iter().map(|(row,)| format!("{table}: {row}\n")));
    }
    all
}

#[tokio::test]
async fn no_route_tells_or_changes_anything_of_another_project() {
    let app = App::start().await;
    fill(&app).await;
    let before = theirs(&app).await;
    assert!(before.contains("automations:"));
    let key = app.key(ACME, &Scope::ALL).await;
    let own_is_theirs = ["/v1/event-types/{type}"];
    for route in ROUTES {
        let path = address(route.path, &Names::THEIRS);
        let body = body(route.method, route.path);
        let body = (route.method != "get" && route.method != "delete").then_some(&body);
        let answer = app.call(&key, (route.method, &path), &[("if-match", "*")], body).await;
        let at = format!("{} {path}: {} {}", route.method, answer.status, answer.text);
        assert!(answer.status < 500, "{at}");
        let told = answer.text.to_lowercase();
        let named_by_us = answer.text.matches("olga.card").count();
        assert!(told.matches(MARK).count() <= named_by_us, "{at}");
        if route.path.contains('{') && !own_is_theirs.contains(&route.path) {
            assert!([400, 404, 415, 422].contains(&answer.status), "{at}");
        }
        if route.path.contains('{') && (route.method == "get" || route.method == "delete") {
            assert_eq!(answer.status, 404, "{at}");
        }
    }
    assert_eq!(theirs(&app).await, before);
    assert!(app.submissions().is_empty());
}
