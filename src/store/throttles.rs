//! What was let through to each recipient and by each client: a row for each keyed fingerprint, until its window ends.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::StoreError;
use crate::store::rows::{ThrottleRow, json};

/// Project, fingerprint, start, count and end.
type Stored = (Uuid, Vec<u8>, DateTime<Utc>, i32, DateTime<Utc>);

pub async fn read(c: &mut Connection, rows: &[ThrottleRow]) -> Result<Vec<Stored>, StoreError> {
    const SQL: &str = dialect(
        "-- store.throttles.read
         select t.project_id, t.fingerprint, t.started_at, t.count, t.ends_at
         from json_to_recordset($1::text::json) as k(project uuid, fingerprint text)
         join throttles t on t.project_id = k.project and t.fingerprint = decode(k.fingerprint, 'hex')",
        "-- store.throttles.read
         select t.project_id, t.fingerprint, t.started_at, t.count, t.ends_at from json_each($1) k
         cross join throttles t on t.project_id = unhex(k.value ->> 'project')
           and t.fingerprint = unhex(k.value ->> 'fingerprint')",
    );
    Ok(sqlx::query_as::<Db, Stored>(SQL).bind(json(rows)).fetch_all(c).await?)
}

/// Writes what was counted. Of two workers that count at once the higher number stays.
pub async fn put(c: &mut Connection, rows: &[ThrottleRow]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.throttles.put
         insert into throttles (project_id, fingerprint, started_at, count, ends_at)
         select project, decode(fingerprint, 'hex'), started_at, count, ends_at
         from json_to_recordset($1::text::json) as r(project uuid, fingerprint text, started_at timestamptz,
           count integer, ends_at timestamptz)
         order by project, fingerprint
         on conflict (project_id, fingerprint) do update set started_at = excluded.started_at,
           ends_at = excluded.ends_at,
           count = case when throttles.started_at = excluded.started_at
             then greatest(throttles.count, excluded.count) else excluded.count end",
        "-- store.throttles.put
         insert into throttles (project_id, fingerprint, started_at, count, ends_at)
         select unhex(value ->> 'project'), unhex(value ->> 'fingerprint'), value ->> 'started_at',
           value ->> 'count', value ->> 'ends_at'
         from json_each($1) where true
         on conflict (project_id, fingerprint) do update set started_at = excluded.started_at,
           ends_at = excluded.ends_at, count = excluded.count",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?;
    Ok(())
}

/// Forgets those whose window has ended.
pub async fn delete_ended(c: &mut Connection, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from throttles where ends_at <= $1").bind(now).execute(c).await?;
    Ok(())
}
