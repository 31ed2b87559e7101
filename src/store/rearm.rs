//! Dispatches armed again, or no longer wanted, by somebody's wish: each statement takes a bounded list of ids of
//! one project, and locks them in key order. A `case` around the state keeps PostgreSQL's planner to the key: it
//! would take the index of what is dead, which can be long.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::rows::{AgainRow, DeadRow, StateRow, json};
use crate::store::{StoreError, rows};

/// Where dispatches of the project stand.
pub async fn states(c: &mut Connection, project: Uuid, ids: &[Uuid]) -> Result<Vec<StateRow>, StoreError> {
    const SQL: &str = dialect(
        "-- store.rearm.states
         select id, member_id, state, expires_at from dispatches where project_id = $1
           and id = any(array(select value::uuid from json_array_elements_text($2::text::json)))",
        "-- store.rearm.states
         select d.id, d.member_id, d.state, d.expires_at from json_each($2) k
         cross join dispatches d on d.id = unhex(k.value) where d.project_id = $1",
    );
    Ok(sqlx::query_as::<Db, StateRow>(SQL).bind(project).bind(rows::ids(ids)).fetch_all(c).await?)
}

/// The dead ones among the dispatches, with their events.
pub async fn dead(c: &mut Connection, project: Uuid, ids: &[Uuid]) -> Result<Vec<DeadRow>, StoreError> {
    const SQL: &str = dialect(
        "-- store.rearm.dead
         with d as materialized (
           select id, project_id, event_id, automation_id, member_id, recipient, purpose, message_id
           from dispatches where project_id = $1 and case state when 'dead' then true end
             and id = any(array(select value::uuid from json_array_elements_text($2::text::json)))),
         e as materialized (
           select id, type, time, data from events where id = any(array(select event_id from d)))
         select d.*, e.type as kind, e.time, e.data from d join e on e.id = d.event_id",
        "-- store.rearm.dead
         select d.id, d.project_id, d.event_id, d.automation_id, d.member_id, d.recipient, d.purpose, d.message_id,
           e.type as kind, e.time, e.data
         from json_each($2) k
         cross join dispatches d on d.id = unhex(k.value) cross join events e on e.id = d.event_id
         where d.project_id = $1 and d.state = 'dead'",
    );
    Ok(sqlx::query_as::<Db, DeadRow>(SQL).bind(project).bind(rows::ids(ids)).fetch_all(c).await?)
}

/// The dead dispatches of events.
pub async fn dead_of_events(
    c: &mut Connection,
    project: Uuid,
    events: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "-- store.rearm.dead_of_events
         with k as materialized (select k.value::uuid as id from events e
             cross join lateral json_array_elements_text(e.dispatches::json) k
           where e.project_id = $1
             and e.id = any(array(select value::uuid from json_array_elements_text($2::text::json))))
         select id from dispatches where project_id = $1 and case state when 'dead' then true end
           and id = any(array(select id from k))",
        "-- store.rearm.dead_of_events
         select d.id from json_each($2) w cross join events e on e.id = unhex(w.value)
         cross join json_each(e.dispatches) k
         cross join dispatches d on d.id = unhex(replace(k.value, '-', ''))
         where e.project_id = $1 and d.project_id = $1 and d.state = 'dead'",
    );
    let query = sqlx::query_scalar::<Db, Uuid>(SQL).bind(project).bind(rows::ids(events));
    Ok(query.fetch_all(c).await?)
}

/// Dead ones are due again as they were planned, if their time has not run out, their member is still there and
/// their token is still good. Their members are locked. Returns which.
pub async fn retry(
    c: &mut Connection,
    project: Uuid,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "-- store.rearm.retry
         update dispatches d set state = 'pending', reason = null, cancel_reason = null, holder = null, due_at = $3,
           charged = 0
         where d.id = any(array(select id from dispatches where project_id = $1
             and case state when 'dead' then true end
             and id = any(array(select value::uuid from json_array_elements_text($2::text::json)))
           order by id for no key update))
         and case d.state when 'dead' then true end and d.expires_at > $3
         and (select m.deleted_at is null from members m where m.project_id = d.project_id and m.id = d.member_id)
         and (d.purpose is null or exists (
           select 1 from tokens t where t.id = d.token_id and t.used_at is null and t.ended_at is null))
         returning d.id",
        "-- store.rearm.retry
         update dispatches set state = 'pending', reason = null, cancel_reason = null, holder = null, due_at = $3,
           charged = 0
         where id in (select unhex(value) from json_each($2)) and project_id = $1 and state = 'dead'
         and expires_at > $3 and exists (
           select 1 from members m where m.project_id = dispatches.project_id and m.id = dispatches.member_id
             and m.deleted_at is null)
         and (purpose is null or exists (
           select 1 from tokens t where t.id = token_id and t.used_at is null and t.ended_at is null))
         returning id",
    );
    let query = sqlx::query_scalar::<Db, Uuid>(SQL).bind(project).bind(rows::ids(ids)).bind(now);
    Ok(query.fetch_all(c).await?)
}

/// Dead ones are due again as they were planned now. Returns which were still dead.
pub async fn again(c: &mut Connection, rows: &[AgainRow]) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "-- store.rearm.again
         with r as materialized (select * from json_to_recordset($1::text::json) as r(id uuid,
             automation_version integer, integration_id uuid, template text, recipient text, purpose text,
             token_id uuid, message_id text, due_at timestamptz, expires_at timestamptz)),
         mine as materialized (select id from dispatches where id = any(array(select id from r))
           and case state when 'dead' then true end order by id for no key update)
         update dispatches d set state = 'pending', reason = null, cancel_reason = null, holder = null, charged = 0,
           automation_version = r.automation_version, integration_id = r.integration_id, template = r.template,
           recipient = r.recipient, purpose = r.purpose, token_id = r.token_id, message_id = r.message_id,
           due_at = r.due_at, expires_at = r.expires_at
         from r where d.id = any(array(select id from mine)) and r.id = d.id returning d.id",
        "-- store.rearm.again
         update dispatches set state = 'pending', reason = null, cancel_reason = null, holder = null, charged = 0,
           automation_version = r.automation_version, integration_id = r.integration_id, template = r.template,
           recipient = r.recipient, purpose = r.purpose, token_id = r.token_id, message_id = r.message_id,
           due_at = r.due_at, expires_at = r.expires_at
         from (select unhex(value ->> 'id') as id, value ->> 'automation_version' as automation_version,
             unhex(value ->> 'integration_id') as integration_id, value ->> 'template' as template,
             value ->> 'recipient' as recipient, value ->> 'purpose' as purpose,
             unhex(value ->> 'token_id') as token_id, value ->> 'message_id' as message_id,
             value ->> 'due_at' as due_at, value ->> 'expires_at' as expires_at from json_each($1)) as r
         where dispatches.id = r.id and dispatches.state = 'dead' returning dispatches.id",
    );
    Ok(sqlx::query_scalar::<Db, Uuid>(SQL).bind(json(rows)).fetch_all(c).await?)
}

/// Cancels what is not sent yet, and asks the holders of what is in hand. Returns each with its state.
pub async fn cancel(
    c: &mut Connection,
    project: Uuid,
    ids: &[Uuid],
    reason: &str,
) -> Result<Vec<(Uuid, String)>, StoreError> {
    const SQL: &str = dialect(
        "-- store.rearm.cancel
         update dispatches set cancel_reason = $3,
           state = case when holder is null then 'cancelled' else state end,
           reason = case when holder is null then $3 else reason end
         where id = any(array(select id from dispatches
           where id = any(array(select value::uuid from json_array_elements_text($2::text::json)))
           and project_id = $1 and case state when 'pending' then true end order by id for no key update))
         returning id, state",
        "-- store.rearm.cancel
         update dispatches set cancel_reason = $3,
           state = case when holder is null then 'cancelled' else state end,
           reason = case when holder is null then $3 else reason end
         where state = 'pending' and project_id = $1 and id in (select unhex(value) from json_each($2))
         returning id, state",
    );
    let query = sqlx::query_as::<Db, (Uuid, String)>(SQL).bind(project).bind(rows::ids(ids)).bind(reason);
    Ok(query.fetch_all(c).await?)
}

/// Gives dead ones up. Returns which.
pub async fn discard(
    c: &mut Connection,
    project: Uuid,
    ids: &[Uuid],
    reason: &str,
) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "-- store.rearm.discard
         update dispatches set state = 'cancelled', reason = $3
         where id = any(array(select id from dispatches where project_id = $1
             and case state when 'dead' then true end
             and id = any(array(select value::uuid from json_array_elements_text($2::text::json)))
           order by id for no key update)) and case state when 'dead' then true end returning id",
        "-- store.rearm.discard
         update dispatches set state = 'cancelled', reason = $3
         where state = 'dead' and project_id = $1 and id in (select unhex(value) from json_each($2)) returning id",
    );
    let query = sqlx::query_scalar::<Db, Uuid>(SQL).bind(project).bind(rows::ids(ids)).bind(reason);
    Ok(query.fetch_all(c).await?)
}

/// The ids of a project's dispatches that are dead, or else of those that are not sent yet, oldest first after an id:
/// for acts on all that fit. `None` fits all.
pub async fn like(
    c: &mut Connection,
    project: Uuid,
    (state, reason, kind): (&str, Option<&str>, Option<&str>),
    since: Option<DateTime<Utc>>,
    (after, limit): (Option<Uuid>, i64),
) -> Result<Vec<Uuid>, StoreError> {
    // A text for each: with the state as a bind, one plan for all binds could use no index of either.
    const DEAD: &str = dialect(
        "-- store.rearm.like dead
         -- Compared as the index of what is dead has them.
         select d.id from dispatches d where d.state = 'dead' and d.project_id = $1
           and (d.project_id, d.id) > ($1, $2) and ($3::text is null or d.reason = $3) and ($4::timestamptz is null or d.created_at >= $4)
           and ($5::text is null or exists (select 1 from events e where e.id = d.event_id and e.type = $5))
         order by d.id limit $6",
        "-- store.rearm.like dead
         select d.id from dispatches d where d.project_id = $1 and d.state = 'dead' and d.id > $2
           and ($3 is null or d.reason = $3) and ($4 is null or d.created_at >= $4)
           and ($5 is null or exists (select 1 from events e where e.id = d.event_id and e.type = $5))
         order by d.id limit $6",
    );
    const OPEN: &str = dialect(
        "-- store.rearm.like open
         -- Each half reads one of the small partial indexes.
         with open as materialized (
           select id, project_id, event_id, reason, created_at from dispatches
             where state = 'pending' and holder is null
           union all select id, project_id, event_id, reason, created_at from dispatches
             where state = 'pending' and holder is not null)
         select d.id from open d where d.project_id = $1 and d.id > $2
           and ($3::text is null or d.reason = $3) and ($4::timestamptz is null or d.created_at >= $4)
           and ($5::text is null or exists (select 1 from events e where e.id = d.event_id and e.type = $5))
         order by d.id limit $6",
        "-- store.rearm.like open
         select d.id from dispatches d where d.project_id = $1 and d.state = 'pending' and d.id > $2
           and ($3 is null or d.reason = $3) and ($4 is null or d.created_at >= $4)
           and ($5 is null or exists (select 1 from events e where e.id = d.event_id and e.type = $5))
         order by d.id limit $6",
    );
    let sql = if state == "dead" { DEAD } else { OPEN };
    let query = sqlx::query_scalar::<Db, Uuid>(sql).bind(project).bind(after.unwrap_or_default());
    Ok(query.bind(reason).bind(since).bind(kind).bind(limit).fetch_all(c).await?)
}
