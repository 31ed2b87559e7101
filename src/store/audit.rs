//! Who changed what.

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
