//! Event types that projects registered; every change raises the catalogue's revision.

use chrono::{DateTime, Utc};

use super::{Connection, Db};
use crate::domain::id::ProjectId;
use crate::store::StoreError;
use crate::store::shown::EventTypeRow;

/// Of all projects, for the catalogue.
pub async fn all(c: &mut Connection) -> Result<Vec<EventTypeRow>, StoreError> {
    let sql = "select project_id, type, schema from event_types order by project_id, type";
    Ok(sqlx::query_as::<Db, EventTypeRow>(sql).fetch_all(c).await?)
}

/// Those of a project after a name.
pub async fn list(
    c: &mut Connection,
    project: ProjectId,
    after: &str,
    limit: i64,
) -> Result<Vec<EventTypeRow>, StoreError> {
    let sql = "select project_id, type, schema from event_types where project_id = $1 and type > $2 \
               order by type limit $3";
    let query = sqlx::query_as::<Db, EventTypeRow>(sql).bind(project).bind(after).bind(limit);
    Ok(query.fetch_all(c).await?)
}

pub async fn get(c: &mut Connection, project: ProjectId, kind: &str) -> Result<Option<EventTypeRow>, StoreError> {
    let sql = "select project_id, type, schema from event_types where project_id = $1 and type = $2";
    Ok(sqlx::query_as::<Db, EventTypeRow>(sql).bind(project).bind(kind).fetch_optional(c).await?)
}

pub async fn put(
    c: &mut Connection,
    project: ProjectId,
    (kind, schema): (&str, &str),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sql = "insert into event_types (project_id, type, schema, updated_at) values ($1, $2, $3, $4) \
               on conflict (project_id, type) do update set schema = excluded.schema, updated_at = excluded.updated_at";
    sqlx::query::<Db>(sql).bind(project).bind(kind).bind(schema).bind(now).execute(c).await?;
    Ok(())
}

/// Events of the type are refused from then on; what was accepted stays.
pub async fn delete(c: &mut Connection, project: ProjectId, kind: &str) -> Result<(), StoreError> {
    let sql = "delete from event_types where project_id = $1 and type = $2";
    sqlx::query::<Db>(sql).bind(project).bind(kind).execute(c).await?;
    Ok(())
}
