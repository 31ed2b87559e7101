//! Members: read and locked in key order, so that two workers never wait for each other in a circle.

use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::domain::member::{Member, MemberRef};
use crate::store::StoreError;
use crate::store::rows::{MemberKey, MemberRow, json};

/// Reads every member that one of the keys names, tombstones by id too, and keeps them from being changed
/// until the transaction ends. Everything of a member that is decided by reading first (its tokens, its
/// dispatches) is decided under this lock.
pub async fn lock(c: &mut Connection, keys: &[MemberKey]) -> Result<Vec<Member>, StoreError> {
    const SQL: &str = dialect(
        "-- store.members.lock
         with k as materialized (select * from json_to_recordset($1::text::json) as k(project uuid, kind text, key text)),
         hit as (
           select k.project, k.key as id from k where k.kind = 'id'
           union select m.project_id, m.id from k join members m on m.project_id = k.project
             and m.email_key = k.key and m.deleted_at is null where k.kind = 'email'
           union select m.project_id, m.id from k join members m on m.project_id = k.project
             and m.username_key = k.key and m.deleted_at is null where k.kind = 'username')
         select m.* from members m where (m.project_id, m.id) in (select project, id from hit)
         order by m.project_id, m.id for no key update of m",
        "-- store.members.lock
         with k as materialized (select unhex(value ->> 'project') as project, value ->> 'kind' as kind,
           value ->> 'key' as key from json_each($1)),
         hit as (
           select k.project, k.key as id from k where k.kind = 'id'
           union select m.project_id, m.id from k cross join members m on m.project_id = k.project
             and m.email_key = k.key and m.deleted_at is null where k.kind = 'email'
           union select m.project_id, m.id from k cross join members m on m.project_id = k.project
             and m.username_key = k.key and m.deleted_at is null where k.kind = 'username')
         select m.* from hit cross join members m on m.project_id = hit.project and m.id = hit.id",
    );
    Ok(sqlx::query_as::<Db, Member>(SQL).bind(json(keys)).fetch_all(c).await?)
}

/// Writes members whole.
pub async fn put(c: &mut Connection, rows: &[MemberRow<'_>]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.members.put
         insert into members (project_id, id, username, username_key, email, email_key, first_name, last_name, locale,
           is_admin, on_vacation, auto_replies, applied_at, tokens_ended_at, deleted_at, created_at)
         select project_id, id, username, username_key, email, email_key, first_name, last_name, locale,
           is_admin, on_vacation, auto_replies, applied_at, tokens_ended_at, deleted_at, created_at
         from json_to_recordset($1::text::json) as r(project_id uuid, id text, username text, username_key text,
           email text, email_key text, first_name text, last_name text, locale text, is_admin boolean,
           on_vacation boolean, auto_replies integer, applied_at timestamptz, tokens_ended_at timestamptz,
           deleted_at timestamptz, created_at timestamptz)
         -- New ids are made by each worker, so only the names can make two that create the same members wait in order.
         order by project_id, email_key, username_key, id
         on conflict (project_id, id) do update set username = excluded.username,
           username_key = excluded.username_key, email = excluded.email, email_key = excluded.email_key,
           first_name = excluded.first_name, last_name = excluded.last_name, locale = excluded.locale,
           is_admin = excluded.is_admin, on_vacation = excluded.on_vacation, auto_replies = excluded.auto_replies,
           applied_at = excluded.applied_at, tokens_ended_at = excluded.tokens_ended_at,
           deleted_at = excluded.deleted_at,
           password_hash = case when excluded.deleted_at is null then members.password_hash end",
        "-- store.members.put
         insert into members (project_id, id, username, username_key, email, email_key, first_name, last_name, locale,
           is_admin, on_vacation, auto_replies, applied_at, tokens_ended_at, deleted_at, created_at)
         select unhex(value ->> 'project_id'), value ->> 'id', value ->> 'username', value ->> 'username_key',
           value ->> 'email', value ->> 'email_key', value ->> 'first_name', value ->> 'last_name',
           value ->> 'locale', value ->> 'is_admin', value ->> 'on_vacation', value ->> 'auto_replies',
           value ->> 'applied_at', value ->> 'tokens_ended_at', value ->> 'deleted_at', value ->> 'created_at'
         from json_each($1) where true
         on conflict (project_id, id) do update set username = excluded.username,
           username_key = excluded.username_key, email = excluded.email, email_key = excluded.email_key,
           first_name = excluded.first_name, last_name = excluded.last_name, locale = excluded.locale,
           is_admin = excluded.is_admin, on_vacation = excluded.on_vacation, auto_replies = excluded.auto_replies,
           applied_at = excluded.applied_at, tokens_ended_at = excluded.tokens_ended_at,
           deleted_at = excluded.deleted_at,
           password_hash = case when excluded.deleted_at is null then members.password_hash end",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?;
    Ok(())
}

/// The live member of that name.
pub async fn find(c: &mut Connection, project: Uuid, name: &MemberRef) -> Result<Option<Member>, StoreError> {
    let (sql, key) = match name {
        MemberRef::Id(key) => ("select * from members where project_id = $1 and id = $2 and deleted_at is null", key),
        MemberRef::Email(key) => {
            ("select * from members where project_id = $1 and email_key = $2 and deleted_at is null", key)
        }
        MemberRef::Username(key) => {
            ("select * from members where project_id = $1 and username_key = $2 and deleted_at is null", key)
        }
    };
    Ok(sqlx::query_as::<Db, Member>(sql).bind(project).bind(key).fetch_optional(c).await?)
}

/// Sets the password of a member, or takes it away.
pub async fn set_password(
    c: &mut Connection,
    project: Uuid,
    id: &str,
    hash: Option<&str>,
) -> Result<(), StoreError> {
    let sql = "update members set password_hash = $3 where project_id = $1 and id = $2 and deleted_at is null";
    sqlx::query::<Db>(sql).bind(project).bind(id).bind(hash).execute(c).await?;
    Ok(())
}

/// The member is there: automatic replies are counted from zero again.
pub async fn sign_of_life(c: &mut Connection, project: Uuid, id: &str) -> Result<(), StoreError> {
    let sql = "update members set auto_replies = 0 where project_id = $1 and id = $2 and auto_replies > 0";
    sqlx::query::<Db>(sql).bind(project).bind(id).execute(c).await?;
    Ok(())
}

/// The stored Argon2id hash of a member.
pub async fn password_hash(c: &mut Connection, project: Uuid, id: &str) -> Result<Option<String>, StoreError> {
    let sql = "select password_hash from members where project_id = $1 and id = $2 and deleted_at is null";
    Ok(sqlx::query_scalar::<Db, Option<String>>(sql).bind(project).bind(id).fetch_optional(c).await?.flatten())
}

/// Sets whether the member is away; automatic replies are counted from zero again.
pub async fn set_on_vacation(c: &mut Connection, project: Uuid, id: &str, away: bool) -> Result<(), StoreError> {
    let sql = "update members set on_vacation = $3, auto_replies = 0 \
               where project_id = $1 and id = $2 and deleted_at is null";
    sqlx::query::<Db>(sql).bind(project).bind(id).bind(away).execute(c).await?;
    Ok(())
}

/// Live members in the order of their ids, those after `after`; with `like`, a pattern of folded text, those whose
/// username, address or name it fits.
pub async fn list(
    c: &mut Connection,
    project: Uuid,
    (after, like): (Option<&str>, Option<&str>),
    limit: i64,
) -> Result<Vec<Member>, StoreError> {
    let sql = "-- store.members.list
        select * from members where project_id = $1 and deleted_at is null and id > $2
          and ($3 = '' or username_key like $3 escape '!' or email_key like $3 escape '!'
            or lower(coalesce(first_name, '') || ' ' || coalesce(last_name, '')) like $3 escape '!')
        order by id limit $4";
    let query = sqlx::query_as::<Db, Member>(sql).bind(project).bind(after.unwrap_or_default());
    Ok(query.bind(like.unwrap_or_default()).bind(limit).fetch_all(c).await?)
}

/// Every live member of a project, by username.
pub async fn live(c: &mut Connection, project: Uuid) -> Result<Vec<Member>, StoreError> {
    let sql = "select * from members where project_id = $1 and deleted_at is null order by username_key";
    Ok(sqlx::query_as::<Db, Member>(sql).bind(project).fetch_all(c).await?)
}
