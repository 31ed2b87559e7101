//! Events: taken in, and looked up. An event that is refused here is noted like one that the broker brought,
//! so that its publisher can look it up.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as From};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::Items;
use crate::domain::event::{Incoming, MAX_MESSAGE, Planned, Reason, Refusal};
use crate::domain::id::{DispatchId, EventId};
use crate::store::db;
use crate::store::rows::RefusalRow;
use crate::store::shown::StoredEvent;
use crate::web::State;
use crate::web::caller::{Caller, EventsWrite, Read};
use crate::web::error::Problem;
use crate::web::extract::{BODY_LIMIT, Params, PathName, media_type, read_body};

/// The content type of several events in one body.
const BATCH: &str = "application/cloudevents-batch+json";
/// The most events in one body.
const MOST_IN_BATCH: usize = 1000;
/// What a structured event may have around its data, in bytes.
const ENVELOPE: usize = 16 * 1024;

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
    let body = read_body(body, MAX_MESSAGE + ENVELOPE).await?;
    let planned = take(&state, decode(&parts.headers, &body, slug, received_at)).await?;
    answer(planned).map(IntoResponse::into_response)
}

/// One answer for each event, in order. All are submitted at once, so that they are planned together.
async fn batch(
    state: &State,
    slug: &str,
    body: &[u8],
    received_at: DateTime<Utc>,
) -> Result<Vec<Value>, Problem> {
    let events: Vec<Value> = crate::web::extract::parse_json(body)?;
    if events.len() > MOST_IN_BATCH {
        let detail = format!("A batch has at most {MOST_IN_BATCH} events.");
        return Err(Problem::Invalid { field: None, detail });
    }
    let takes = events.into_iter().map(|event| take(state, decode_structured(&event, slug, received_at)));
    let answers = join_all(takes).await.into_iter().map(|planned| match planned.and_then(answer) {
        Ok((_, Json(answer))) => answer,
        Err(problem) => problem.body(),
    });
    Ok(answers.collect())
}

/// Plans what was decoded; notes what was not.
async fn take(state: &State, decoded: Result<Incoming, Box<Undecodable>>) -> Result<Planned, Problem> {
    match decoded {
        Ok(incoming) => Ok(state.planner.submit(incoming).await?),
        Err(undecodable) => note(state, *undecodable).await,
    }
}

async fn note(state: &State, undecodable: Undecodable) -> Result<Planned, Problem> {
    let now = state.clock.now();
    let event = EventId::new_at(now);
    let Undecodable { refusal, project, source, id, kind } = undecodable;
    let row = RefusalRow {
        id: event.0,
        project,
        source,
        source_id: id,
        kind,
        reason: refusal.reason.name(),
        field: refusal.field.clone(),
        detail: refusal.detail.clone(),
        received_at: now,
    };
    let mut c = state.store.write().await?;
    db!(c, events::insert_refusals(std::slice::from_ref(&row)))?;
    Ok(Planned::Refused { event, refusal })
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

// ---- The seam to pipeline::decode, which is to take the place of what follows. ----

/// What could not be read as an event.
struct Undecodable {
    refusal: Refusal,
    project: String,
    source: String,
    id: String,
    kind: String,
}

/// Reads a body that is one event.
fn decode(
    headers: &HeaderMap,
    body: &[u8],
    slug: &str,
    received_at: DateTime<Utc>,
) -> Result<Incoming, Box<Undecodable>> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let structured = content_type.is_some_and(|kind| kind.starts_with("application/cloudevents+json"));
    let event = serde_json::from_slice(body).ok().filter(|_| structured);
    decode_structured(&event.unwrap_or(Value::Null), slug, received_at)
}

/// Reads one event of a batch.
fn decode_structured(
    event: &Value,
    slug: &str,
    received_at: DateTime<Utc>,
) -> Result<Incoming, Box<Undecodable>> {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (source, id, kind) = (text("source"), text("id"), text("type"));
    let missing =
        [("id", &id), ("source", &source), ("type", &kind)].into_iter().find(|(_, text)| text.is_empty());
    if let Some((field, _)) = missing {
        let refusal = Refusal::new(Reason::Invalid, format!("`{field}` is missing")).in_field(field);
        return Err(Box::new(Undecodable { refusal, project: slug.to_owned(), source, id, kind }));
    }
    Ok(Incoming {
        project: slug.to_owned(),
        source,
        id,
        kind: if kind.contains('.') { kind } else { format!("account.{kind}") },
        time: text("time").parse().unwrap_or(received_at),
        received_at,
        data: event.get("data").cloned().unwrap_or(Value::Null),
        traceparent: None,
    })
}
