//! Who changed what.

use uuid::Uuid;

use super::{Connection, Db};
use crate::store::StoreError;
use crate::store::shown::AuditEntry;

/// To be called in the transaction of the change.
pub async fn insert(c: &mut Connection, entry: &AuditEntry) -> Result<(), StoreError> {
    let sql = "insert into audit (id, project_id, at, actor, action, subject, client) values ($1, $2, $3, $4, $5, $6, $7)";
    let query = sqlx::query::<Db>(sql).bind(entry.id).bind(entry.project_id).bind(entry.at).bind(&entry.actor);
    query.bind(&entry.action).bind(&entry.subject).bind(&entry.client).execute(c).await?;
    Ok(())
}

/// The newest entries of a project before an id.
pub async fn list(
    c: &mut Connection,
    project: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AuditEntry>, StoreError> {
    let sql = "select id, project_id, at, actor, action, subject, client from audit \
               where project_id = $1 and id < $2 order by id desc limit $3";
    let query = sqlx::query_as::<Db, AuditEntry>(sql).bind(project).bind(before.unwrap_or(Uuid::max()));
    Ok(query.bind(limit).fetch_all(c).await?)
}
