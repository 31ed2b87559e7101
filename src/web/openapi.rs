//! `/openapi.json`: made of the table of routes, which says method, path and scope, and of `openapi.json` beside
//! this file, which says of each route what it takes and answers. What holds for every route (the key, problems,
//! paging, `If-Match`, `Idempotency-Key`) is added here. Must not know what a route does.

use axum::Json;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{ROUTES, Route};
use super::error::Problem;
use super::idempotency::takes_key;

const DESCRIPTION: &str = include_str!("openapi.json");

const MOST_ITEMS: &str = "A page has at most 200 items; more counts as 200";
const ONCE: &str = "A call made again within 24 h with the same key and body is not done again. It is answered with \
                    the status of the first time and with its record as it is now, or with the ids, numbers and flags \
                    of the first answer: lists of anything but ids are empty then, and texts are left out";

/// What is said of the routes.
#[derive(Deserialize)]
struct Description {
    /// By `method path`.
    operations: Map<String, Value>,
    schemas: Map<String, Value>,
}

/// `GET /openapi.json`
pub(super) async fn get() -> Result<Json<Value>, Problem> {
    document().map(Json).map_err(|error| Problem::internal(&error))
}

/// The description of every route of the table.
pub fn document() -> Result<Value, serde_json::Error> {
    let description: Description = serde_json::from_str(DESCRIPTION)?;
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let told = description.operations.get(&format!("{} {}", route.method, route.path));
        let told = told.unwrap_or(&Value::Null);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route, told);
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Signalpost",
            "version": "1",
            "description": "Account events become single-use tokens and e-mails.",
        },
        "paths": paths,
        "components": {
            "schemas": description.schemas,
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "bearerFormat": "sp_…" } },
        },
        "security": [{ "key": [] }],
    }))
}

fn operation(route: &Route, told: &Value) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": told["summary"],
        "description": format!("Needs a key with the scope `{}`.", route.scope.name()),
        "x-scope": route.scope.name(),
        "parameters": parameters(route, told),
        "responses": responses(route, told),
    });
    if let Some(request) = told["request"].as_str() {
        let content = json!({ media_type(request): { "schema": reference(request) } });
        let is_required = told["optional"] != true;
        operation["requestBody"] = json!({ "required": is_required, "content": content });
    }
    operation
}

/// `post_v1_integrations_id_test`
fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '{', '}', '-']).filter(|word| !word.is_empty());
    std::iter::once(route.method).chain(words).collect::<Vec<_>>().join("_")
}

fn media_type(request: &str) -> &'static str {
    match request {
        "CloudEvent" => "application/cloudevents+json",
        "Message" => "message/rfc822",
        _ => "application/json",
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// A schema by name, or in brackets a page of it.
fn answer_schema(name: &str) -> Value {
    let Some(item) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) else {
        return reference(name);
    };
    json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": reference(item) },
            "next": { "type": ["string", "null"], "description": "The `after` of the following page" },
        },
    })
}

fn parameters(route: &Route, told: &Value) -> Vec<Value> {
    let named = route.path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let text = json!({ "type": "string" });
    let mut all: Vec<Value> =
        named.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text })).collect();
    let query = told["query"].as_array().into_iter().flatten().filter_map(Value::as_str);
    all.extend(query.map(|name| {
        let schema = match name {
            "limit" => json!({ "type": "integer", "minimum": 1, "default": 50, "description": MOST_ITEMS }),
            "since" => json!({ "type": "string", "format": "date-time" }),
            _ => text.clone(),
        };
        json!({ "name": name, "in": "query", "required": false, "schema": schema })
    }));
    match route.method {
        "post" if takes_key(route.path) => all.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
            "description": ONCE,
        })),
        "put" | "patch" if is_versioned(route) => all.push(json!({
            "name": "If-Match", "in": "header", "required": false, "schema": text,
            "description": "The `ETag` of what is changed",
        })),
        _ => {}
    }
    all
}

/// Members have no versions: events change them too.
fn is_versioned(route: &Route) -> bool {
    !route.path.starts_with("/v1/members")
}

fn responses(route: &Route, told: &Value) -> Value {
    let mut all = Map::new();
    for (status, schema) in told["answers"].as_object().into_iter().flatten() {
        let mut answer = json!({ "description": "Done" });
        if let Some(name) = schema.as_str() {
            answer["content"] = json!({ "application/json": { "schema": answer_schema(name) } });
        }
        if route.method == "get" && schema.as_str().is_some_and(is_tagged) {
            answer["headers"] = json!({ "ETag": { "schema": { "type": "string" } } });
        }
        all.insert(status.clone(), answer);
    }
    let mut codes: Vec<(&str, u16)> = vec![("invalid", 400), ("unauthorized", 401), ("forbidden", 403)];
    codes.extend([("too-large", 413), ("unavailable", 503)]);
    codes.extend(route.path.contains('{').then_some(("not-found", 404)));
    codes.extend(told["request"].is_string().then_some(("unsupported-media-type", 415)));
    if route.path.contains("member") || route.path.contains("password-resets") {
        codes.push(("unknown-member", 404));
    }
    match route.method {
        "post" if takes_key(route.path) => {
            codes.extend([("idempotency-key-in-use", 409), ("idempotency-key-reused", 422)]);
        }
        "put" | "patch" if is_versioned(route) => {
            codes.extend([("precondition-required", 428), ("precondition-failed", 412)]);
        }
        _ => {}
    }
    let own = told["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
    codes.extend(own.map(|code| (code, status_of(code))));
    let mut by_status: std::collections::BTreeMap<u16, Vec<&str>> = std::collections::BTreeMap::new();
    for (code, status) in codes {
        by_status.entry(status).or_default().push(code);
    }
    for (status, codes) in by_status {
        let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
        let codes = format!("Problem: `{}`", codes.join("`, `"));
        all.insert(status.to_string(), json!({ "description": codes, "content": content }));
    }
    Value::Object(all)
}

fn is_tagged(schema: &str) -> bool {
    ["Integration", "Automation", "Project", "EventType"].contains(&schema)
}

/// The status of what only some routes answer.
fn status_of(code: &str) -> u16 {
    match code {
        "unknown-member" => 404,
        "wrong-password" => 403,
        "token-invalid" => 410,
        "throttled" => 429,
        "unknown-type" | "poison" | "weak-password" => 422,
        _ => 409,
    }
}
