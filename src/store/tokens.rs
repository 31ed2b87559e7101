//! Tokens: one row for each member and purpose, so that issuing replaces and there are no siblings to revoke.
//! The row is no token and cannot be made into one without the key.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::{StoreError, rows};
use crate::store::rows::{MemberId, StoredToken, TokenRow, json};

/// The tokens of the members, whatever their state. The members are locked, so this cannot change.
pub async fn of_members(c: &mut Connection, members: &[MemberId]) -> Result<Vec<StoredToken>, StoreError> {
    const SQL: &str = dialect(
        "-- store.tokens.of_members
         select t.* from json_to_recordset($1::text::json) as k(project uuid, member text)
         join tokens t on t.project_id = k.project and t.member_id = k.member",
        "-- store.tokens.of_members
         select t.* from json_each($1) k
         cross join tokens t on t.project_id = unhex(k.value ->> 'project') and t.member_id = k.value ->> 'member'",
    );
    Ok(sqlx::query_as::<Db, StoredToken>(SQL).bind(json(members)).fetch_all(c).await?)
}

/// Issues tokens, each in place of the one before it.
pub async fn issue(c: &mut Connection, rows: &[TokenRow]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.tokens.issue
         insert into tokens (project_id, member_id, purpose, scope, payload, id, key_id, event_id, dispatches, lifetime_s,
           requested_at, expires_at)
         select project_id, member_id, purpose, scope, payload, id, key_id, event_id, dispatches, lifetime_s,
           requested_at, expires_at
         from json_to_recordset($1::text::json) as r(project_id uuid, member_id text, purpose text, scope text,
           payload text, id uuid, key_id text, event_id uuid, dispatches text, lifetime_s bigint, requested_at timestamptz,
           expires_at timestamptz)
         order by project_id, member_id, purpose, scope
         on conflict (project_id, member_id, purpose, scope) do update set payload = excluded.payload, id = excluded.id,
           key_id = excluded.key_id,
           event_id = excluded.event_id, dispatches = excluded.dispatches, lifetime_s = excluded.lifetime_s,
           requested_at = excluded.requested_at, expires_at = excluded.expires_at, used_at = null, ended_at = null",
        "-- store.tokens.issue
         insert into tokens (project_id, member_id, purpose, scope, payload, id, key_id, event_id, dispatches, lifetime_s,
           requested_at, expires_at)
         select unhex(value ->> 'project_id'), value ->> 'member_id', value ->> 'purpose', value ->> 'scope', value ->> 'payload',
           unhex(value ->> 'id'), value ->> 'key_id', unhex(value ->> 'event_id'), value ->> 'dispatches', value ->> 'lifetime_s',
           value ->> 'requested_at', value ->> 'expires_at'
         from json_each($1) where true
         on conflict (project_id, member_id, purpose, scope) do update set payload = excluded.payload, id = excluded.id,
           key_id = excluded.key_id,
           event_id = excluded.event_id, dispatches = excluded.dispatches, lifetime_s = excluded.lifetime_s,
           requested_at = excluded.requested_at, expires_at = excluded.expires_at, used_at = null, ended_at = null",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?;
    Ok(())
}

/// Says which dispatches carry a token. Its member is locked.
pub async fn carried(c: &mut Connection, id: Uuid, dispatches: &[Uuid]) -> Result<(), StoreError> {
    let query = sqlx::query::<Db>("update tokens set dispatches = $2 where id = $1").bind(id);
    query.bind(json(dispatches)).execute(c).await?;
    Ok(())
}

/// Ends tokens that are still good, by their ids.
pub async fn end(c: &mut Connection, ids: &[Uuid], now: DateTime<Utc>) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "update tokens set ended_at = $2 where used_at is null and ended_at is null
         and id = any(array(select value::uuid from json_array_elements_text($1::text::json)))",
        "update tokens set ended_at = $2 where used_at is null and ended_at is null
         and id in (select unhex(value) from json_each($1))",
    );
    sqlx::query::<Db>(SQL).bind(rows::ids(ids)).bind(now).execute(c).await?;
    Ok(())
}

/// Counts the lifetime of tokens from now: their mails are about to be tried. One that is locked is being
/// replaced, used or ended, and whoever holds it may wait for a dispatch that the caller has: it is left alone.
pub async fn renew(c: &mut Connection, ids: &[Uuid], now: DateTime<Utc>) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        // By arrays: a join would be planned while the table is empty, to read all of it for each mail.
        "-- store.tokens.renew
         with live as materialized (select id from tokens where used_at is null and ended_at is null
           and id = any(array(select value::uuid from json_array_elements_text($1::text::json)))
           for no key update skip locked)
         update tokens set expires_at = $2 + lifetime_s * interval '1 second' where id = any(array(select id from live))",
        // Written as sqlx writes times, so that texts compare.
        "update tokens set expires_at = strftime('%Y-%m-%dT%H:%M:%S', $2, '+' || lifetime_s || ' seconds') || '+00:00'
         where used_at is null and ended_at is null and id in (select unhex(value) from json_each($1))",
    );
    sqlx::query::<Db>(SQL).bind(rows::ids(ids)).bind(now).execute(c).await?;
    Ok(())
}

pub async fn find(c: &mut Connection, id: Uuid) -> Result<Option<StoredToken>, StoreError> {
    Ok(sqlx::query_as::<Db, StoredToken>("select * from tokens where id = $1").bind(id).fetch_optional(c).await?)
}

/// Uses a token up: one conditional statement, decided by the row it returns. To be called in the transaction
/// of the effect.
pub async fn use_up(
    c: &mut Connection,
    project: Uuid,
    id: Uuid,
    purpose: &str,
    now: DateTime<Utc>,
) -> Result<Option<StoredToken>, StoreError> {
    let sql = "update tokens set used_at = $4 where project_id = $1 and id = $2 and purpose = $3 \
               and used_at is null and ended_at is null and expires_at > $4 returning *";
    let query = sqlx::query_as::<Db, StoredToken>(sql).bind(project).bind(id).bind(purpose).bind(now);
    Ok(query.fetch_optional(c).await?)
}

/// How many tokens that are still good each key has made, and until when the last of them is.
pub async fn good_by_key(
    c: &mut Connection,
    now: DateTime<Utc>,
) -> Result<Vec<(String, i64, DateTime<Utc>)>, StoreError> {
    let sql = "select key_id, count(*), max(expires_at) from tokens \
               where used_at is null and ended_at is null and expires_at > $1 group by key_id order by key_id";
    Ok(sqlx::query_as::<Db, (String, i64, DateTime<Utc>)>(sql).bind(now).fetch_all(c).await?)
}
