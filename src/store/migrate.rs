//! Bringing a database to this binary's schema, and telling whether it is there.

use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::{Store, StoreError};

/// Where sqlx keeps what was applied.
const TABLE: &str = "_sqlx_migrations";

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

    /// How many migrations of this binary the database has not had yet. Changes nothing: a database without the
    /// table of migrations had none.
    pub async fn missing_migrations(&self) -> Result<usize, StoreError> {
        let (known, applied) = match self {
            Self::Pg(pool) => {
                let mut connection = pool.acquire().await?;
                (&POSTGRES, connection.list_applied_migrations(TABLE).await)
            }
            Self::Lite { writer, .. } => {
                let mut connection = writer.acquire().await?;
                (&SQLITE, connection.list_applied_migrations(TABLE).await)
            }
        };
        let applied = match applied {
            Ok(applied) => applied,
            Err(MigrateError::Execute(sqlx::Error::Database(_))) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let has = |version| applied.iter().any(|migration| migration.version == version);
        Ok(known.iter().filter(|migration| !has(migration.version)).count())
    }
}
