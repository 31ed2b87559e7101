//! Messages that were redelivered often. One is named here before it is planned alone: a row that is still
//! here afterwards says that it took the worker down.

use chrono::{DateTime, Utc};

use super::{Connection, Db};
use crate::store::StoreError;

/// Names a suspect; returns how many times it was named, this one included.
pub async fn name(c: &mut Connection, fingerprint: &[u8], now: DateTime<Utc>) -> Result<i32, StoreError> {
    let sql = "insert into suspects (fingerprint, tries, at) values ($1, 1, $2) \
               on conflict (fingerprint) do update set tries = suspects.tries + 1, at = excluded.at returning tries";
    Ok(sqlx::query_scalar::<Db, i32>(sql).bind(fingerprint).bind(now).fetch_one(c).await?)
}

/// It was planned and the worker lives.
pub async fn clear(c: &mut Connection, fingerprint: &[u8]) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from suspects where fingerprint = $1").bind(fingerprint).execute(c).await?;
    Ok(())
}

/// Forgets suspects that were named before.
pub async fn delete_before(c: &mut Connection, cutoff: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from suspects where at < $1").bind(cutoff).execute(c).await?;
    Ok(())
}
