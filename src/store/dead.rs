//! Dead dispatches: listed by project, and over all projects their copies in the broker's dead queue, with the chore
//! that keeps those right.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::shown::{DeadDispatch, DeadEvent, DeadLike};
use crate::store::{StoreError, rows};

/// When it died is when it was tried last, or became too old; what the server said last is the detail.
const DEAD: &str = "select d.id, d.event_id, d.automation_id, d.template, d.recipient, d.reason, e.source, e.source_id, \
     e.type, case d.reason when 'expired' then d.expires_at else coalesce( \
       (select max(a.at) from attempts a where a.dispatch_id = d.id), d.first_at, d.due_at) end as at, \
     coalesce((select a.reply from attempts a where a.dispatch_id = d.id order by a.number desc limit 1), \
       d.first_reply) as detail \
     from dispatches d join events e on e.id = d.event_id where d.project_id = $1 and d.state = 'dead'";

/// The newest dead dispatches of a project before an id.
pub async fn list(
    c: &mut Connection,
    project: Uuid,
    like: DeadLike<'_>,
    (before, limit): (Option<Uuid>, i64),
) -> Result<Vec<DeadDispatch>, StoreError> {
    let sql = AssertSqlSafe(format!(
        "select * from ({DEAD} and d.id < $2 and ($3 is null or d.reason = $3) and ($4 is null or e.type = $4)) as dead \
         where ($5 is null or at >= $5) order by id desc limit $6"
    ));
    let query = sqlx::query_as::<Db, DeadDispatch>(sql).bind(project).bind(before.unwrap_or(Uuid::max()));
    Ok(query.bind(like.reason).bind(like.kind).bind(like.since).bind(limit).fetch_all(c).await?)
}

pub async fn get(c: &mut Connection, project: Uuid, id: Uuid) -> Result<Option<DeadDispatch>, StoreError> {
    let sql = AssertSqlSafe(format!("{DEAD} and d.id = $2"));
    Ok(sqlx::query_as::<Db, DeadDispatch>(sql).bind(project).bind(id).fetch_optional(c).await?)
}

/// Since when the oldest dead dispatch is one, about: the oldest ids are looked at, which are in the order of their
/// planning.
pub async fn oldest(c: &mut Connection) -> Result<Option<DateTime<Utc>>, StoreError> {
    let sql = "with oldest as materialized (select id, reason, expires_at, first_at, due_at from dispatches \
                 where state = 'dead' order by id limit 100) \
               select min(case d.reason when 'expired' then d.expires_at else coalesce( \
                 (select max(a.at) from attempts a where a.dispatch_id = d.id), d.first_at, d.due_at) end) from oldest d";
    Ok(sqlx::query_scalar::<Db, Option<DateTime<Utc>>>(sql).fetch_one(c).await?)
}

/// Dead dispatches of which the dead queue has no copy yet, with their events.
pub async fn uncopied(c: &mut Connection, limit: i64) -> Result<Vec<DeadEvent>, StoreError> {
    let sql = "select d.id, p.slug, d.reason, coalesce( \
                 (select a.reply from attempts a where a.dispatch_id = d.id order by a.number desc limit 1), \
                 d.first_reply) as detail, \
                 e.source, e.source_id, e.type, e.time, e.received_at, e.data, e.traceparent, \
                 d.copied_due_at is not null as had_copy \
               from dispatches d join events e on e.id = d.event_id join projects p on p.id = d.project_id \
               where d.state = 'dead' and (d.copied_due_at is null or d.copied_due_at <> d.due_at) order by d.id limit $1";
    Ok(sqlx::query_as::<Db, DeadEvent>(sql).bind(limit).fetch_all(c).await?)
}

/// Copies of these are in the dead queue, whatever became of them meanwhile.
pub async fn copied(c: &mut Connection, ids: &[Uuid]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "update dispatches set copied_due_at = due_at where id = any(array(select id from dispatches
           where id = any(array(select value::uuid from json_array_elements_text($1::text::json)))
           order by id for no key update))",
        "update dispatches set copied_due_at = due_at where id in (select unhex(value) from json_each($1))",
    );
    sqlx::query::<Db>(SQL).bind(rows::ids(ids)).execute(c).await?;
    Ok(())
}

/// Dispatches that are dead no more, whose copies are to be taken out: one that dies again from now on gets another.
pub async fn overcopied(c: &mut Connection, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "update dispatches set copied_due_at = null where id = any(array(
           select id from dispatches where state <> 'dead' and copied_due_at is not null
           order by id limit $1 for no key update)) returning id",
        "update dispatches set copied_due_at = null where id in (
           select id from dispatches where state <> 'dead' and copied_due_at is not null order by id limit $1) returning id",
    );
    Ok(sqlx::query_scalar::<Db, Uuid>(SQL).bind(limit).fetch_all(c).await?)
}

/// Which of the dispatches are dead, and said to have a copy.
pub async fn copies_of(c: &mut Connection, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "select id from dispatches where case state when 'dead' then true end and copied_due_at = due_at
           and id = any(array(select value::uuid from json_array_elements_text($1::text::json)))",
        "select id from dispatches where state = 'dead' and copied_due_at = due_at
           and id in (select unhex(value) from json_each($1))",
    );
    Ok(sqlx::query_scalar::<Db, Uuid>(SQL).bind(rows::ids(ids)).fetch_all(c).await?)
}

/// Dead dispatches of which a new copy is to be made in place of the one that there was, if it is still there.
pub async fn copy_again(c: &mut Connection, project: Uuid, ids: &[Uuid]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "update dispatches set copied_due_at = $3 where id = any(array(
           select id from dispatches where project_id = $1 and case state when 'dead' then true end
             and copied_due_at is not null
             and id = any(array(select value::uuid from json_array_elements_text($2::text::json)))
           order by id for no key update)) and case state when 'dead' then true end",
        "update dispatches set copied_due_at = $3 where project_id = $1 and state = 'dead'
           and copied_due_at is not null and id in (select unhex(value) from json_each($2))",
    );
    // The copy that it has is of no death.
    let query = sqlx::query::<Db>(SQL).bind(project).bind(rows::ids(ids)).bind(DateTime::UNIX_EPOCH);
    query.execute(c).await?;
    Ok(())
}

/// Takes a chore, or keeps it; `false` while another process has it.
pub async fn take_chore(
    c: &mut Connection,
    name: &str,
    holder: Uuid,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool, StoreError> {
    let sql = "insert into chores (name, holder, until) values ($1, $2, $4) on conflict (name) do update \
               set holder = excluded.holder, until = excluded.until where chores.holder = $2 or chores.until < $3";
    let query = sqlx::query::<Db>(sql).bind(name).bind(holder).bind(now).bind(until);
    Ok(query.execute(c).await?.rows_affected() == 1)
}

/// Lets go of a chore, so that the next process need not wait.
pub async fn leave_chore(c: &mut Connection, name: &str, holder: Uuid) -> Result<(), StoreError> {
    let sql = "delete from chores where name = $1 and holder = $2";
    sqlx::query::<Db>(sql).bind(name).bind(holder).execute(c).await?;
    Ok(())
}
