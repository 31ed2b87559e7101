//! What is paused: its dispatches wait and are charged no attempt. Each is `false` when there is no such thing
//! in use; to be called in a transaction that raises the catalogue's revision.

use chrono::{DateTime, Utc};

use super::{Connection, Db};
use crate::domain::id::{AutomationId, IntegrationId, ProjectId};
use crate::store::StoreError;

/// Pauses at a time, or with `None` resumes.
pub async fn project(
    c: &mut Connection,
    project: ProjectId,
    at: Option<DateTime<Utc>>,
) -> Result<bool, StoreError> {
    let sql = "update projects set paused_at = $2 where id = $1";
    Ok(sqlx::query::<Db>(sql).bind(project).bind(at).execute(c).await?.rows_affected() == 1)
}

pub async fn automation(
    c: &mut Connection,
    project: ProjectId,
    id: AutomationId,
    at: Option<DateTime<Utc>>,
) -> Result<bool, StoreError> {
    let sql = "update automations set paused_at = $3 where project_id = $1 and id = $2 and retired_at is null";
    let query = sqlx::query::<Db>(sql).bind(project).bind(id).bind(at);
    Ok(query.execute(c).await?.rows_affected() == 1)
}

pub async fn integration(
    c: &mut Connection,
    project: ProjectId,
    id: IntegrationId,
    at: Option<DateTime<Utc>>,
) -> Result<bool, StoreError> {
    let sql = "update integrations set paused_at = $3 where project_id = $1 and id = $2 and retired_at is null";
    let query = sqlx::query::<Db>(sql).bind(project).bind(id).bind(at);
    Ok(query.execute(c).await?.rows_affected() == 1)
}

/// The automation in use that has that name.
pub async fn automation_named(
    c: &mut Connection,
    project: ProjectId,
    name: &str,
) -> Result<Option<AutomationId>, StoreError> {
    let sql = "select id from automations where project_id = $1 and name = $2 and retired_at is null";
    let query = sqlx::query_scalar::<Db, uuid::Uuid>(sql).bind(project).bind(name);
    Ok(query.fetch_optional(c).await?.map(AutomationId))
}

/// The integration in use that has that name.
pub async fn integration_named(
    c: &mut Connection,
    project: ProjectId,
    name: &str,
) -> Result<Option<IntegrationId>, StoreError> {
    let sql = "select id from integrations where project_id = $1 and name = $2 and retired_at is null";
    let query = sqlx::query_scalar::<Db, uuid::Uuid>(sql).bind(project).bind(name);
    Ok(query.fetch_optional(c).await?.map(IntegrationId))
}
