//! What a statement can fail of, and whether it may be tried again.

/// A statement that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused or failed a statement")]
    Sql(#[from] sqlx::Error),
    #[error("the migrations could not be applied")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row that this binary cannot read.
    #[error("the stored {0} cannot be read")]
    Unreadable(&'static str),
}

/// What to do about a failed transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is wrong with the data: try the whole again (connection, 40xxx, 53xxx, 57xxx, busy).
    Again,
    /// Some row is at fault (SQLSTATE classes 22 and 23): split the batch until it stands alone.
    Data,
}

impl StoreError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => match error.code().as_deref() {
                // Not the row's fault: the partition of its day is still to be made.
                Some("23514") if error.constraint().is_none() => Fault::Again,
                Some(code) if code.starts_with("22") || code.starts_with("23") => Fault::Data,
                // SQLite's primary codes TOOBIG 18, CONSTRAINT 19, MISMATCH 20 and their extended ones.
                Some(code)
                    if code
                        .parse::<u32>()
                        .is_ok_and(|code| [18, 19, 20].contains(&(code & 0xff)) && code < 10_000) =>
                {
                    Fault::Data
                }
                _ => Fault::Again,
            },
            Self::Sql(sqlx::Error::Encode(_)) | Self::Unreadable(_) => Fault::Data,
            _ => Fault::Again,
        }
    }

    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}
