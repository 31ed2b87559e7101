//! The query files for SQLite.

query_files!(sqlx::Sqlite, sqlx::SqliteConnection, lite);
