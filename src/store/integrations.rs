//! Integrations. Their passwords stay sealed here; every change raises the catalogue's revision.

use chrono::{DateTime, Utc};
use sqlx::Row as _;

use super::{Connection, Db};
use crate::domain::catalogue::{Integration, IntegrationKind, SmtpServer};
use crate::domain::id::{IntegrationId, ProjectId};
use crate::store::StoreError;

const COLUMNS: &str = "select id, project_id, name, kind, host, port, tls, username, sealed_password, sender, reply_to, \
     connections, auto_submitted, unrestricted, rate, return_path, reply_path, paused_at is not null as paused, \
     retired_at is not null as retired from integrations";

/// All integrations, the retired ones too: dispatches may name them.
pub async fn all(c: &mut Connection) -> Result<Vec<Integration>, StoreError> {
    let rows = sqlx::query::<Db>(COLUMNS).fetch_all(c).await?;
    rows.iter().map(|row| read(row).map_err(StoreError::from)).collect()
}

fn read(row: &<Db as sqlx::Database>::Row) -> Result<Integration, sqlx::Error> {
    let kind = match row.try_get::<String, _>("kind")?.as_str() {
        "capture" => IntegrationKind::Capture,
        _ => IntegrationKind::Smtp(SmtpServer {
            host: row.try_get("host")?,
            port: u16::try_from(row.try_get::<i32, _>("port")?).unwrap_or_default(),
            tls: row.try_get("tls")?,
            username: row.try_get("username")?,
            sealed_password: row.try_get("sealed_password")?,
            unrestricted: row.try_get("unrestricted")?,
        }),
    };
    Ok(Integration {
        id: row.try_get("id")?,
        project_id: row.try_get("project_id")?,
        name: row.try_get("name")?,
        kind,
        sender: row.try_get("sender")?,
        reply_to: row.try_get("reply_to")?,
        connections: u16::try_from(row.try_get::<i32, _>("connections")?).unwrap_or(1),
        rate: row.try_get::<Option<String>, _>("rate")?.and_then(|text| text.parse().ok()),
        auto_submitted: row.try_get("auto_submitted")?,
        return_path: row.try_get("return_path")?,
        reply_path: row.try_get("reply_path")?,
        paused: row.try_get("paused")?,
        retired: row.try_get("retired")?,
    })
}

pub async fn put(c: &mut Connection, row: &Integration) -> Result<(), StoreError> {
    let sql = "insert into integrations (id, project_id, name, kind, host, port, tls, username, sealed_password, \
               sender, reply_to, connections, auto_submitted, unrestricted, rate, return_path, reply_path) \
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
               on conflict (id) do update set name = excluded.name, kind = excluded.kind, host = excluded.host, \
               port = excluded.port, tls = excluded.tls, username = excluded.username, \
               sealed_password = excluded.sealed_password, sender = excluded.sender, reply_to = excluded.reply_to, \
               connections = excluded.connections, auto_submitted = excluded.auto_submitted, \
               unrestricted = excluded.unrestricted, rate = excluded.rate, return_path = excluded.return_path, \
               reply_path = excluded.reply_path, retired_at = null";
    let capture = SmtpServer {
        host: String::new(),
        port: 0,
        tls: "none".to_owned(),
        username: None,
        sealed_password: None,
        unrestricted: false,
    };
    let (kind, server) = match &row.kind {
        IntegrationKind::Smtp(server) => ("smtp", server),
        IntegrationKind::Capture => ("capture", &capture),
    };
    let query = sqlx::query::<Db>(sql).bind(row.id).bind(row.project_id).bind(&row.name).bind(kind);
    let query = query.bind(&server.host).bind(i32::from(server.port)).bind(&server.tls).bind(&server.username);
    let query = query.bind(&server.sealed_password).bind(&row.sender).bind(&row.reply_to);
    let query = query.bind(i32::from(row.connections)).bind(row.auto_submitted).bind(server.unrestricted);
    let query = query.bind(row.rate.map(|rate| rate.to_string())).bind(&row.return_path).bind(&row.reply_path);
    query.execute(c).await?;
    Ok(())
}

/// One that is in use.
pub async fn get(
    c: &mut Connection,
    project: ProjectId,
    id: IntegrationId,
) -> Result<Option<Integration>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where project_id = $1 and id = $2 and retired_at is null"));
    let row = sqlx::query::<Db>(sql).bind(project).bind(id).fetch_optional(c).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// Those in use after an id, in the order in which they were made.
pub async fn list(
    c: &mut Connection,
    project: ProjectId,
    after: Option<IntegrationId>,
    limit: i64,
) -> Result<Vec<Integration>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "{COLUMNS} where project_id = $1 and id > $2 and retired_at is null order by id limit $3"
    ));
    let query = sqlx::query::<Db>(sql).bind(project).bind(after.map_or(uuid::Uuid::nil(), |id| id.0));
    let rows = query.bind(limit).fetch_all(c).await?;
    rows.iter().map(|row| read(row).map_err(StoreError::from)).collect()
}

/// The names of the automations that send through it.
pub async fn used_by(
    c: &mut Connection,
    project: ProjectId,
    id: IntegrationId,
) -> Result<Vec<String>, StoreError> {
    let sql = "select name from automations where project_id = $1 and integration_id = $2 and retired_at is null \
               order by name";
    Ok(sqlx::query_scalar::<Db, String>(sql).bind(project).bind(id).fetch_all(c).await?)
}

/// Takes one out of use; dispatches that name it are still sent.
pub async fn retire(
    c: &mut Connection,
    project: ProjectId,
    id: IntegrationId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sql = "update integrations set retired_at = $3 where project_id = $1 and id = $2";
    sqlx::query::<Db>(sql).bind(project).bind(id).bind(now).execute(c).await?;
    Ok(())
}

/// Puts the same password, sealed with another key, in the place of what is stored.
pub async fn reseal(
    c: &mut Connection,
    project: ProjectId,
    id: IntegrationId,
    (old, new): (&[u8], &[u8]),
) -> Result<(), StoreError> {
    let sql = "update integrations set sealed_password = $4 \
               where project_id = $1 and id = $2 and sealed_password = $3";
    sqlx::query::<Db>(sql).bind(project).bind(id).bind(old).bind(new).execute(c).await?;
    Ok(())
}
