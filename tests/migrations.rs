//! Every migration is applied over rows that the one before it left: `tests/migrations/NAME.sql` is inserted after
//! the migration of that name. On SQLite always; on PostgreSQL too where `SIGNALPOST_TEST_POSTGRES` says where.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};

/// The migrations of a folder in order, each with the rows to be inserted after it.
fn steps(folder: &str) -> Vec<(String, String, String)> {
    let mut names: Vec<String> = fs::read_dir(format!("migrations/{folder}"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let step = |name: String| {
        let sql = fs::read_to_string(format!("migrations/{folder}/{name}")).unwrap();
        let rows = fs::read_to_string(format!("tests/migrations/{name}")).unwrap_or_default();
        (name, sql, rows)
    };
    names.into_iter().map(step).collect()
}

/// Ids and bytes are written as PostgreSQL takes them; SQLite takes blobs.
fn for_sqlite(rows: &str) -> String {
    let mut text = String::new();
    let mut rest = rows;
    while let Some((before, after)) = rest.split_once("uuid '") {
        let (id, after) = after.split_once('\'').unwrap();
        text.push_str(before);
        text.extend(["x'", &id.replace('-', ""), "'"]);
        rest = after;
    }
    text.push_str(rest);
    text.replace("bytea '\\x", "x'")
}

#[test]
fn both_folders_have_the_same_migrations() {
    let names = |folder| steps(folder).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    assert_eq!(names("postgres"), names("sqlite"));
}

#[test]
fn no_column_is_added_that_existing_rows_could_not_have() {
    for folder in ["postgres", "sqlite"] {
        for (name, sql, _) in steps(folder) {
            for statement in sql.to_lowercase().split(';') {
                let adds = statement.contains("add column") && statement.contains("not null");
                assert!(!adds || statement.contains("default"), "{folder}/{name}: {statement}");
            }
        }
    }
}

#[tokio::test]
async fn sqlite_migrations_keep_the_rows() {
    let mut c = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    for (name, sql, rows) in steps("sqlite") {
        c.execute(sqlx::AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        c.execute(sqlx::AssertSqlSafe(for_sqlite(&rows)))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let count: i64 = c.fetch_one("select count(*) from dispatches").await.unwrap().get(0);
    assert_eq!(count, 2);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "where the tests' services are")]
async fn postgres_migrations_keep_the_rows() {
    let Ok(url) = std::env::var("SIGNALPOST_TEST_POSTGRES") else { return };
    let mut c = PgConnection::connect(&url).await.unwrap();
    // In a schema of its own, and rolled back.
    let mut tx = c.begin().await.unwrap();
    tx.execute("create schema signalpost_migrations; set local search_path to signalpost_migrations")
        .await
        .unwrap();
    for (name, sql, rows) in steps("postgres") {
        tx.execute(sqlx::AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        for table in ["events", "refusals", "dispatches", "attempts"] {
            let all = format!("create table if not exists {table}_all partition of {table} default");
            tx.execute(sqlx::AssertSqlSafe(all)).await.unwrap();
        }
        tx.execute(sqlx::AssertSqlSafe(rows)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let count: i64 = tx.fetch_one("select count(*) from dispatches").await.unwrap().get(0);
    assert_eq!(count, 2);
    tx.rollback().await.unwrap();
}
