//! API keys: only a SHA-256 of 256 random bits is stored.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db};
use crate::store::StoreError;
use crate::store::shown::StoredKey;

const COLUMNS: &str = "select id, project_id, name, scopes, created_at, revoked_at from api_keys";

pub async fn insert(c: &mut Connection, key: &StoredKey, hash: &[u8]) -> Result<(), StoreError> {
    let sql = "insert into api_keys (id, project_id, name, hash, scopes, created_at) values ($1, $2, $3, $4, $5, $6)";
    let query = sqlx::query::<Db>(sql).bind(key.id).bind(key.project_id).bind(&key.name).bind(hash);
    query.bind(&key.scopes).bind(key.created_at).execute(c).await?;
    Ok(())
}

/// The key with that hash, unless it was revoked.
pub async fn find(c: &mut Connection, hash: &[u8]) -> Result<Option<StoredKey>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where hash = $1 and revoked_at is null"));
    Ok(sqlx::query_as::<Db, StoredKey>(sql).bind(hash).fetch_optional(c).await?)
}

pub async fn list(c: &mut Connection, project: Uuid) -> Result<Vec<StoredKey>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where project_id = $1 order by id"));
    Ok(sqlx::query_as::<Db, StoredKey>(sql).bind(project).fetch_all(c).await?)
}

/// The project of a key.
pub async fn project(c: &mut Connection, id: Uuid) -> Result<Option<Uuid>, StoreError> {
    let sql = "select project_id from api_keys where id = $1";
    Ok(sqlx::query_scalar::<Db, Uuid>(sql).bind(id).fetch_optional(c).await?)
}

/// `false` when there is no such key.
pub async fn revoke(c: &mut Connection, id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let sql = "update api_keys set revoked_at = coalesce(revoked_at, $2) where id = $1";
    Ok(sqlx::query::<Db>(sql).bind(id).bind(now).execute(c).await?.rows_affected() == 1)
}
