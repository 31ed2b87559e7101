//! Which mails an automatic reply was counted for: at most one reply counts for each.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::StoreError;
use crate::store::rows::{AnsweredRow, json};

/// Those that were counted, of members who are locked.
pub async fn counted(
    c: &mut Connection,
    rows: &[AnsweredRow],
) -> Result<Vec<(Uuid, String, String)>, StoreError> {
    const SQL: &str = dialect(
        "-- store.absences.counted
         -- By key, one after another: a join would be planned while the table is empty, to read all of it.
         select a.* from json_to_recordset($1::text::json) as k(project uuid, member text, answered text)
         cross join lateral (select project_id, member_id, answered from absences where project_id = k.project
           and member_id = k.member and answered = k.answered limit 1) a",
        "-- store.absences.counted
         select a.project_id, a.member_id, a.answered from json_each($1) k
         cross join absences a on a.project_id = unhex(k.value ->> 'project')
           and a.member_id = k.value ->> 'member' and a.answered = k.value ->> 'answered'",
    );
    Ok(sqlx::query_as::<Db, (Uuid, String, String)>(SQL).bind(json(rows)).fetch_all(c).await?)
}

/// Those of the answered dispatches whose events are of one of the types.
pub async fn about_absence(
    c: &mut Connection,
    rows: &[AnsweredRow],
    kinds: &[&str],
) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = dialect(
        "-- store.absences.about_absence
         with k as materialized (
           select * from json_to_recordset($1::text::json) as k(project uuid, dispatch uuid)),
         d as materialized (
           select id, project_id, event_id from dispatches where id = any(array(select dispatch from k))),
         e as materialized (
           select id, type from events where id = any(array(select event_id from d)))
         select d.id from k join d on d.id = k.dispatch and d.project_id = k.project join e on e.id = d.event_id
         where e.type in (select value from json_array_elements_text($2::text::json))",
        "-- store.absences.about_absence
         select d.id from json_each($1) k
         cross join dispatches d on d.id = unhex(k.value ->> 'dispatch') and d.project_id = unhex(k.value ->> 'project')
         cross join events e on e.id = d.event_id
         where e.type in (select value from json_each($2))",
    );
    Ok(sqlx::query_scalar::<Db, Uuid>(SQL).bind(json(rows)).bind(json(kinds)).fetch_all(c).await?)
}

/// Keeps what was counted.
pub async fn insert(c: &mut Connection, rows: &[AnsweredRow], now: DateTime<Utc>) -> Result<(), StoreError> {
    const SQL: &str = dialect(
        "-- store.absences.insert
         insert into absences (project_id, member_id, answered, at) select project, member, answered, $2
         from json_to_recordset($1::text::json) as r(project uuid, member text, answered text)
         order by project, member, answered on conflict do nothing",
        "-- store.absences.insert
         insert into absences (project_id, member_id, answered, at)
         select unhex(value ->> 'project'), value ->> 'member', value ->> 'answered', $2
         from json_each($1) where true on conflict do nothing",
    );
    sqlx::query::<Db>(SQL).bind(json(rows)).bind(now).execute(c).await?;
    Ok(())
}

/// Forgets what was counted before.
pub async fn delete_before(c: &mut Connection, cutoff: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from absences where at < $1").bind(cutoff).execute(c).await?;
    Ok(())
}
