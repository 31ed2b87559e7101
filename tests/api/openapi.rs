//! The description of the API, held against its routes and its answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signalpost::domain::api_key::ApiKey;
use signalpost::web::api::ROUTES;
use signalpost::web::openapi::document;

use crate::app::{Answer, App, INTEGRATION};

/// The committed description: what clients were made for.
const SNAPSHOT: &str = "docs/openapi.json";

fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, one)| (format!("{method} {path}"), one))
    })
}

#[test]
fn every_route_is_described_with_its_scope_and_what_it_takes_and_answers() {
    let document = document().unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method];
        let at = format!("{} {} in src/web/openapi.json", route.method, route.path);
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{at}");
        assert_eq!(operation["x-scope"], route.scope.name(), "{at}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{at}");
        for status in ["400", "401", "403", "503"] {
            assert!(answers[status]["content"]["application/problem+json"].is_object(), "{at}: {status}");
        }
    }
    let text = document.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name: String = part.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(schemas.contains_key(&name), "{name}");
    }
    let ids: BTreeSet<String> =
        operations(&document).map(|(_, one)| one["operationId"].to_string()).collect();
    assert_eq!(ids.len(), ROUTES.len(), "each has its own id");
}

/// Whether what is said of something new still holds what was said of it before.
fn breaks(place: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let required = |of: &Value| -> BTreeSet<String> {
        of["required"].as_array().into_iter().flatten().map(Value::to_string).collect()
    };
    if old["type"] != new["type"] && !old["type"].is_null() {
        found.push(format!("{place} is of another type"));
    }
    for (name, was) in old["properties"].as_object().into_iter().flatten() {
        match new["properties"].get(name) {
            Some(is) => breaks(&format!("{place}.{name}"), was, is, found),
            None => found.push(format!("{place}.{name} is gone")),
        }
    }
    let (was, is) = (required(old), required(new));
    if is_request(place) {
        found.extend(is.difference(&was).map(|name| format!("{place} needs {name} now")));
    } else {
        found.extend(was.difference(&is).map(|name| format!("{place} may lack {name} now")));
    }
}

fn is_request(place: &str) -> bool {
    let name = place.split('.').next().unwrap();
    ["Wish", "Patch", "Chosen", "Presented", "Redemption", "Completion", "Claim", "Trial", "CloudEvent"]
        .iter()
        .any(|end| name.ends_with(end))
}

#[test]
fn nothing_that_clients_rely_on_is_gone() {
    let now = document().unwrap();
    let text = std::fs::read_to_string(SNAPSHOT).unwrap_or_default();
    let Ok(before) = serde_json::from_str::<Value>(&text) else {
        panic!(
            "{SNAPSHOT} is not there: write it with `cargo test --test api -- --ignored write_the_description`"
        )
    };
    let mut found = Vec::new();
    for (name, was) in operations(&before) {
        let (method, path) = name.split_once(' ').unwrap();
        let is = &now["paths"][path][method];
        if is.is_null() {
            found.push(format!("{name} is gone"));
            continue;
        }
        for status in was["responses"].as_object().unwrap().keys().filter(|status| status.starts_with('2')) {
            if is["responses"].get(status).is_none() {
                found.push(format!("{name} answers {status} no more"));
            }
        }
        let wanted = |of: &Value| -> BTreeSet<String> {
            let all = of["parameters"].as_array().unwrap().iter();
            all.filter(|one| one["required"] == true).map(|one| one["name"].to_string()).collect()
        };
        found.extend(wanted(is).difference(&wanted(was)).map(|one| format!("{name} needs {one} now")));
    }
    for (name, was) in before["components"]["schemas"].as_object().unwrap() {
        breaks(name, was, &now["components"]["schemas"][name], &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
#[ignore = "writes the committed description"]
fn write_the_description() {
    let text = serde_json::to_string_pretty(&document().unwrap()).unwrap();
    std::fs::write(SNAPSHOT, text + "\n").unwrap();
}

/// Asserts that an answer is one that the description has.
fn fits(document: &Value, route: (&str, &str), answer: &Answer) {
    let described = &document["paths"][route.1][route.0]["responses"][answer.status.to_string()];
    assert!(described.is_object(), "{route:?} answers {} unannounced: {}", answer.status, answer.text);
    let kind = answer.header("content-type");
    let schema = &described["content"][kind]["schema"];
    if answer.status == 204 {
        return assert!(answer.text.is_empty());
    }
    assert!(schema.is_object(), "{route:?} answers {kind} unannounced");
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::validator_for(&whole).unwrap();
    let wrong: Vec<String> = validator.iter_errors(&answer.json).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{route:?}: {wrong:?} in {}", answer.text);
}

async fn call(app: &App, key: &ApiKey, route: (&str, &str), path: &str, body: Option<Value>) -> Answer {
    app.call(key, (route.0, path), &[("if-match", "*")], body.as_ref()).await
}

#[tokio::test]
async fn answers_are_as_they_are_described() {
    let (app, document) = (App::start().await, document().unwrap());
    let key = app.all_keys().await;
    let integration = format!("/v1/integrations/{INTEGRATION}");
    let smtp = json!({"name": "relay", "url": "smtp://u:p@mail.example.com", "from": "a@acme.example"});
    let schema = json!({"schema": {"type": "object"}});
    let steps: [((&str, &str), &str, Option<Value>); 21] = [
        (("post", "/v1/integrations"), "", Some(smtp.clone())),
        (("post", "/v1/integrations"), "", Some(smtp.clone())),
        (("post", "/v1/integrations"), "", Some(json!({"name": 1}))),
        (("get", "/v1/integrations"), "", None),
        (("get", "/v1/integrations/{id}"), &integration, None),
        (("put", "/v1/integrations/{id}"), &integration, Some(smtp)),
        (("delete", "/v1/integrations/{id}"), &integration, None),
        (("get", "/v1/integrations/{id}"), "/v1/integrations/int_1", None),
        (("post", "/v1/integrations/{id}/test"), "/v1/integrations/int_1/test", Some(json!({}))),
        (("post", "/v1/project/pause"), "", Some(json!({}))),
        (("get", "/v1/project"), "", None),
        (("patch", "/v1/project"), "", Some(json!({"name": "New"}))),
        (("put", "/v1/event-types/{type}"), "/v1/event-types/a.b", Some(schema)),
        (("get", "/v1/event-types"), "", None),
        (("get", "/v1/event-types/{type}"), "/v1/event-types/a.b", None),
        (("get", "/v1/audit"), "", None),
        (("get", "/v1/dispatches"), "", None),
        (("get", "/v1/members/{member}"), "/v1/members/elon", None),
        (("get", "/v1/members/{member}"), "/v1/members/nobody", None),
        (("post", "/v1/password-resets"), "", Some(json!({"member": "elon"}))),
        (("post", "/v1/tokens/inspect"), "", Some(json!({"token": "none"}))),
    ];
    for (route, path, body) in steps {
        let path = if path.is_empty() { route.1 } else { path };
        let answer = call(&app, &key, route, path, body).await;
        fits(&document, route, &answer);
    }
    let served = Answer::of(app.request("get", "/openapi.json").send().await.unwrap()).await;
    assert_eq!((served.status, served.json), (200, document));
}

/// Whether a body is one that the description has.
fn is_described(document: &Value, route: (&str, &str), body: &Value) -> bool {
    let content = &document["paths"][route.1][route.0]["requestBody"]["content"];
    let schema = &content["application/json"]["schema"];
    assert!(schema.is_object(), "{route:?} takes no body");
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    jsonschema::validator_for(&whole).unwrap().is_valid(body)
}

#[tokio::test]
async fn automations_take_and_answer_what_is_described() {
    let (app, document) = (App::start().await, document().unwrap());
    let key = app.all_keys().await;
    let kind = "account.password-reset-requested";
    let own =
        json!({"name": "Own", "event": kind, "integration": "main", "subject": "Hi", "body": "{{ link }}"});
    let made = app.post(&key, "/v1/automations", &own).await;
    fits(&document, ("post", "/v1/automations"), &made);
    let path = made.header("location").to_owned();
    let of = |rest: &str| (format!("/v1/automations/{{id}}{rest}"), format!("{path}{rest}"));
    for (route, path) in [of(""), of("/versions")] {
        fits(&document, ("get", &route), &app.get(&key, &path).await);
    }
    let texts = json!([{"subject": "Hi", "body": "{{ token }}"}, {"locale": "de", "subject": "Hi", "body": "{{ token }}"}]);
    let about = json!({"data": {"reason": "admin"}, "member": {"first_name": "Ada"}, "locale": "de"});
    let with = |more: &Value, about: &Value| {
        let mut body = about.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let preview = "/v1/automations/preview".to_owned();
    let explain = "/v1/explain".to_owned();
    let event = json!({"type": kind, "data": {"member": "elon"}});
    let steps = [
        (of("").0, path.clone(), own.clone(), 200),
        (of("").0, path.clone(), with(&json!({"template": "reset-password-confirm"}), &own), 400),
        (of("").0, path.clone(), with(&json!({"color": "red"}), &own), 400),
        (preview.clone(), preview.clone(), with(&own, &about), 200),
        (preview.clone(), preview.clone(), json!({"event": kind, "texts": texts, "member": "elon"}), 200),
        (preview.clone(), preview.clone(), json!({"event": kind, "texts": texts, "member": "nobody"}), 404),
        (preview.clone(), preview.clone(), with(&own, &json!({"member": {"age": 1}})), 400),
        (of("/test").0, of("/test").1, with(&json!({"to": "ops@acme.example"}), &about), 200),
        (of("/test").0, of("/test").1, about.clone(), 400),
        (explain.clone(), explain.clone(), event, 200),
        (explain.clone(), explain.clone(), json!({"type": "a.b", "data": {"member": "elon"}}), 422),
    ];
    for (route, path, body, status) in steps {
        let method = if route.ends_with("{id}") { "put" } else { "post" };
        let answer = call(&app, &key, (method, &route), &path, Some(body.clone())).await;
        assert_eq!(answer.status, status, "{route}: {}", answer.text);
        fits(&document, (method, &route), &answer);
        // What is refused for its shape alone is not described either.
        let is_shape = body.get("template").is_none();
        let is_bad = status == 400 && is_shape;
        assert_eq!(is_described(&document, (method, &route), &body), !is_bad, "{route}: {body}");
    }
}
