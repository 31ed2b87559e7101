//! Automations, and every version that one has had. A row is the newest version; each is kept whole as well, so
//! that a dispatch is rendered with the one that it was planned with, whatever was changed since.

use chrono::{DateTime, Utc};

use super::{Connection, Db};
use crate::domain::catalogue::Automation;
use crate::domain::id::{AutomationId, ProjectId};
use crate::store::StoreError;
use crate::store::edition::{Edition, StoredVersion};

const COLUMNS: &str = "select id, project_id, version, name, event_type, integration_id, template, texts, condition, \
                       purpose, lifetime_s, max_age_s, link, enabled, paused_at is not null as paused from automations";

#[derive(sqlx::FromRow)]
struct Row {
    id: AutomationId,
    project_id: ProjectId,
    version: i32,
    paused: bool,
    #[sqlx(flatten)]
    edition: Edition,
}

impl Row {
    fn into_automation(self) -> Automation {
        let mut automation = self.edition.into_automation(self.id, self.version);
        automation.paused = self.paused;
        automation
    }
}

/// The automations of all projects that are not retired, by name, each with its project.
pub async fn all(c: &mut Connection) -> Result<Vec<(ProjectId, Automation)>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where retired_at is null order by project_id, name"));
    let rows = sqlx::query_as::<Db, Row>(sql).fetch_all(c).await?;
    Ok(rows.into_iter().map(|row| (row.project_id, row.into_automation())).collect())
}

/// Those of a project after an id, in the order of their ids.
pub async fn list(
    c: &mut Connection,
    project: ProjectId,
    after: Option<AutomationId>,
    limit: i64,
) -> Result<Vec<Automation>, StoreError> {
    let sql = format!("{COLUMNS} where project_id = $1 and id > $2 and retired_at is null order by id limit $3");
    let query = sqlx::query_as::<Db, Row>(sqlx::AssertSqlSafe(sql)).bind(project);
    let query = query.bind(after.unwrap_or(AutomationId(uuid::Uuid::nil()))).bind(limit);
    Ok(query.fetch_all(c).await?.into_iter().map(Row::into_automation).collect())
}

/// One that is not retired.
pub async fn get(
    c: &mut Connection,
    project: ProjectId,
    id: AutomationId,
) -> Result<Option<Automation>, StoreError> {
    let sql = format!("{COLUMNS} where project_id = $1 and id = $2 and retired_at is null");
    let query = sqlx::query_as::<Db, Row>(sqlx::AssertSqlSafe(sql)).bind(project).bind(id);
    Ok(query.fetch_optional(c).await?.map(Row::into_automation))
}

/// Writes an automation under its id, as a new version; returns its number.
pub async fn put(
    c: &mut Connection,
    project: ProjectId,
    automation: &Automation,
    now: DateTime<Utc>,
) -> Result<i32, StoreError> {
    let sql = "insert into automations (id, project_id, version, name, event_type, integration_id, template, texts, \
               condition, purpose, lifetime_s, max_age_s, link, enabled) \
               values ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
               on conflict (id) do update set version = automations.version + 1, name = excluded.name, \
               event_type = excluded.event_type, integration_id = excluded.integration_id, \
               template = excluded.template, texts = excluded.texts, condition = excluded.condition, \
               purpose = excluded.purpose, lifetime_s = excluded.lifetime_s, max_age_s = excluded.max_age_s, \
               link = excluded.link, enabled = excluded.enabled, retired_at = null returning version";
    let edition = Edition::of(automation);
    let query = sqlx::query_scalar::<Db, i32>(sql).bind(automation.id).bind(project).bind(&edition.name);
    let query = query.bind(&edition.event_type).bind(automation.integration_id).bind(&edition.template);
    let query = query.bind(&edition.texts).bind(&edition.condition).bind(&edition.purpose);
    let query = query.bind(edition.lifetime_s).bind(edition.max_age_s).bind(&edition.link).bind(edition.enabled);
    let version = query.fetch_one(&mut *c).await?;
    let sql = "insert into automation_versions (project_id, automation_id, version, at, content) \
               values ($1, $2, $3, $4, $5)";
    let query = sqlx::query::<Db>(sql).bind(project).bind(automation.id).bind(version).bind(now);
    query.bind(edition.to_json()).execute(c).await?;
    Ok(version)
}

/// Takes an automation out of use; dispatches that name it stay as they are.
pub async fn retire(
    c: &mut Connection,
    project: ProjectId,
    id: AutomationId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sql = "update automations set retired_at = $3 where project_id = $1 and id = $2";
    sqlx::query::<Db>(sql).bind(project).bind(id).bind(now).execute(c).await?;
    Ok(())
}

/// One version of an automation, also of a retired one.
pub async fn version(
    c: &mut Connection,
    project: ProjectId,
    id: AutomationId,
    version: i32,
) -> Result<Option<Automation>, StoreError> {
    let sql = "select content from automation_versions where project_id = $1 and automation_id = $2 and version = $3";
    let query = sqlx::query_scalar::<Db, String>(sql).bind(project).bind(id).bind(version);
    let content: Option<String> = query.fetch_optional(c).await?;
    content.map(|content| Edition::from_json(&content).map(|edition| edition.into_automation(id, version))).transpose()
}

/// The versions of an automation below one, the newest first.
pub async fn versions(
    c: &mut Connection,
    project: ProjectId,
    id: AutomationId,
    below: i32,
    limit: i64,
) -> Result<Vec<StoredVersion>, StoreError> {
    let sql = "select version, at, content from automation_versions where project_id = $1 and automation_id = $2 \
               and version < $3 order by version desc limit $4";
    let query = sqlx::query_as::<Db, StoredVersion>(sql).bind(project).bind(id).bind(below).bind(limit);
    Ok(query.fetch_all(c).await?)
}
