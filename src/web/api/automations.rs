//! Automations: made, changed, restored to an earlier version. The names of the fields are those of a project's
//! file.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::automation_body::{Body, shown};
use super::changing::begin;
use super::paging::{Items, Paging};
use crate::domain::catalogue::{Automation, Integration, changed};
use crate::domain::id::AutomationId;
use crate::store::{Tx, db};
use crate::web::State;
use crate::web::caller::{AutomationsWrite, Caller, Read};
use crate::web::error::Problem;
use crate::web::etag::{IfMatch, Tagged};
use crate::web::extract::{JsonBody, Params, PathName};

/// `GET /v1/automations`: in the order of their ids.
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(paging): Params<Paging>,
) -> Result<Json<Items<Value>>, Problem> {
    let (limit, after) = (paging.limit()?, paging.after::<AutomationId>()?);
    let mut c = state.store.read().await?;
    let rows = db!(c, automations::list(caller.project.id, after, limit + 1))?;
    let names = db!(c, integrations::list(caller.project.id, None, i64::MAX))?;
    Ok(Json(Items::page(rows, limit, |row| row.id.to_string(), |row| shown(&row, &names))))
}

/// `GET /v1/automations/{id}`
pub(super) async fn get(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Tagged, Problem> {
    let id = read_id(&id)?;
    let mut c = state.store.read().await?;
    let found = db!(c, automations::get(caller.project.id, id))?.ok_or(Problem::NotFound)?;
    let names = db!(c, integrations::list(caller.project.id, None, i64::MAX))?;
    Ok(tagged(&found, &names))
}

/// `POST /v1/automations`
pub(super) async fn create(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    JsonBody(body): JsonBody<Body>,
) -> Result<impl IntoResponse, Problem> {
    let now = state.clock.now();
    let mut tx = begin(&state).await?;
    let names = db!(tx, integrations::list(caller.project.id, None, i64::MAX))?;
    let mut made = body.checked(&caller.project, &state.public_url, &names, AutomationId::new_at(now))?;
    made.version = write(&mut tx, &caller, &state, ("created", None, &made)).await?;
    tx.commit().await?;
    state.live.refresh().await?;
    let location = format!("/v1/automations/{}", made.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], tagged(&made, &names)))
}

/// `PUT /v1/automations/{id}`: what is left out has its default.
pub(super) async fn replace(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
    if_match: IfMatch,
    JsonBody(body): JsonBody<Body>,
) -> Result<Tagged, Problem> {
    let id = read_id(&id)?;
    let mut tx = begin(&state).await?;
    let old = db!(tx, automations::get(caller.project.id, id))?.ok_or(Problem::NotFound)?;
    let names = db!(tx, integrations::list(caller.project.id, None, i64::MAX))?;
    if_match.check(&tagged(&old, &names).etag)?;
    let mut new = body.checked(&caller.project, &state.public_url, &names, id)?;
    (new.version, new.paused) = (old.version, old.paused);
    if changed(&old, &new).is_empty() {
        tx.rollback().await?;
        return Ok(tagged(&old, &names));
    }
    new.version = write(&mut tx, &caller, &state, ("changed", Some(&old), &new)).await?;
    tx.commit().await?;
    state.live.refresh().await?;
    Ok(tagged(&new, &names))
}

/// `DELETE /v1/automations/{id}`: what it owes already is sent.
pub(super) async fn retire(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<StatusCode, Problem> {
    let (project, id, now) = (caller.project.id, read_id(&id)?, state.clock.now());
    let mut tx = begin(&state).await?;
    let old = db!(tx, automations::get(project, id))?.ok_or(Problem::NotFound)?;
    db!(tx, automations::retire(project, id, now))?;
    db!(tx, audit::insert(&caller.audit(now, "automation.retired", &subject(&old, &[]))))?;
    tx.commit().await?;
    state.live.refresh().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/automations/{id}/versions`: the newest first.
pub(super) async fn versions(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
    Params(paging): Params<Paging>,
) -> Result<Json<Items<Value>>, Problem> {
    let (id, limit, below) = (read_id(&id)?, paging.limit()?, paging.after::<i32>()?);
    let project = caller.project.id;
    let mut c = state.store.read().await?;
    let rows = db!(c, automations::versions(project, id, below.unwrap_or(i32::MAX), limit + 1))?;
    if rows.is_empty() && db!(c, automations::get(project, id))?.is_none() {
        return Err(Problem::NotFound);
    }
    let names = db!(c, integrations::list(project, None, i64::MAX))?;
    let version = |row: crate::store::edition::StoredVersion| {
        let mut one = row.automation(id).map_or_else(|_| json!({}), |one| shown(&one, &names));
        one["version"] = row.version.into();
        one["at"] = json!(row.at);
        one
    };
    Ok(Json(Items::page(rows, limit, |row| row.version.to_string(), version)))
}

/// `POST /v1/automations/{id}/versions/{n}/restore`: as a new version. Checked again, since a host may be gone.
pub(super) async fn restore(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    axum::extract::Path((id, number)): axum::extract::Path<(String, String)>,
) -> Result<Tagged, Problem> {
    let (project, id) = (caller.project.id, read_id(&id)?);
    let number: i32 = number.parse().map_err(|_| Problem::NotFound)?;
    let mut tx = begin(&state).await?;
    let old = db!(tx, automations::get(project, id))?.ok_or(Problem::NotFound)?;
    let earlier = db!(tx, automations::version(project, id, number))?.ok_or(Problem::NotFound)?;
    let names = db!(tx, integrations::list(project, None, i64::MAX))?;
    let body = Body::of(&earlier, &names);
    let mut new = body.checked(&caller.project, &state.public_url, &names, id)?;
    new.paused = old.paused;
    new.version = write(&mut tx, &caller, &state, ("restored", Some(&old), &new)).await?;
    tx.commit().await?;
    state.live.refresh().await?;
    Ok(tagged(&new, &names))
}

async fn write(
    tx: &mut Tx,
    caller: &Caller<AutomationsWrite>,
    state: &State,
    (action, old, new): (&str, Option<&Automation>, &Automation),
) -> Result<i32, Problem> {
    let (project, now) = (caller.project.id, state.clock.now());
    let version = db!(tx, automations::put(project, new, now)).map_err(|error| {
        if error.is_unique_violation() { Problem::name_in_use("automation") } else { error.into() }
    })?;
    let fields = old.map(|old| changed(old, new)).unwrap_or_default();
    let entry = caller.audit(now, &format!("automation.{action}"), &subject(new, &fields));
    db!(tx, audit::insert(&entry))?;
    Ok(version)
}

fn subject(automation: &Automation, changed: &[&str]) -> String {
    let changed = if changed.is_empty() { String::new() } else { format!(": {}", changed.join(", ")) };
    format!("{} ({}){changed}", automation.id, automation.name)
}

pub(super) fn read_id(text: &str) -> Result<AutomationId, Problem> {
    text.parse().map_err(|_| Problem::NotFound)
}

fn tagged(automation: &Automation, names: &[Integration]) -> Tagged {
    Tagged::with(shown(automation, names), &automation.version.to_be_bytes())
}
