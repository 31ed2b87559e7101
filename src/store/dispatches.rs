//! Dispatches as planned, shown and cancelled; `work.rs` holds what workers do with them.

use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::{StoreError, rows};
use crate::store::rows::{DispatchRow, MemberId, json};
use crate::store::shown::{StoredBounce, StoredAttempt, StoredAttemptOf, StoredDispatch};

/// Writes what is owed.
pub async fn insert(c: &mut Connection, rows: &[DispatchRow]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.dispatches.insert
         insert into dispatches (id, project_id, event_id, automation_id, automation_version, integration_id, template,
           member_id, recipient, purpose, token_id, message_id, state, reason, holder, due_at, expires_at, created_at)
         select id, project_id, event_id, automation_id, automation_version, integration_id, template,
           member_id, recipient, purpose, token_id, message_id, state, reason, holder, due_at, expires_at, created_at
         from json_to_recordset($1::text::json) as r(id uuid, project_id uuid, event_id uuid, automation_id uuid,
           automation_version integer, integration_id uuid, template text, member_id text, recipient text, purpose text,
           token_id uuid, message_id text, state text, reason text, holder bigint, due_at timestamptz,
           expires_at timestamptz, created_at timestamptz)",
        "-- store.dispatches.insert
         insert into dispatches (id, project_id, event_id, automation_id, automation_version, integration_id, template,
           member_id, recipient, purpose, token_id, message_id, state, reason, holder, due_at, expires_at, created_at)
         select unhex(value ->> 'id'), unhex(value ->> 'project_id'), unhex(value ->> 'event_id'),
           unhex(value ->> 'automation_id'), value ->> 'automation_version', unhex(value ->> 'integration_id'),
           value ->> 'template', value ->> 'member_id', value ->> 'recipient', value ->> 'purpose',
           unhex(value ->> 'token_id'), value ->> 'message_id', value ->> 'state', value ->> 'reason',
           value ->> 'holder', value ->> 'due_at', value ->> 'expires_at', value ->> 'created_at'
         from json_each($1)",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?;
    Ok(())
}

/// Locks in key order what two of the statements below are about to cancel, or the second could wait for a row
/// below those that the first locked.
pub async fn lock_open(c: &mut Connection, ids: &[Uuid], members: &[MemberId]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.dispatches.lock_open
         with gone as (select * from json_to_recordset($2::text::json) as g(project uuid, member text)),
         open as (
           select id, project_id, member_id from dispatches where state = 'pending' and holder is null
           union all select id, project_id, member_id from dispatches where state = 'pending' and holder is not null)
         select count(*) from (select id from dispatches where id = any(array(
             select value::uuid from json_array_elements_text($1::text::json)
             union select o.id from open o join gone g on g.project = o.project_id and g.member = o.member_id))
           and case state when 'pending' then true end order by id for no key update) as locked",
        "select 0 where $1 <> $2",
    );
    sqlx::query::<Db>(SQL).bind(rows::ids(ids)).bind(json(members)).execute(c).await?;
    Ok(())
}

/// Cancels dispatches that are not sent yet. One that a worker has in hand is only asked for: its holder
/// settles it as sent if the server took it.
pub async fn cancel(c: &mut Connection, ids: &[Uuid], reason: &str) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "update dispatches set cancel_reason = $2,
           state = case when holder is null then 'cancelled' else state end,
           reason = case when holder is null then $2 else reason end
         -- The `case` keeps the planner to the key: it would take an index of what is pending, which is full of rows
         -- that were settled a moment ago.
         where id = any(array(select id from dispatches
           where id = any(array(select value::uuid from json_array_elements_text($1::text::json)))
           and case state when 'pending' then true end order by id for no key update))",
        "update dispatches set cancel_reason = $2,
           state = case when holder is null then 'cancelled' else state end,
           reason = case when holder is null then $2 else reason end
         where state = 'pending' and id in (select unhex(value) from json_each($1))",
    );
    sqlx::query::<Db>(SQL).bind(rows::ids(ids)).bind(reason).execute(c).await?;
    Ok(())
}

/// Cancels all that is not sent yet to the members.
pub async fn cancel_members(c: &mut Connection, members: &[MemberId], reason: &str) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.dispatches.cancel_members
         with gone as (select * from json_to_recordset($1::text::json) as g(project uuid, member text)),
         -- Each half reads one of the small partial indexes.
         open as (
           select id, project_id, member_id from dispatches where state = 'pending' and holder is null
           union all select id, project_id, member_id from dispatches where state = 'pending' and holder is not null)
         update dispatches set cancel_reason = $2,
           state = case when holder is null then 'cancelled' else state end,
           reason = case when holder is null then $2 else reason end
         where id = any(array(select id from dispatches where id = any(array(
           select o.id from open o join gone g on g.project = o.project_id and g.member = o.member_id))
           and case state when 'pending' then true end order by id for no key update))",
        "-- store.dispatches.cancel_members
         update dispatches set cancel_reason = $2,
           state = case when holder is null then 'cancelled' else state end,
           reason = case when holder is null then $2 else reason end
         where state = 'pending' and (project_id, member_id) in (
           select unhex(value ->> 'project'), value ->> 'member' from json_each($1))",
    );
    sqlx::query::<Db>(SQL).bind(json(members)).bind(reason).execute(c).await?;
    Ok(())
}

/// Notes that a mail came back: the first time counts.
pub async fn bounced(c: &mut Connection, project: Uuid, id: Uuid, bounce: &StoredBounce) -> Result<bool, StoreError> {
    let sql = "update dispatches set bounced_at = $3, bounce_status = $4, bounce_diagnostic = $5
               where project_id = $1 and id = $2 and bounced_at is null";
    let query = sqlx::query::<Db>(sql).bind(project).bind(id).bind(bounce.at).bind(bounce.status.as_deref());
    Ok(query.bind(bounce.diagnostic.as_deref()).execute(c).await?.rows_affected() > 0)
}

const SHOWN: &str = "select id, event_id, automation_id, template, recipient, \
     case when state = 'pending' and holder is not null then 'sending' else state end as state, \
     reason, message_id, due_at, sent_at, bounced_at, bounce_status, bounce_diagnostic, first_at, first_class, first_code, first_reply from dispatches";

pub async fn get(c: &mut Connection, project: Uuid, id: Uuid) -> Result<Option<StoredDispatch>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("{SHOWN} where project_id = $1 and id = $2"));
    Ok(sqlx::query_as::<Db, StoredDispatch>(sql).bind(project).bind(id).fetch_optional(c).await?)
}

/// The newest dispatches of a project before an id, in a state and with a reason if one is wanted.
pub async fn list(
    c: &mut Connection,
    project: Uuid,
    (state, reason): (Option<&str>, Option<&str>),
    (before, limit): (Option<Uuid>, i64),
) -> Result<Vec<StoredDispatch>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "{SHOWN} where project_id = $1 and id < $2 \
           and (cast($3 as text) is null or $3 = case when state = 'pending' and holder is not null then 'sending' \
             else state end) \
           and (cast($4 as text) is null or reason = $4) order by id desc limit $5"
    ));
    let query = sqlx::query_as::<Db, StoredDispatch>(sql).bind(project).bind(before.unwrap_or(Uuid::max()));
    Ok(query.bind(state).bind(reason).bind(limit).fetch_all(c).await?)
}

/// The tries after the first, in order.
pub async fn attempts(c: &mut Connection, id: Uuid) -> Result<Vec<StoredAttempt>, StoreError> {
    let sql = "select at, class, code, reply from attempts where dispatch_id = $1 order by number";
    Ok(sqlx::query_as::<Db, StoredAttempt>(sql).bind(id).fetch_all(c).await?)
}

/// The tries after the first of several dispatches of a project, in order.
pub async fn attempts_of(
    c: &mut Connection,
    project: Uuid,
    ids: &[Uuid],
) -> Result<Vec<StoredAttemptOf>, StoreError> {
    const SQL: &str = dialect(
        "-- store.dispatches.attempts_of
         with d as materialized (select id from dispatches where project_id = $1
           and id = any(array(select value::uuid from json_array_elements_text($2::text::json))))
         select dispatch_id, at, class, code, reply from attempts where dispatch_id = any(array(select id from d))
         order by dispatch_id, number",
        "-- store.dispatches.attempts_of
         select a.dispatch_id, a.at, a.class, a.code, a.reply from json_each($2) k
         cross join dispatches d on d.id = unhex(k.value) and d.project_id = $1
         cross join attempts a on a.dispatch_id = d.id order by a.dispatch_id, a.number",
    );
    let query = sqlx::query_as::<Db, StoredAttemptOf>(SQL).bind(project).bind(rows::ids(ids));
    Ok(query.fetch_all(c).await?)
}
