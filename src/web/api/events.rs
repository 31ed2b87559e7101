//! Events: taken in, and looked up. An event that is refused here is noted like one that the broker brought,
//! so that its publisher can look it up.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as From};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::dispatches::told;
use super::paging::{Items, limit};
use crate::domain::event::{Incoming, MAX_MESSAGE, Planned};
use crate::domain::id::{DispatchId, EventId};
use crate::pipeline::Payload;
use crate::pipeline::decode::{STRUCTURED, Undecodable, decode_http};
use crate::store::db;
use crate::store::shown::StoredEvent;
use crate::web::State;
use crate::web::caller::{Caller, EventsWrite, Read};
use crate::web::error::Problem;
use crate::web::extract::{BODY_LIMIT, Params, PathName, media_type, parse_json, read_body};

/// The content type of several events in one body.
const BATCH: &str = "application/cloudevents-batch+json";
/// The most events in one body.
const MOST_IN_BATCH: usize = 1000;

/// `POST /v1/events`: one event, or a batch.
pub(super) async fn post(
    caller: Caller<EventsWrite>,
    From(state): From<Arc<State>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let slug = &caller.project.slug;
    let received_at = state.clock.now();
    if media_type(&parts.headers).as_deref() == Some(BATCH) {
        let body = read_body(body, BODY_LIMIT).await?;
        let answers = batch(&state, slug, &body, received_at).await?;
        return Ok(Json(answers).into_response());
    }
    let body = read_body(body, MAX_MESSAGE).await?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let headers = event_headers(&parts.headers);
    let planned = take(&state, decode_http(content_type, &headers, &body, slug, received_at)).await?;
    answer(planned).map(IntoResponse::into_response)
}

/// One answer for each event, in order. All are submitted at once, so that they are planned together.
async fn batch(
    state: &State,
    slug: &str,
    body: &[u8],
    received_at: chrono::DateTime<chrono::Utc>,
) -> Result<Vec<Value>, Problem> {
    let events: Vec<Value> = parse_json(body)?;
    if events.len() > MOST_IN_BATCH {
        let detail = format!("A batch has at most {MOST_IN_BATCH} events.");
        return Err(Problem::Invalid { field: None, detail });
    }
    // Each is read as if it had come alone, under the same limits.
    let read =
        |event: &Value| decode_http(Some(STRUCTURED), &[], event.to_string().as_bytes(), slug, received_at);
    let takes = events.iter().map(|event| take(state, read(event)));
    let answers = join_all(takes).await.into_iter().map(|planned| match planned.and_then(answer) {
        Ok((_, Json(answer))) => answer,
        Err(problem) => problem.body(),
    });
    Ok(answers.collect())
}

/// Plans what was decoded, and has what was not noted.
async fn take(state: &State, decoded: Result<Incoming, Undecodable>) -> Result<Planned, Problem> {
    let payload = decoded.map_or_else(Payload::Undecodable, Payload::Event);
    Ok(state.intake.submit(payload).await?)
}

/// 202 for a new event, 200 with the first answer for a duplicate.
fn answer(planned: Planned) -> Result<(StatusCode, Json<Value>), Problem> {
    let (status, event, outcome, dispatches) = match planned {
        Planned::Accepted { event, outcome, dispatches } => {
            (StatusCode::ACCEPTED, event, outcome.to_owned(), dispatches)
        }
        Planned::Duplicate { event, outcome, dispatches } => (StatusCode::OK, event, outcome, dispatches),
        Planned::Refused { event, refusal } => return Err(Problem::Refused(refusal, Some(event))),
    };
    Ok((status, Json(json!({ "event_id": event, "outcome": outcome, "dispatches": dispatches }))))
}

/// `GET /v1/events/{id}`
pub(super) async fn get(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Json<Value>, Problem> {
    let id: EventId = id.parse().map_err(|_| Problem::NotFound)?;
    let project = &caller.project;
    let mut c = state.store.read().await?;
    let event = db!(c, events::get(project.id.0, &project.slug, id.0))?;
    Ok(Json(shown(&event.ok_or(Problem::NotFound)?)))
}

/// `POST /v1/events/{id}/replay`: its dead dispatches are planned again, and nothing that was sent.
pub(super) async fn replay(
    caller: Caller<EventsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Json<Value>, Problem> {
    let id: EventId = id.parse().map_err(|_| Problem::NotFound)?;
    let project = &caller.project;
    let mut c = state.store.read().await?;
    db!(c, events::get(project.id.0, &project.slug, id.0))?.ok_or(Problem::NotFound)?;
    drop(c);
    let (replayed, failed) = told(state.rearm.replay_events(project.id, &[id]).await?);
    let audit = caller.audit(state.clock.now(), "event.replayed", &id.to_string());
    let mut c = state.store.write().await?;
    db!(c, audit::insert(&audit))?;
    Ok(Json(json!({ "replayed": replayed, "failed": failed })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    source: Option<String>,
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    outcome: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// `GET /v1/events`: what became of the publisher's own id with `source` and `id`, else the newest first, accepted
/// ones and refused ones.
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Items<Value>>, Problem> {
    let texts = [
        ("source", &wanted.source),
        ("id", &wanted.id),
        ("type", &wanted.kind),
        ("outcome", &wanted.outcome),
    ];
    for (field, text) in texts {
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(Problem::invalid(field, "has a NUL character"));
        }
    }
    let project = (caller.project.id.0, caller.project.slug.as_str());
    match (&wanted.source, &wanted.id) {
        (Some(source), Some(id)) => {
            let mut c = state.store.read().await?;
            let events = db!(c, events::by_identity(project, source, id))?;
            Ok(Json(Items { items: events.iter().map(shown).collect(), next: None }))
        }
        (None, None) => page(&state, project, &wanted).await,
        (Some(_), None) => Err(Problem::invalid("id", "is missing: an identity is `source` and `id`")),
        (None, Some(_)) => Err(Problem::invalid("source", "is missing: an identity is `source` and `id`")),
    }
}

async fn page(state: &State, project: (Uuid, &str), wanted: &Wanted) -> Result<Json<Items<Value>>, Problem> {
    let limit = limit(wanted.limit.as_deref())?;
    let before = wanted.after.as_deref().map(str::parse::<EventId>).transpose();
    let before = before.map_err(|_| Problem::invalid("after", "is not the `next` of a page"))?;
    let page = (before.map(|id| id.0), limit + 1);
    let like = (wanted.kind.as_deref(), wanted.outcome.as_deref());
    let mut c = state.store.read().await?;
    let mut events = db!(c, events::list(project, like, page))?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = events.len() > most;
    events.truncate(most);
    let next = events.last().filter(|_| has_more).map(|event| EventId(event.id).to_string());
    Ok(Json(Items { items: events.iter().map(shown).collect(), next }))
}

fn shown(event: &StoredEvent) -> Value {
    json!({
        "id": EventId(event.id),
        "source": event.source,
        "source_id": event.source_id,
        "type": event.kind,
        "time": event.time,
        "outcome": event.outcome,
        "reason": event.reason,
        "field": event.field,
        "automations": serde_json::from_str::<Value>(&event.automations).unwrap_or_else(|_| json!([])),
        "dispatches": dispatch_ids(&event.dispatches),
    })
}

/// Stored ids of dispatches, with or without their prefix, as they are shown.
fn dispatch_ids(stored: &str) -> Vec<DispatchId> {
    let ids: Vec<String> = serde_json::from_str(stored).unwrap_or_default();
    let read = |text: &String| {
        let bare = || text.parse().ok().map(DispatchId);
        text.parse().ok().or_else(bare)
    };
    ids.iter().filter_map(read).collect()
}

/// The headers that say something of an event; one that is not UTF-8 has no text.
fn event_headers(headers: &HeaderMap) -> Vec<(String, Option<String>)> {
    let of_event = |name: &str| name.starts_with("ce-") || name == "traceparent";
    let texts = headers.iter().filter(|(name, _)| of_event(name.as_str()));
    let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec()).ok();
    texts.map(|(name, value)| (name.to_string(), text(value))).collect()
}
