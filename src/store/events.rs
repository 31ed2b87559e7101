//! Events, their identities, and what was refused.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::StoreError;
use crate::store::rows::{EventRow, IdentityKey, KnownIdentity, RefusalRow, json};
use crate::store::shown::StoredEvent;

/// Which of the identities are known, and what became of their events.
pub async fn known(c: &mut Connection, keys: &[IdentityKey]) -> Result<Vec<KnownIdentity>, StoreError> {
    const SQL: &str = dialect(
        "-- store.events.known
         select i.project_id, i.source, i.source_id, i.fingerprint, i.event_id, e.outcome, e.dispatches
         from json_to_recordset($1::text::json) as k(project uuid, source text, source_id text)
         join event_identities i on i.project_id = k.project and i.source = k.source and i.source_id = k.source_id
         left join events e on e.id = i.event_id",
        "-- store.events.known
         select i.project_id, i.source, i.source_id, i.fingerprint, i.event_id, e.outcome, e.dispatches
         from json_each($1) k
         cross join event_identities i on i.project_id = unhex(k.value ->> 'project')
           and i.source = k.value ->> 'source' and i.source_id = k.value ->> 'source_id'
         left join events e on e.id = i.event_id",
    );
    Ok(sqlx::query_as::<Db, KnownIdentity>(SQL).bind(json(keys)).fetch_all(c).await?)
}

/// Takes the identities of the rows. Fewer than asked for means that another worker was quicker with one:
/// the batch is then planned again and sees it as known.
pub async fn claim_identities(c: &mut Connection, rows: &[EventRow]) -> Result<u64, StoreError> {
    const SQL: &str = dialect(
        "-- store.events.claim_identities
         insert into event_identities (project_id, source, source_id, fingerprint, event_id)
         select project_id, source, source_id, decode(fingerprint, 'hex'), id
         from json_to_recordset($1::text::json) as r(id uuid, project_id uuid, source text, source_id text, fingerprint text)
         order by project_id, source, source_id on conflict do nothing",
        "-- store.events.claim_identities
         insert into event_identities (project_id, source, source_id, fingerprint, event_id)
         select unhex(value ->> 'project_id'), value ->> 'source', value ->> 'source_id',
           unhex(value ->> 'fingerprint'), unhex(value ->> 'id')
         from json_each($1) where true on conflict do nothing",
    );
    Ok(sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?.rows_affected())
}

/// Writes accepted events.
pub async fn insert(c: &mut Connection, rows: &[EventRow]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.events.insert
         insert into events (id, project_id, source, source_id, type, time, received_at, outcome, reason, member_id,
           data, automations, dispatches, traceparent)
         select id, project_id, source, source_id, kind, time, received_at, outcome, reason, member_id,
           data, automations, dispatches, traceparent
         from json_to_recordset($1::text::json) as r(id uuid, project_id uuid, source text, source_id text, kind text,
           time timestamptz, received_at timestamptz, outcome text, reason text, member_id text, data text,
           automations text, dispatches text, traceparent text)",
        "-- store.events.insert
         insert into events (id, project_id, source, source_id, type, time, received_at, outcome, reason, member_id,
           data, automations, dispatches, traceparent)
         select unhex(value ->> 'id'), unhex(value ->> 'project_id'), value ->> 'source', value ->> 'source_id',
           value ->> 'kind', value ->> 'time', value ->> 'received_at', value ->> 'outcome', value ->> 'reason',
           value ->> 'member_id', value ->> 'data', value ->> 'automations', value ->> 'dispatches',
           value ->> 'traceparent'
         from json_each($1)",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?;
    Ok(())
}

/// Notes refusals.
pub async fn insert_refusals(c: &mut Connection, rows: &[RefusalRow]) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.events.insert_refusals
         insert into refusals (id, project, source, source_id, type, reason, field, detail, received_at)
         select id, project, source, source_id, kind, reason, field, detail, received_at
         from json_to_recordset($1::text::json) as r(id uuid, project text, source text, source_id text, kind text,
           reason text, field text, detail text, received_at timestamptz)",
        "-- store.events.insert_refusals
         insert into refusals (id, project, source, source_id, type, reason, field, detail, received_at)
         select unhex(value ->> 'id'), value ->> 'project', value ->> 'source', value ->> 'source_id',
           value ->> 'kind', value ->> 'reason', value ->> 'field', value ->> 'detail', value ->> 'received_at'
         from json_each($1)",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).execute(c).await?;
    Ok(())
}

const SHOWN: &str = "select id, source, source_id, type, time, outcome, reason, field, automations, \
                     dispatches from events where project_id = $1";
const REFUSED: &str = "select id, source, source_id, type, received_at as time, reason as outcome, reason, field, \
                       '[]' as automations, '[]' as dispatches from refusals where project = $1";

/// An event of the project, accepted or refused.
pub async fn get(c: &mut Connection, project: Uuid, slug: &str, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
    let sql = AssertSqlSafe(format!("{SHOWN} and id = $2"));
    let accepted = sqlx::query_as::<Db, StoredEvent>(sql).bind(project).bind(id).fetch_optional(&mut *c).await?;
    if accepted.is_some() {
        return Ok(accepted);
    }
    let sql = AssertSqlSafe(format!("{REFUSED} and id = $2"));
    Ok(sqlx::query_as::<Db, StoredEvent>(sql).bind(slug).bind(id).fetch_optional(c).await?)
}

/// What became of the publisher's id: the accepted event if there is one, then the refusals, newest first.
pub async fn by_identity(
    c: &mut Connection,
    project: (Uuid, &str),
    source: &str,
    source_id: &str,
) -> Result<Vec<StoredEvent>, StoreError> {
    let sql = "select event_id from event_identities where project_id = $1 and source = $2 and source_id = $3";
    let query = sqlx::query_scalar::<Db, Uuid>(sql).bind(project.0).bind(source).bind(source_id);
    let mut found: Vec<StoredEvent> = match query.fetch_optional(&mut *c).await? {
        Some(id) => get(c, project.0, project.1, id).await?.into_iter().collect(),
        None => Vec::new(),
    };
    let sql = AssertSqlSafe(format!("{REFUSED} and source = $2 and source_id = $3 order by id desc limit 20"));
    let query = sqlx::query_as::<Db, StoredEvent>(sql).bind(project.1).bind(source).bind(source_id);
    found.extend(query.fetch_all(c).await?);
    Ok(found)
}

/// The newest events of a project before an id, accepted and refused: of a type, with an outcome, if one is wanted.
pub async fn list(
    c: &mut Connection,
    project: (Uuid, &str),
    (kind, outcome): (Option<&str>, Option<&str>),
    (before, limit): (Option<Uuid>, i64),
) -> Result<Vec<StoredEvent>, StoreError> {
    let before = before.unwrap_or(Uuid::max());
    let mut found = Vec::new();
    let accepted = AssertSqlSafe(format!(
        "{SHOWN} and id < $2 and ($3 is null or type = $3) and ($4 is null or outcome = $4) order by id desc limit $5"
    ));
    let query = sqlx::query_as::<Db, StoredEvent>(accepted).bind(project.0).bind(before);
    found.extend(query.bind(kind).bind(outcome).bind(limit).fetch_all(&mut *c).await?);
    let refused = AssertSqlSafe(format!(
        "{REFUSED} and id < $2 and ($3 is null or type = $3) and ($4 is null or reason = $4) order by id desc limit $5"
    ));
    let query = sqlx::query_as::<Db, StoredEvent>(refused).bind(project.1).bind(before);
    found.extend(query.bind(kind).bind(outcome).bind(limit).fetch_all(c).await?);
    found.sort_by_key(|event| std::cmp::Reverse(event.id));
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
}
