//! What workers do with dispatches: fetch, settle, give back, take over from the dead. Every statement that
//! changes a row that is in hand says `holder = me`, so a worker that was declared dead changes nothing.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::{StoreError, rows};
use crate::store::rows::{AttemptRow, ClaimedRow, SettleRow, Slots, json};
use crate::store::shown::AnsweredDispatch;

/// The integrations that have something to fetch now or later: one step in the small index for each.
pub async fn waiting_integrations(c: &mut Connection) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = "-- store.work.waiting_integrations
        with recursive waiting(id) as (
          select * from (select integration_id from dispatches where state = 'pending' and holder is null
            order by integration_id limit 1) as first_one
          union all
          select (select d.integration_id from dispatches d where d.state = 'pending' and d.holder is null
            and d.integration_id > w.id order by d.integration_id limit 1) from waiting w where w.id is not null)
        select id from waiting where id is not null";
    Ok(sqlx::query_scalar::<Db, Uuid>(SQL).fetch_all(c).await?)
}

/// Takes due dispatches into this worker's hands, at most so many of each integration and none of the paused
/// automations. SQLite, which has no lateral
/// join, takes one integration at a time.
pub async fn claim(
    c: &mut Connection,
    slots: &[Slots],
    worker: i64,
    (now, paused): (DateTime<Utc>, &[Uuid]),
) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "-- store.work.claim
         with wanted as (select * from json_to_recordset($1::text::json) as w(integration uuid, slots bigint)),
         picked as materialized (
           select d.id from wanted w cross join lateral (
             select id from dispatches where integration_id = w.integration and state = 'pending' and holder is null
               and due_at <= $3
               and automation_id <> all(array(select value::uuid from json_array_elements_text($4::text::json)))
               order by due_at limit w.slots for update skip locked) d)
         update dispatches d set holder = $2 from picked where d.id = picked.id returning d.id",
        "-- store.work.claim
         update dispatches set holder = $2 where id in (
           select id from dispatches where integration_id = (select unhex(value ->> 'integration') from json_each($1))
             and state = 'pending' and holder is null and due_at <= $3
             and automation_id not in (select unhex(value) from json_each($4))
           order by due_at limit (select value ->> 'slots' from json_each($1)))
         returning id",
    );
    let query = sqlx::query_scalar::<Db, Uuid>(SQL).bind(json(slots)).bind(worker).bind(now);
    let query = query.bind(rows::ids(paused));
    Ok(query.fetch_all(c).await?)
}

/// What the mails of claimed dispatches need. A token that is no longer good is not joined.
pub async fn claimed(c: &mut Connection, ids: &[Uuid]) -> Result<Vec<ClaimedRow>, StoreError> {
    const SQL: &str = dialect(
        "-- store.work.claimed
         select d.id, d.project_id, d.event_id, d.automation_id, d.integration_id, d.template, d.recipient, d.message_id,
           d.purpose, t.id as token_id, t.key_id, t.lifetime_s, d.expires_at, d.attempts, d.charged, d.cancel_reason,
           e.type as kind, e.time, e.data, e.received_at, e.traceparent, d.automation_version, m.id as member_id,
           m.username, m.email as member_email, m.first_name, m.last_name, m.locale, m.is_admin, m.on_vacation
         from json_array_elements_text($1::text::json) k
         join dispatches d on d.id = k.value::uuid
         join events e on e.id = d.event_id
         join members m on m.project_id = d.project_id and m.id = d.member_id
         left join tokens t on t.id = d.token_id and t.used_at is null and t.ended_at is null",
        "-- store.work.claimed
         select d.id, d.project_id, d.event_id, d.automation_id, d.integration_id, d.template, d.recipient, d.message_id,
           d.purpose, t.id as token_id, t.key_id, t.lifetime_s, d.expires_at, d.attempts, d.charged, d.cancel_reason,
           e.type as kind, e.time, e.data, e.received_at, e.traceparent, d.automation_version, m.id as member_id,
           m.username, m.email as member_email, m.first_name, m.last_name, m.locale, m.is_admin, m.on_vacation
         from json_each($1) k
         cross join dispatches d on d.id = unhex(k.value)
         cross join events e on e.id = d.event_id
         cross join members m on m.project_id = d.project_id and m.id = d.member_id
         left join tokens t on t.id = d.token_id and t.used_at is null and t.ended_at is null",
    );
    Ok(sqlx::query_as::<Db, ClaimedRow>(SQL).bind(rows::ids(ids)).fetch_all(c).await?)
}

/// Settles tries. Returns the rows that were this worker's, each with the number of tries shown since: a
/// dispatch that was asked to be cancelled ends cancelled unless the server took it.
pub async fn settle(c: &mut Connection, rows: &[SettleRow], worker: i64) -> Result<Vec<(Uuid, i32)>, StoreError> {
    const SQL: &str = dialect(
        "-- store.work.settle
         with s as materialized (select * from json_to_recordset($1::text::json) as s(dispatch_id uuid, new_state text,
             new_reason text, next_at timestamptz, shown integer, charge integer, tried_at timestamptz, class text,
             code integer, reply text)),
         -- In key order, as planners cancel them.
         -- The `case` keeps the planner to the key: it would take the index of what is held, which is full of rows
         -- that were settled a moment ago.
         mine as materialized (select s.* from s join dispatches d on d.id = s.dispatch_id
           where case d.holder when $2 then d.state = 'pending' end order by d.id for no key update of d)
         update dispatches as d set
           state = case when s.new_state = 'pending' and d.cancel_reason is not null then 'cancelled' else s.new_state end,
           reason = case when s.new_state = 'pending' then d.cancel_reason else s.new_reason end,
           holder = null, due_at = coalesce(s.next_at, d.due_at),
           sent_at = case when s.new_state = 'sent' then s.tried_at end,
           attempts = d.attempts + s.shown, charged = d.charged + s.charge,
           first_at = coalesce(d.first_at, s.tried_at),
           first_class = case when d.first_at is null then s.class else d.first_class end,
           first_code = case when d.first_at is null then s.code else d.first_code end,
           first_reply = case when d.first_at is null then s.reply else d.first_reply end
         from mine as s where d.id = s.dispatch_id
         returning d.id, d.attempts",
        "-- store.work.settle
         update dispatches as d set
           state = case when s.new_state = 'pending' and d.cancel_reason is not null then 'cancelled' else s.new_state end,
           reason = case when s.new_state = 'pending' then d.cancel_reason else s.new_reason end,
           holder = null, due_at = coalesce(s.next_at, d.due_at),
           sent_at = case when s.new_state = 'sent' then s.tried_at end,
           attempts = d.attempts + s.shown, charged = d.charged + s.charge,
           first_at = coalesce(d.first_at, s.tried_at),
           first_class = case when d.first_at is null then s.class else d.first_class end,
           first_code = case when d.first_at is null then s.code else d.first_code end,
           first_reply = case when d.first_at is null then s.reply else d.first_reply end
         from (select unhex(value ->> 'dispatch_id') as dispatch_id, value ->> 'new_state' as new_state,
             value ->> 'new_reason' as new_reason, value ->> 'next_at' as next_at, value ->> 'shown' as shown,
             value ->> 'charge' as charge, value ->> 'tried_at' as tried_at, value ->> 'class' as class,
             value ->> 'code' as code, value ->> 'reply' as reply from json_each($1)) as s
         where d.id = s.dispatch_id and d.holder = $2 and d.state = 'pending'
         returning id, attempts",
    );
    Ok(sqlx::query_as::<Db, (Uuid, i32)>(SQL).bind(json(rows)).bind(worker).fetch_all(c).await?)
}

/// Keeps tries after the first.
pub async fn insert_attempts(c: &mut Connection, rows: &[AttemptRow]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "insert into attempts (dispatch_id, number, at, class, code, reply)
         select dispatch_id, number, tried_at, class, code, reply
         from json_to_recordset($1::text::json) as r(dispatch_id uuid, number integer, tried_at timestamptz, class text,
           code integer, reply text) on conflict do nothing",
        "insert into attempts (dispatch_id, number, at, class, code, reply)
         select unhex(value ->> 'dispatch_id'), value ->> 'number', value ->> 'tried_at', value ->> 'class',
           value ->> 'code', value ->> 'reply' from json_each($1) where true on conflict do nothing",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?;
    Ok(())
}

/// Which of the dispatches are still this worker's and wanted: asked when they lay in hand for long.
pub async fn still_wanted(c: &mut Connection, id: Uuid, worker: i64) -> Result<bool, StoreError> {
    let sql = "select count(*) from dispatches where id = $1 and holder is not distinct from $2 \
               and state = 'pending' and cancel_reason is null";
    Ok(sqlx::query_scalar::<Db, i64>(sql).bind(id).bind(worker).fetch_one(c).await? > 0)
}

/// The dispatches that a reply names, of whichever project.
pub async fn answered(c: &mut Connection, ids: &[Uuid]) -> Result<Vec<AnsweredDispatch>, StoreError> {
    const SQL: &str = dialect(
        "-- store.work.answered
         select d.id, d.project_id, d.integration_id, d.member_id, d.message_id, d.recipient, m.email as member_email
         from dispatches d left join members m on m.project_id = d.project_id and m.id = d.member_id
           and m.deleted_at is null
         where d.id = any(array(select value::uuid from json_array_elements_text($1::text::json)))",
        "-- store.work.answered
         select d.id, d.project_id, d.integration_id, d.member_id, d.message_id, d.recipient, m.email as member_email
         from dispatches d left join members m on m.project_id = d.project_id and m.id = d.member_id
           and m.deleted_at is null
         where d.id in (select unhex(value) from json_each($1))",
    );
    Ok(sqlx::query_as::<Db, AnsweredDispatch>(SQL).bind(rows::ids(ids)).fetch_all(c).await?)
}

/// Gives back some of what a worker holds; returns which it did hold. Waits for a transaction that is about to
/// make them its own.
pub async fn release(c: &mut Connection, ids: &[Uuid], worker: i64) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "-- store.work.release
         with held as materialized (select id, holder from dispatches
           where id = any(array(select value::uuid from json_array_elements_text($1::text::json)))
           and case state when 'pending' then true end order by id for update)
         update dispatches d set holder = null,
           state = case when d.cancel_reason is not null then 'cancelled' else d.state end,
           reason = coalesce(d.cancel_reason, d.reason)
         where d.id = any(array(select id from held where holder = $2)) returning d.id",
        "-- store.work.release
         update dispatches set holder = null,
           state = case when cancel_reason is not null then 'cancelled' else state end,
           reason = coalesce(cancel_reason, reason)
         where state = 'pending' and holder = $2 and id in (select unhex(value) from json_each($1)) returning id",
    );
    Ok(sqlx::query_scalar::<Db, Uuid>(SQL).bind(rows::ids(ids)).bind(worker).fetch_all(c).await?)
}

/// Gives back everything that a worker has in hand: at a stop, or when it was found dead.
pub async fn release_all(c: &mut Connection, worker: i64) -> Result<u64, StoreError> {
    const SQL: &str = dialect(
        "update dispatches set holder = null,
           state = case when cancel_reason is not null then 'cancelled' else state end,
           reason = coalesce(cancel_reason, reason)
         where id in (select id from dispatches where holder = $1 and state = 'pending' order by id for no key update)",
        "update dispatches set holder = null,
           state = case when cancel_reason is not null then 'cancelled' else state end,
           reason = coalesce(cancel_reason, reason) where holder = $1 and state = 'pending'",
    );
    Ok(sqlx::query::<Db>(SQL).bind(worker).execute(c).await?.rows_affected())
}

/// Workers that were declared dead since then and still have something in hand: a transaction that one was in
/// the middle of may have committed after its rows were given back.
pub async fn orphans(c: &mut Connection, since: DateTime<Utc>) -> Result<Vec<i64>, StoreError> {
    let sql = "select id from workers where dead_at >= $1 \
               and exists (select 1 from dispatches where holder = workers.id and state = 'pending')";
    Ok(sqlx::query_scalar::<Db, i64>(sql).bind(since).fetch_all(c).await?)
}

/// Ends dispatches whose `max_age` ran out while nobody could fetch them.
pub async fn expire(c: &mut Connection, now: DateTime<Utc>) -> Result<u64, StoreError> {
    const SQL: &str = dialect(
        "update dispatches set state = 'dead', reason = 'expired' where id in (
           select id from dispatches where state = 'pending' and holder is null and expires_at <= $1
           order by id for no key update)",
        "update dispatches set state = 'dead', reason = 'expired'
         where state = 'pending' and holder is null and expires_at <= $1",
    );
    Ok(sqlx::query::<Db>(SQL).bind(now).execute(c).await?.rows_affected())
}

/// The oldest dispatch that waits or is in hand. Each half reads one of the small partial indexes.
pub async fn oldest_open(c: &mut Connection) -> Result<Option<Uuid>, StoreError> {
    let sql = "select id from (select id from dispatches where state = 'pending' and holder is null \
               union all select id from dispatches where state = 'pending' and holder is not null) as open \
               order by id limit 1";
    Ok(sqlx::query_scalar::<Db, Uuid>(sql).fetch_optional(c).await?)
}

/// How many dispatches are due and not in hand, and since when the oldest is, by integration and automation.
pub async fn due(c: &mut Connection, now: DateTime<Utc>) -> Result<Vec<(Uuid, Uuid, i64, DateTime<Utc>)>, StoreError> {
    let sql = "select integration_id, automation_id, count(*), min(due_at) from dispatches \
               where state = 'pending' and holder is null and due_at <= $1 group by integration_id, automation_id";
    Ok(sqlx::query_as::<Db, (Uuid, Uuid, i64, DateTime<Utc>)>(sql).bind(now).fetch_all(c).await?)
}

/// How many dispatches wait for their next try.
pub async fn later_count(c: &mut Connection, now: DateTime<Utc>) -> Result<i64, StoreError> {
    let sql = "select count(*) from dispatches where state = 'pending' and holder is null and due_at > $1";
    Ok(sqlx::query_scalar::<Db, i64>(sql).bind(now).fetch_one(c).await?)
}

/// How many dispatches are due and not in hand, counted up to a limit.
pub async fn due_count(c: &mut Connection, now: DateTime<Utc>, limit: i64) -> Result<i64, StoreError> {
    let sql = "select count(*) from (select 1 as one from dispatches \
               where state = 'pending' and holder is null and due_at <= $1 limit $2) as due";
    Ok(sqlx::query_scalar::<Db, i64>(sql).bind(now).bind(limit).fetch_one(c).await?)
}

/// Dead dispatches by reason.
pub async fn dead_count(c: &mut Connection) -> Result<Vec<(String, i64)>, StoreError> {
    let sql = "select reason, count(*) from dispatches where state = 'dead' group by reason";
    Ok(sqlx::query_as::<Db, (String, i64)>(sql).fetch_all(c).await?)
}
