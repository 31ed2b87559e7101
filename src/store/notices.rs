//! What Signalpost itself did and has not told yet. A worker takes some for a while, tells them outside of any
//! transaction, and deletes what the broker has; what it leaves behind is another's afterwards.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::StoreError;
use crate::store::rows::{EndedRow, NoticeRow, TakenNotice, ids, json};

pub async fn insert(c: &mut Connection, rows: &[NoticeRow]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.notices.insert
         insert into notices (id, project_id, type, body, created_at)
         select id, project_id, kind, body, created_at
         from json_to_recordset($1::text::json) as r(id uuid, project_id uuid, kind text, body text,
           created_at timestamptz)",
        "-- store.notices.insert
         insert into notices (id, project_id, type, body, created_at)
         select unhex(value ->> 'id'), unhex(value ->> 'project_id'), value ->> 'kind', value ->> 'body',
           value ->> 'created_at'
         from json_each($1)",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?;
    Ok(())
}

/// What a notice says of each of the dispatches, with the event that it is owed to.
pub async fn ended(c: &mut Connection, dispatches: &[Uuid]) -> Result<Vec<EndedRow>, StoreError> {
    const SQL: &str = dialect(
        "-- store.notices.ended
         select d.id, d.project_id, d.event_id, d.state, d.reason, e.source, e.source_id
         from json_array_elements_text($1::text::json) k
         join dispatches d on d.id = k.value::uuid
         left join events e on e.id = d.event_id",
        "-- store.notices.ended
         select d.id, d.project_id, d.event_id, d.state, d.reason, e.source, e.source_id
         from json_each($1) k
         cross join dispatches d on d.id = unhex(k.value)
         left join events e on e.id = d.event_id",
    );
    Ok(sqlx::query_as::<Db, EndedRow>(SQL).bind(ids(dispatches)).fetch_all(c).await?)
}

/// Takes some that nobody has, oldest first, until a time.
pub async fn take(
    c: &mut Connection,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
    limit: i64,
) -> Result<Vec<TakenNotice>, StoreError> {
    const SQL: &str = dialect(
        "-- store.notices.take
         with free as materialized (select id from notices where taken_until is null or taken_until <= $1
           order by id limit $3 for update skip locked)
         update notices n set taken_until = $2 from free where n.id = free.id returning n.id, n.type as kind, n.body",
        "-- store.notices.take
         update notices set taken_until = $2 where id in (
           select id from notices where taken_until is null or taken_until <= $1 order by id limit $3)
         returning id, type as kind, body",
    );
    let query = sqlx::query_as::<Db, TakenNotice>(SQL).bind(now).bind(until).bind(limit);
    Ok(query.fetch_all(c).await?)
}

/// Gives some back that were taken and not told.
pub async fn leave(c: &mut Connection, taken: &[Uuid]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "update notices set taken_until = null
         where id in (select value::uuid from json_array_elements_text($1::text::json))",
        "update notices set taken_until = null where id in (select unhex(value) from json_each($1))",
    );
    sqlx::query::<Db>(SQL).bind(ids(taken)).execute(c).await?;
    Ok(())
}

/// Forgets those that were told.
pub async fn delete(c: &mut Connection, told: &[Uuid]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "delete from notices where id in (select value::uuid from json_array_elements_text($1::text::json))",
        "delete from notices where id in (select unhex(value) from json_each($1))",
    );
    sqlx::query::<Db>(SQL).bind(ids(told)).execute(c).await?;
    Ok(())
}

/// Forgets those that could not be told for so long; how many.
pub async fn delete_before(c: &mut Connection, cutoff: DateTime<Utc>) -> Result<u64, StoreError> {
    let sql = "delete from notices where created_at < $1";
    Ok(sqlx::query::<Db>(sql).bind(cutoff).execute(c).await?.rows_affected())
}
