//! The query files for PostgreSQL.

query_files!(sqlx::Postgres, sqlx::PgConnection, pg);
