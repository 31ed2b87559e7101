//! All SQL, a file a table, on PostgreSQL and SQLite. A query file is written once and compiled twice: `Db`
//! and [`pg::dialect`] are the only things that differ. Functions take a connection or an open transaction
//! and say which project they speak of; rows of many events travel as one JSON array, so each statement has
//! a constant text and one bind whatever the size of the batch. Knows the domain and nothing above it.

macro_rules! query_files {
    ($db:ty, $connection:ty, $choose:ident) => {
        /// The database that the files below are compiled for.
        pub(super) type Db = $db;
        /// Its connection.
        pub(super) type Connection = $connection;

        /// The text for this database.
        pub(super) const fn dialect(pg: &'static str, lite: &'static str) -> &'static str {
            let texts = super::Texts { pg, lite };
            texts.$choose
        }

        #[path = "absences.rs"]
        pub mod absences;
        #[path = "audit.rs"]
        pub mod audit;
        #[path = "automations.rs"]
        pub mod automations;
        #[path = "captures.rs"]
        pub mod captures;
        #[path = "catalogue.rs"]
        pub mod catalogue;
        #[path = "dead.rs"]
        pub mod dead;
        #[path = "dispatches.rs"]
        pub mod dispatches;
        #[path = "event_types.rs"]
        pub mod event_types;
        #[path = "events.rs"]
        pub mod events;
        #[path = "idempotency.rs"]
        pub mod idempotency;
        #[path = "integrations.rs"]
        pub mod integrations;
        #[path = "keys.rs"]
        pub mod keys;
        #[path = "members.rs"]
        pub mod members;
        #[path = "notices.rs"]
        pub mod notices;
        #[path = "operators.rs"]
        pub mod operators;
        #[path = "passed_on.rs"]
        pub mod passed_on;
        #[path = "pauses.rs"]
        pub mod pauses;
        #[path = "rearm.rs"]
        pub mod rearm;
        #[path = "suspects.rs"]
        pub mod suspects;
        #[path = "throttles.rs"]
        pub mod throttles;
        #[path = "tokens.rs"]
        pub mod tokens;
        #[path = "work.rs"]
        pub mod work;
        #[path = "workers.rs"]
        pub mod workers;
    };
}

mod armed;
pub mod edition;
mod error;
pub mod listen;
mod migrate;
pub mod partitions;
pub mod rows;
pub mod shown;

use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    Executor as _, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction,
};

pub use error::{Fault, StoreError};

/// Connections to PostgreSQL that one process holds.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Readers of SQLite; there is one writer.
const SQLITE_READERS: u32 = 4;
/// How long a statement waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long SQLite waits for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// How PostgreSQL plans the query files. Every join is by key, of at most some hundred rows that travel as JSON,
/// which the planner cannot see into, with tables that grow by thousands of rows between two looks of autovacuum.
/// A plan made while they were empty, or by statistics, reads whole tables; so each row is looked up by its key,
/// and one plan for all binds is kept, since no bind would change it.
const BY_KEY: &str = "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; \
                      set enable_material = off; set jit = off; set plan_cache_mode = force_generic_plan";

/// The same text for both databases; a query file picks its own.
struct Texts {
    pg: &'static str,
    lite: &'static str,
}

#[expect(clippy::duplicate_mod, reason = "one text for two databases is the point")]
pub mod lite;
pub mod pg;

/// Runs a function of a query file on a session: `db!(tx, members::lock(&keys))`.
macro_rules! db {
    ($session:expr, $file:ident :: $function:ident ( $($argument:expr),* $(,)? )) => {
        match {
            use $crate::store::Session as _;
            $session.link()
        } {
            $crate::store::Link::Pg(c) => $crate::store::pg::$file::$function(c, $($argument),*).await,
            $crate::store::Link::Lite(c) => $crate::store::lite::$file::$function(c, $($argument),*).await,
        }
    };
}
pub(crate) use db;

/// The database.
#[derive(Clone)]
pub enum Store {
    Pg(PgPool),
    Lite { writer: SqlitePool, reader: SqlitePool },
}

/// A connection outside a transaction: each statement commits by itself.
pub enum Conn {
    Pg(PoolConnection<Postgres>),
    Lite(PoolConnection<Sqlite>),
}

/// An open transaction; dropped without [`Tx::commit`] it is rolled back.
pub enum Tx {
    Pg(Transaction<'static, Postgres>),
    Lite(Transaction<'static, Sqlite>),
}

/// What a query file runs on.
pub enum Link<'a> {
    Pg(&'a mut PgConnection),
    Lite(&'a mut SqliteConnection),
}

/// A connection or a transaction.
pub trait Session {
    fn link(&mut self) -> Link<'_>;
}

impl Session for Conn {
    fn link(&mut self) -> Link<'_> {
        match self {
            Self::Pg(connection) => Link::Pg(connection),
            Self::Lite(connection) => Link::Lite(connection),
        }
    }
}

impl Session for Tx {
    fn link(&mut self) -> Link<'_> {
        match self {
            Self::Pg(transaction) => Link::Pg(transaction),
            Self::Lite(transaction) => Link::Lite(transaction),
        }
    }
}

impl Store {
    /// Reaches the database of a `postgres://…` or `sqlite://…` URL; makes the SQLite file if it is missing.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("postgres") {
            let options = PgConnectOptions::from_str(url)?.application_name("signalpost");
            let pool = PgPoolOptions::new()
                .max_connections(POSTGRES_CONNECTIONS)
                .acquire_timeout(ACQUIRE)
                .after_connect(|c, _| Box::pin(async move { c.execute(BY_KEY).await.map(drop) }));
            return Ok(Self::Pg(pool.connect_with(options).await?));
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A used token must not come back to life after a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let one = SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY);
        let writer = one.connect_with(options.clone()).await?;
        let many = SqlitePoolOptions::new().max_connections(SQLITE_READERS).acquire_timeout(ACQUIRE);
        let reader = many.connect_lazy_with(options.read_only(true));
        Ok(Self::Lite { writer, reader })
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self, Self::Lite { .. })
    }

    /// Starts a transaction that writes.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Pg(pool) => Tx::Pg(pool.begin().await?),
            // A deferred transaction that reads first and then writes fails at once when another wrote.
            Self::Lite { writer, .. } => Tx::Lite(writer.begin_with("BEGIN IMMEDIATE").await?),
        })
    }

    /// A connection for statements that write, each its own transaction.
    pub async fn write(&self) -> Result<Conn, StoreError> {
        Ok(match self {
            Self::Pg(pool) => Conn::Pg(pool.acquire().await?),
            Self::Lite { writer, .. } => Conn::Lite(writer.acquire().await?),
        })
    }

    /// A connection for statements that only read.
    pub async fn read(&self) -> Result<Conn, StoreError> {
        Ok(match self {
            Self::Pg(pool) => Conn::Pg(pool.acquire().await?),
            Self::Lite { reader, .. } => Conn::Lite(reader.acquire().await?),
        })
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Pg(pool) => pool.close().await,
            Self::Lite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
        }
    }
}

impl Tx {
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Pg(transaction) => transaction.commit().await?,
            Self::Lite(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    /// Undoes what was done; dropping does the same, but later and in the background.
    pub async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Self::Pg(transaction) => transaction.rollback().await?,
            Self::Lite(transaction) => transaction.rollback().await?,
        }
        Ok(())
    }
}
