//! People's replies that were passed on, by keyed fingerprints: each once. No word of them is kept.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db};
use crate::store::StoreError;

/// Takes a reply, to pass it on: for the first time, or from somebody who took it before `stale` and never said what
/// came of it. `false` when somebody else is at it or has done it.
pub async fn take(
    c: &mut Connection,
    (project, fingerprint): (Uuid, &[u8]),
    (stale, now): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool, StoreError> {
    let sql = "insert into passed_on (project_id, fingerprint, taken_at) values ($1, $2, $3) \
               on conflict (project_id, fingerprint) do update set taken_at = excluded.taken_at \
               where passed_on.passed_at is null and passed_on.taken_at <= $4";
    let query = sqlx::query::<Db>(sql).bind(project).bind(fingerprint).bind(now).bind(stale);
    Ok(query.execute(c).await?.rows_affected() == 1)
}

/// Whether it was passed on.
pub async fn is_done(c: &mut Connection, project: Uuid, fingerprint: &[u8]) -> Result<bool, StoreError> {
    let sql = "select count(*) from passed_on where project_id = $1 and fingerprint = $2 and passed_at is not null";
    Ok(sqlx::query_scalar::<Db, i64>(sql).bind(project).bind(fingerprint).fetch_one(c).await? > 0)
}

/// Keeps that it was passed on.
pub async fn finish(
    c: &mut Connection,
    (project, fingerprint): (Uuid, &[u8]),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sql = "update passed_on set passed_at = $3 where project_id = $1 and fingerprint = $2";
    sqlx::query::<Db>(sql).bind(project).bind(fingerprint).bind(now).execute(c).await?;
    Ok(())
}

/// Lets it go: it could not be passed on now.
pub async fn release(c: &mut Connection, project: Uuid, fingerprint: &[u8]) -> Result<(), StoreError> {
    let sql = "delete from passed_on where project_id = $1 and fingerprint = $2 and passed_at is null";
    sqlx::query::<Db>(sql).bind(project).bind(fingerprint).execute(c).await?;
    Ok(())
}

/// Forgets what was passed on before.
pub async fn delete_before(c: &mut Connection, cutoff: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from passed_on where taken_at < $1").bind(cutoff).execute(c).await?;
    Ok(())
}
