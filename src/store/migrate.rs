//! Bringing a database to this binary's schema, and telling whether it is there.

use sqlx::migrate::{Migrate, Migrator};

use super::{Store, StoreError};

static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

impl Store {
    /// Applies what is missing. Two processes at once wait for each other.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Pg(pool) => POSTGRES.run(pool).await?,
            Self::Lite { writer, .. } => SQLITE.run(writer).await?,
        }
        Ok(())
    }

    /// How many migrations of this binary the database has not had yet.
    pub async fn missing_migrations(&self) -> Result<usize, StoreError> {
        let (known, applied) = match self {
            Self::Pg(pool) => {
                let mut connection = pool.acquire().await?;
                connection.ensure_migrations_table("_sqlx_migrations").await?;
                (&POSTGRES, connection.list_applied_migrations("_sqlx_migrations").await?)
            }
            Self::Lite { writer, .. } => {
                let mut connection = writer.acquire().await?;
                connection.ensure_migrations_table("_sqlx_migrations").await?;
                (&SQLITE, connection.list_applied_migrations("_sqlx_migrations").await?)
            }
        };
        let has = |version| applied.iter().any(|migration| migration.version == version);
        Ok(known.iter().filter(|migration| !has(migration.version)).count())
    }
}
