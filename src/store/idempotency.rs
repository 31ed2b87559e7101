//! What an `Idempotency-Key` has done already: fingerprints, a status and which record, never a body.

use chrono::{DateTime, Utc};

use super::{Connection, Db};
use crate::domain::id::ProjectId;
use crate::store::StoreError;
use crate::store::shown::StoredOnce;

/// Takes a key for the first time; `false` when somebody has it.
pub async fn take(
    c: &mut Connection,
    project: ProjectId,
    (fingerprint, request): (&[u8], &[u8]),
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let sql = "insert into idempotency (fingerprint, project_id, request, created_at, taken_at) \
               values ($1, $2, $3, $4, $4) on conflict (fingerprint) do nothing";
    let query = sqlx::query::<Db>(sql).bind(fingerprint).bind(project).bind(request).bind(now);
    Ok(query.execute(c).await?.rows_affected() == 1)
}

/// Takes a key whose call never ended; `false` when somebody else did.
pub async fn take_over(
    c: &mut Connection,
    fingerprint: &[u8],
    (stale, now): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool, StoreError> {
    let sql = "update idempotency set taken_at = $3 where fingerprint = $1 and status is null and taken_at <= $2";
    let query = sqlx::query::<Db>(sql).bind(fingerprint).bind(stale).bind(now);
    Ok(query.execute(c).await?.rows_affected() == 1)
}

pub async fn find(c: &mut Connection, fingerprint: &[u8]) -> Result<Option<StoredOnce>, StoreError> {
    let sql = "select request, status, answer, created_at from idempotency where fingerprint = $1";
    Ok(sqlx::query_as::<Db, StoredOnce>(sql).bind(fingerprint).fetch_optional(c).await?)
}

/// Keeps what the call came to.
pub async fn finish(
    c: &mut Connection,
    fingerprint: &[u8],
    status: i32,
    answer: Option<&str>,
) -> Result<(), StoreError> {
    let sql = "update idempotency set status = $2, answer = $3 where fingerprint = $1";
    sqlx::query::<Db>(sql).bind(fingerprint).bind(status).bind(answer).execute(c).await?;
    Ok(())
}

/// Lets a key go: its call changed nothing.
pub async fn release(c: &mut Connection, fingerprint: &[u8]) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from idempotency where fingerprint = $1").bind(fingerprint).execute(c).await?;
    Ok(())
}

/// Forgets what is older.
pub async fn forget(c: &mut Connection, cutoff: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from idempotency where created_at < $1").bind(cutoff).execute(c).await?;
    Ok(())
}
