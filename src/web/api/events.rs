//! Events: taken in, and looked up. An event that is refused here is noted like one that the broker brought,
//! so that its publisher can look it up.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as From};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::Items;
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    source: String,
    id: String,
}

/// `GET /v1/events?source=&id=`: what became of the publisher's own id.
pub(super) async fn by_identity(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(identity): Params<Identity>,
) -> Result<Json<Items<Value>>, Problem> {
    for (field, text) in [("source", &identity.source), ("id", &identity.id)] {
        if text.contains('\0') {
            return Err(Problem::invalid(field, "has a NUL character"));
        }
    }
    let project = (caller.project.id.0, caller.project.slug.as_str());
    let mut c = state.store.read().await?;
    let events = db!(c, events::by_identity(project, &identity.source, &identity.id))?;
    Ok(Json(Items { items: events.iter().map(shown).collect(), next: None }))
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
        "detail": event.detail,
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

/// The headers that say something of an event.
fn event_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let of_event = |name: &str| name.starts_with("ce-") || name == "traceparent";
    let texts = headers.iter().filter(|(name, _)| of_event(name.as_str()));
    texts.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}
