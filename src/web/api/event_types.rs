//! Event types that the project registered, each with the JSON Schema of its data.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::changing::begin;
use super::paging::{Items, Paging};
use crate::domain::event_type::EventType;
use crate::store::db;
use crate::store::shown::EventTypeRow;
use crate::web::State;
use crate::web::caller::{AutomationsWrite, Caller, Read};
use crate::web::error::Problem;
use crate::web::etag::{IfMatch, Tagged};
use crate::web::extract::{JsonBody, Params, PathName};

/// `GET /v1/event-types`
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(paging): Params<Paging>,
) -> Result<Json<Items<Value>>, Problem> {
    let (limit, after) = (paging.limit()?, paging.after.unwrap_or_default());
    if after.contains('\0') {
        return Err(Problem::invalid("after", "is not the `next` of a page"));
    }
    let mut c = state.store.read().await?;
    let rows = db!(c, event_types::list(caller.project.id, &after, limit + 1))?;
    Ok(Json(Items::page(rows, limit, |row| row.kind.clone(), |row| shown(&row))))
}

/// `GET /v1/event-types/{type}`
pub(super) async fn get(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(kind): PathName,
) -> Result<Tagged, Problem> {
    if kind.contains('\0') {
        return Err(Problem::NotFound);
    }
    let mut c = state.store.read().await?;
    let row = db!(c, event_types::get(caller.project.id, &kind))?.ok_or(Problem::NotFound)?;
    Ok(Tagged::new(shown(&row)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    schema: Value,
    /// Shown, and named by the path already.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// `PUT /v1/event-types/{type}`: registers one, or with `If-Match` changes it.
pub(super) async fn put(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    PathName(kind): PathName,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Problem> {
    if body.kind.is_some_and(|named| named != kind) {
        return Err(Problem::invalid("type", "is not the type of the path"));
    }
    let checked =
        EventType::new(&kind, body.schema).map_err(|(field, what)| Problem::invalid(field, &what))?;
    let (project, now) = (caller.project.id, state.clock.now());
    let mut tx = begin(&state).await?;
    let old = db!(tx, event_types::get(project, &kind))?;
    if let Some(old) = &old {
        let if_match = IfMatch::read(&headers).ok_or(Problem::PreconditionRequired)?;
        if_match.check(&Tagged::new(shown(old)).etag)?;
    } else if IfMatch::read(&headers).is_some() {
        return Err(Problem::PreconditionFailed);
    }
    let row = EventTypeRow { project_id: project, kind, schema: checked.schema.to_string() };
    db!(tx, event_types::put(project, (&row.kind, &row.schema), now))?;
    let (status, action) = match old {
        Some(_) => (StatusCode::OK, "event-type.changed"),
        None => (StatusCode::CREATED, "event-type.created"),
    };
    db!(tx, audit::insert(&caller.audit(now, action, &row.kind)))?;
    tx.commit().await?;
    state.live.refresh().await?;
    Ok((status, Tagged::new(shown(&row))).into_response())
}

fn shown(row: &EventTypeRow) -> Value {
    json!({ "type": row.kind, "schema": serde_json::from_str::<Value>(&row.schema).unwrap_or_default() })
}
