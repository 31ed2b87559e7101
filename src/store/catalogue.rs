//! Projects: read as a whole, written by name. Every write raises the revision,
//! which tells the workers to read again.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::domain::id::ProjectId;
use crate::store::StoreError;
use crate::store::shown::ProjectRow;

pub async fn revision(c: &mut Connection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar::<Db, i64>("select revision from catalogue").fetch_one(c).await?)
}

/// To be called in the transaction of every change.
pub async fn raise_revision(c: &mut Connection) -> Result<(), StoreError> {
    sqlx::query::<Db>("update catalogue set revision = revision + 1").execute(c).await?;
    Ok(())
}

pub async fn projects(c: &mut Connection) -> Result<Vec<ProjectRow>, StoreError> {
    let sql = "select id, slug, name, settings, paused_at is not null as paused from projects";
    Ok(sqlx::query_as::<Db, ProjectRow>(sql).fetch_all(c).await?)
}

pub async fn project(c: &mut Connection, id: ProjectId) -> Result<Option<ProjectRow>, StoreError> {
    let sql = "select id, slug, name, settings, paused_at is not null as paused from projects where id = $1";
    Ok(sqlx::query_as::<Db, ProjectRow>(sql).bind(id).fetch_optional(c).await?)
}

/// The automations in use that have a link of their own, each with its link.
pub async fn links(c: &mut Connection, project: ProjectId) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "select name, link from automations \
               where project_id = $1 and retired_at is null and link is not null order by name";
    Ok(sqlx::query_as::<Db, (String, String)>(sql).bind(project).fetch_all(c).await?)
}

pub async fn put_project(c: &mut Connection, row: &ProjectRow, now: DateTime<Utc>) -> Result<(), StoreError> {
    let sql = "insert into projects (id, slug, name, settings, created_at) values ($1, $2, $3, $4, $5) \
               on conflict (id) do update set name = excluded.name, settings = excluded.settings";
    let query = sqlx::query::<Db>(sql).bind(row.id).bind(&row.slug).bind(&row.name).bind(&row.settings);
    query.bind(now).execute(c).await?;
    Ok(())
}

/// Tells every worker that listens (PostgreSQL) that something is to be fetched.
pub async fn notify_due(c: &mut Connection) -> Result<(), StoreError> {
    let sql = dialect("select pg_notify('signalpost_due', '')", "select 1");
    sqlx::query::<Db>(sql).execute(c).await?;
    Ok(())
}

/// The project that a slug names, for commands that run beside a worker.
pub async fn project_id(c: &mut Connection, slug: &str) -> Result<Option<ProjectId>, StoreError> {
    let sql = "select id from projects where slug = $1";
    Ok(sqlx::query_scalar::<Db, Uuid>(sql).bind(slug).fetch_optional(c).await?.map(ProjectId))
}
