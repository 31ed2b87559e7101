//! Mail that was captured instead of sent, sealed.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Connection, Db, dialect};
use crate::store::StoreError;
use crate::store::shown::StoredCapture;

/// Keeps a mail; the second time of the same dispatch changes nothing.
pub async fn insert(c: &mut Connection, project: Uuid, capture: &StoredCapture) -> Result<(), StoreError> {
    let sql = "insert into captures (dispatch_id, project_id, captured_at, sealed) values ($1, $2, $3, $4) \
               on conflict do nothing";
    let query = sqlx::query::<Db>(sql).bind(capture.dispatch_id).bind(project).bind(capture.captured_at);
    query.bind(&capture.sealed).execute(c).await?;
    Ok(())
}

/// The newest mails, of one project or of all.
pub async fn newest(c: &mut Connection, project: Option<Uuid>, limit: i64) -> Result<Vec<StoredCapture>, StoreError> {
    const SQL: &str = dialect(
        "select dispatch_id, captured_at, sealed from captures where $1::uuid is null or project_id = $1
         order by captured_at desc, dispatch_id desc limit $2",
        "select dispatch_id, captured_at, sealed from captures where $1 is null or project_id = $1
         order by captured_at desc, dispatch_id desc limit $2",
    );
    Ok(sqlx::query_as::<Db, StoredCapture>(SQL).bind(project).bind(limit).fetch_all(c).await?)
}

pub async fn get(c: &mut Connection, dispatch: Uuid) -> Result<Option<StoredCapture>, StoreError> {
    let sql = "select dispatch_id, captured_at, sealed from captures where dispatch_id = $1";
    Ok(sqlx::query_as::<Db, StoredCapture>(sql).bind(dispatch).fetch_optional(c).await?)
}

/// Takes away mail that was captured before.
pub async fn delete_before(c: &mut Connection, cutoff: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query::<Db>("delete from captures where captured_at < $1").bind(cutoff).execute(c).await?;
    Ok(())
}

/// The sealed mails of all projects after an id.
pub async fn sealed_after(c: &mut Connection, after: Uuid, limit: i64) -> Result<Vec<StoredCapture>, StoreError> {
    let sql = "select dispatch_id, captured_at, sealed from captures where dispatch_id > $1 \
               order by dispatch_id limit $2";
    Ok(sqlx::query_as::<Db, StoredCapture>(sql).bind(after).bind(limit).fetch_all(c).await?)
}

/// Puts the same mail, sealed with another key, in the place of what is stored.
pub async fn reseal(c: &mut Connection, dispatch: Uuid, (old, new): (&[u8], &[u8])) -> Result<(), StoreError> {
    let sql = "update captures set sealed = $3 where dispatch_id = $1 and sealed = $2";
    sqlx::query::<Db>(sql).bind(dispatch).bind(old).bind(new).execute(c).await?;
    Ok(())
}
