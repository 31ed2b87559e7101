//! Who changed what of the project, newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;
use serde_json::{Value, json};

use super::paging::{Items, Paging};
use crate::domain::id::AuditId;
use crate::store::db;
use crate::store::shown::AuditEntry;
use crate::web::State;
use crate::web::caller::{Caller, Read};
use crate::web::error::Problem;
use crate::web::extract::Params;

/// `GET /v1/audit`
pub(super) async fn list(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    Params(paging): Params<Paging>,
) -> Result<Json<Items<Value>>, Problem> {
    let limit = paging.limit()?;
    let before = paging.after::<AuditId>()?;
    let mut c = state.store.read().await?;
    let rows = db!(c, audit::list(caller.project.id.0, before.map(|id| id.0), limit + 1))?;
    let key = |row: &AuditEntry| AuditId(row.id).to_string();
    Ok(Json(Items::page(rows, limit, key, |row| shown(&row))))
}

fn shown(entry: &AuditEntry) -> Value {
    json!({
        "id": AuditId(entry.id),
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "client": entry.client,
    })
}
