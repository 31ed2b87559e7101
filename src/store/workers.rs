//! The lease of a worker. The database's clock decides, so that machines with different clocks agree on who
//! is alive; SQLite has one machine, whose clock is given.

use chrono::{DateTime, Utc};

use super::{Connection, Db, dialect};
use crate::store::StoreError;

/// Registers a worker. Numbers only grow.
pub async fn register(c: &mut Connection, now: DateTime<Utc>) -> Result<i64, StoreError> {
    const SQL: &str = dialect(
        "insert into workers (started_at, heartbeat) values ($1, clock_timestamp()) returning id",
        "insert into workers (started_at, heartbeat) values ($1, $1) returning id",
    );
    Ok(sqlx::query_scalar::<Db, i64>(SQL).bind(now).fetch_one(c).await?)
}

/// Renews the lease; `false` when the worker was declared dead.
pub async fn renew(c: &mut Connection, worker: i64, now: DateTime<Utc>) -> Result<bool, StoreError> {
    const SQL: &str = dialect(
        "update workers set heartbeat = clock_timestamp() where id = $1 and dead_at is null",
        "update workers set heartbeat = $2 where id = $1 and dead_at is null",
    );
    Ok(sqlx::query::<Db>(SQL).bind(worker).bind(now).execute(c).await?.rows_affected() == 1)
}

/// Declares workers dead that were silent for 30 s, and names them.
pub async fn fence_silent(c: &mut Connection, me: i64, silent_since: DateTime<Utc>) -> Result<Vec<i64>, StoreError> {
    const SQL: &str = dialect(
        "update workers set dead_at = clock_timestamp() \
         where id <> $1 and dead_at is null and heartbeat < clock_timestamp() - interval '30 seconds' returning id",
        "update workers set dead_at = $2 where id <> $1 and dead_at is null and heartbeat < $2 returning id",
    );
    Ok(sqlx::query_scalar::<Db, i64>(SQL).bind(me).bind(silent_since).fetch_all(c).await?)
}

/// Declares every other worker dead: for a process that knows that it is alone.
pub async fn fence_others(c: &mut Connection, me: i64, now: DateTime<Utc>) -> Result<Vec<i64>, StoreError> {
    let sql = "update workers set dead_at = $2 where id <> $1 and dead_at is null returning id";
    Ok(sqlx::query_scalar::<Db, i64>(sql).bind(me).bind(now).fetch_all(c).await?)
}

/// Takes a worker that stopped in order off the list.
pub async fn retire(c: &mut Connection, worker: i64, now: DateTime<Utc>) -> Result<(), StoreError> {
    let sql = "update workers set dead_at = $2 where id = $1 and dead_at is null";
    sqlx::query::<Db>(sql).bind(worker).bind(now).execute(c).await?;
    Ok(())
}

/// Forgets workers that have been dead since before.
pub async fn delete_before(c: &mut Connection, cutoff: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from workers where dead_at < $1").bind(cutoff).execute(c).await?;
    Ok(())
}
