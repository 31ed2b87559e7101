//! What every change of a project, an automation or an integration begins with; and pausing them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use serde_json::{Value, json};

use crate::domain::id::{AutomationId, IntegrationId};
use crate::store::{StoreError, Tx, db};
use crate::web::State;
use crate::web::caller::{AutomationsWrite, Caller, IntegrationsWrite};
use crate::web::error::Problem;
use crate::web::extract::PathName;

/// A transaction that no other change of the catalogue overtakes, and that workers see once it is committed.
pub(super) async fn begin(state: &State) -> Result<Tx, StoreError> {
    let mut tx = state.store.begin().await?;
    db!(tx, catalogue::raise_revision())?;
    Ok(tx)
}

/// What waits.
enum Paused {
    Project,
    Automation(AutomationId),
    Integration(IntegrationId),
}

/// `POST /v1/project/pause`
pub(super) async fn pause_project(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
) -> Result<Json<Value>, Problem> {
    set(&state, &caller, &Paused::Project, true).await
}

/// `POST /v1/project/resume`
pub(super) async fn resume_project(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
) -> Result<Json<Value>, Problem> {
    set(&state, &caller, &Paused::Project, false).await
}

/// `POST /v1/automations/{id}/pause`
pub(super) async fn pause_automation(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Json<Value>, Problem> {
    set(&state, &caller, &Paused::Automation(id.parse().map_err(|_| Problem::NotFound)?), true).await
}

/// `POST /v1/automations/{id}/resume`
pub(super) async fn resume_automation(
    caller: Caller<AutomationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Json<Value>, Problem> {
    set(&state, &caller, &Paused::Automation(id.parse().map_err(|_| Problem::NotFound)?), false).await
}

/// `POST /v1/integrations/{id}/pause`
pub(super) async fn pause_integration(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Json<Value>, Problem> {
    set(&state, &caller, &Paused::Integration(id.parse().map_err(|_| Problem::NotFound)?), true).await
}

/// `POST /v1/integrations/{id}/resume`
pub(super) async fn resume_integration(
    caller: Caller<IntegrationsWrite>,
    From(state): From<Arc<State>>,
    PathName(id): PathName,
) -> Result<Json<Value>, Problem> {
    set(&state, &caller, &Paused::Integration(id.parse().map_err(|_| Problem::NotFound)?), false).await
}

/// Also when it was so already.
async fn set<S>(
    state: &State,
    caller: &Caller<S>,
    what: &Paused,
    pause: bool,
) -> Result<Json<Value>, Problem> {
    let (project, now) = (caller.project.id, state.clock.now());
    let at = pause.then_some(now);
    let mut tx = begin(state).await?;
    let (kind, is_there, subject) = match what {
        Paused::Project => ("project", db!(tx, pauses::project(project, at))?, caller.project.slug.clone()),
        Paused::Automation(id) => {
            ("automation", db!(tx, pauses::automation(project, *id, at))?, id.to_string())
        }
        Paused::Integration(id) => {
            ("integration", db!(tx, pauses::integration(project, *id, at))?, id.to_string())
        }
    };
    if !is_there {
        return Err(Problem::NotFound);
    }
    let action = format!("{kind}.{}", if pause { "paused" } else { "resumed" });
    db!(tx, audit::insert(&caller.audit(now, &action, &subject)))?;
    db!(tx, catalogue::notify_due())?;
    tx.commit().await?;
    state.live.refresh().await?;
    Ok(Json(json!({ "paused": pause })))
}
