//! Projects and automations: read as a whole, written by name. Every write raises the revision,
//! which tells the workers to read again.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::domain::catalogue::{Automation, TokenPlan};
use crate::domain::id::{AutomationId, IntegrationId, ProjectId};
use crate::domain::token::Purpose;
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

#[derive(sqlx::FromRow)]
struct AutomationRow {
    id: AutomationId,
    project_id: ProjectId,
    version: i32,
    name: String,
    event_type: String,
    integration_id: IntegrationId,
    template: String,
    purpose: Option<String>,
    lifetime_s: i64,
    max_age_s: i64,
    link: Option<String>,
    enabled: bool,
    paused: bool,
}

/// The automations that are not retired, by name, each with its project.
pub async fn automations(c: &mut Connection) -> Result<Vec<(ProjectId, Automation)>, StoreError> {
    let sql = "select id, project_id, version, name, event_type, integration_id, template, purpose, lifetime_s, \
               max_age_s, link, enabled, paused_at is not null as paused \
               from automations where retired_at is null order by project_id, name";
    let rows = sqlx::query_as::<Db, AutomationRow>(sql).fetch_all(c).await?;
    Ok(rows.into_iter().map(|row| (row.project_id, row.into_automation())).collect())
}

impl AutomationRow {
    fn into_automation(self) -> Automation {
        let seconds = |s: i64| std::time::Duration::from_secs(s.unsigned_abs());
        let purpose = self.purpose.as_deref().and_then(Purpose::from_name);
        Automation {
            id: self.id,
            version: self.version,
            name: self.name,
            event_type: self.event_type,
            integration_id: self.integration_id,
            template: self.template,
            token: purpose.map(|purpose| TokenPlan { purpose, lifetime: seconds(self.lifetime_s) }),
            max_age: seconds(self.max_age_s),
            link: self.link,
            enabled: self.enabled,
            paused: self.paused,
        }
    }
}

/// Writes an automation under its id; a change raises its version.
pub async fn put_automation(c: &mut Connection, project: ProjectId, row: &Automation) -> Result<(), StoreError> {
    let sql = "insert into automations (id, project_id, version, name, event_type, integration_id, template, purpose, \
               lifetime_s, max_age_s, link, enabled) values ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
               on conflict (id) do update set version = automations.version + 1, name = excluded.name, \
               event_type = excluded.event_type, integration_id = excluded.integration_id, \
               template = excluded.template, purpose = excluded.purpose, lifetime_s = excluded.lifetime_s, \
               max_age_s = excluded.max_age_s, link = excluded.link, enabled = excluded.enabled, retired_at = null";
    let seconds = |d: std::time::Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    let query = sqlx::query::<Db>(sql).bind(row.id).bind(project).bind(&row.name).bind(&row.event_type);
    let query = query.bind(row.integration_id).bind(&row.template);
    let query = query.bind(row.token.map(|token| token.purpose.name()));
    let query = query.bind(row.token.map_or(0, |token| seconds(token.lifetime))).bind(seconds(row.max_age));
    query.bind(&row.link).bind(row.enabled).execute(c).await?;
    Ok(())
}

/// Takes automations out of use; dispatches that name them stay as they are.
pub async fn retire_automation(
    c: &mut Connection,
    project: ProjectId,
    id: AutomationId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sql = "update automations set retired_at = $3 where project_id = $1 and id = $2";
    sqlx::query::<Db>(sql).bind(project).bind(id).bind(now).execute(c).await?;
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
