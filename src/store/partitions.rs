//! Daily partitions of the tables that grow with traffic (PostgreSQL only; SQLite deletes rows instead).
//! A partition holds the version 7 UUIDs of one day, so its bounds are made from times.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Store, StoreError, db};

/// The tables, and the column that decides the day.
const TABLES: [&str; 4] = ["events", "refusals", "dispatches", "attempts"];
/// Partitions are made for yesterday, today and so many days to come, so that an outage of upkeep of up to a
/// week stops nothing.
const DAYS_AHEAD: u64 = 8;

/// Makes the partitions that the coming days need. Two processes at once do not disturb each other.
pub async fn ensure(store: &Store, now: DateTime<Utc>) -> Result<(), StoreError> {
    let Store::Pg(pool) = store else { return Ok(()) };
    let first = now.date_naive() - Days::new(1);
    for table in TABLES {
        for ahead in 0..=DAYS_AHEAD + 1 {
            let day = first + Days::new(ahead);
            let (from, to) = (lowest_id(day), lowest_id(day + Days::new(1)));
            let name = format!("{table}_{}", day.format("%Y%m%d"));
            let sql = format!(
                "create table if not exists {name} partition of {table} for values from ('{from}') to ('{to}')"
            );
            match sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await {
                // Two processes may both see that it is missing (42P07, or 23505 in the catalog).
                Err(sqlx::Error::Database(error))
                    if matches!(error.code().as_deref(), Some("42P07" | "23505")) => {}
                other => {
                    other?;
                }
            }
        }
    }
    Ok(())
}

/// Takes away what is older than the retention: whole days, identities whose events are gone, and what else would
/// grow for ever. Nothing is taken from the day of the oldest dispatch that is still open.
pub async fn drop_before(store: &Store, cutoff: DateTime<Utc>) -> Result<(), StoreError> {
    let mut c = store.read().await?;
    let open: Option<Uuid> = db!(c, work::oldest_open())?;
    drop(c);
    let opened = open.and_then(|id| id.get_timestamp()).and_then(|at| {
        let (seconds, nanoseconds) = at.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
    });
    let cutoff = opened.map_or(cutoff, |opened| opened.min(cutoff));
    let boundary = lowest_id(cutoff.date_naive());
    let mut c = store.write().await?;
    db!(c, absences::delete_before(cutoff))?;
    db!(c, captures::delete_before(cutoff))?;
    db!(c, passed_on::delete_before(cutoff))?;
    db!(c, suspects::delete_before(cutoff))?;
    db!(c, workers::delete_before(cutoff))?;
    drop(c);
    match store {
        Store::Pg(pool) => {
            for table in TABLES {
                for name in old_partitions(store, table, cutoff).await? {
                    let sql = format!("drop table if exists {name}");
                    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await?;
                }
            }
            sqlx::query("delete from event_identities where event_id < $1")
                .bind(boundary)
                .execute(pool)
                .await?;
        }
        Store::Lite { writer, .. } => {
            for statement in [
                "delete from events where id < $1",
                "delete from refusals where id < $1",
                "delete from attempts where dispatch_id < $1",
                "delete from dispatches where id < $1 and state <> 'pending'",
                "delete from event_identities where event_id < $1",
            ] {
                sqlx::query(statement).bind(boundary).execute(writer).await?;
            }
        }
    }
    Ok(())
}

async fn old_partitions(
    store: &Store,
    table: &str,
    cutoff: DateTime<Utc>,
) -> Result<Vec<String>, StoreError> {
    let Store::Pg(pool) = store else { return Ok(Vec::new()) };
    let names: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
         where i.inhparent = $1::text::regclass",
    )
    .bind(table)
    .fetch_all(pool)
    .await?;
    let is_old = |name: &String| {
        let day = name.rsplit('_').next().and_then(|day| NaiveDate::parse_from_str(day, "%Y%m%d").ok());
        day.is_some_and(|day| day + Days::new(1) <= cutoff.date_naive())
    };
    Ok(names.into_iter().filter(is_old).collect())
}

/// The lowest version 7 UUID of a day (UTC).
fn lowest_id(day: NaiveDate) -> Uuid {
    let start = day.and_time(NaiveTime::MIN).and_utc();
    let milliseconds =
        (start - DateTime::UNIX_EPOCH).max(TimeDelta::zero()).num_milliseconds().unsigned_abs();
    Uuid::from_u128(u128::from(milliseconds) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id;

    #[test]
    fn an_id_of_a_day_lies_between_the_bounds_of_its_partition() {
        let at: DateTime<Utc> = "2026-11-24T23:59:59.999Z".parse().unwrap();
        let id = id::new_at(at);
        assert!(lowest_id(at.date_naive()) <= id);
        assert!(id < lowest_id(at.date_naive() + Days::new(1)));
    }
}
