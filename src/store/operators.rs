//! Who may use the console. Operators are over all projects.

use uuid::Uuid;

use super::{Connection, Db};
use crate::store::StoreError;
use crate::store::shown::StoredOperator;

/// `false` when the address is an operator's already.
pub async fn insert(
    c: &mut Connection,
    operator: &StoredOperator,
    (email_key, password_hash): (&str, &str),
) -> Result<bool, StoreError> {
    let sql = "insert into operators (id, email, email_key, role, password_hash, created_at) \
               values ($1, $2, $3, $4, $5, $6) on conflict (email_key) do nothing";
    let query = sqlx::query::<Db>(sql).bind(operator.id).bind(&operator.email).bind(email_key);
    let query = query.bind(&operator.role).bind(password_hash).bind(operator.created_at);
    Ok(query.execute(c).await?.rows_affected() == 1)
}

pub async fn list(c: &mut Connection) -> Result<Vec<StoredOperator>, StoreError> {
    let sql = "select id, email, role, created_at from operators order by email_key";
    Ok(sqlx::query_as::<Db, StoredOperator>(sql).fetch_all(c).await?)
}

/// The operator of an address, with the hash of the password.
pub async fn find(c: &mut Connection, email_key: &str) -> Result<Option<(Uuid, String, String)>, StoreError> {
    let sql = "select id, role, password_hash from operators where email_key = $1";
    Ok(sqlx::query_as::<Db, (Uuid, String, String)>(sql).bind(email_key).fetch_optional(c).await?)
}

/// `false` when there is none of that address.
pub async fn remove(c: &mut Connection, email_key: &str) -> Result<bool, StoreError> {
    let sql = "delete from operators where email_key = $1";
    Ok(sqlx::query::<Db>(sql).bind(email_key).execute(c).await?.rows_affected() == 1)
}
