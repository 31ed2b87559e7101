//! Dispatches that may be this worker's by the database and are in nobody's hands: their transaction was
//! committed or not, and the answer never came (a lost connection, a request that was dropped). They are given
//! back until that is certain to have no effect any more. Knows nothing of how they were written.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::store::{Store, StoreError, db};

/// How long a commit without an answer may still happen: the server has it already, or never gets it.
const DOUBT: Duration = Duration::from_secs(30);

/// One of them, and since when.
struct Stray {
    id: Uuid,
    worker: i64,
    since: Instant,
}

/// All of them.
#[derive(Default)]
pub struct Strays(Mutex<Vec<Stray>>);

impl Strays {
    /// What a worker had written when its commit got no answer.
    pub fn add(&self, worker: i64, ids: impl IntoIterator<Item = Uuid>) {
        let since = Instant::now();
        self.all().extend(ids.into_iter().map(|id| Stray { id, worker, since }));
    }

    /// Gives back those that were committed after all; returns how many. One by one worker's number, since it
    /// may have changed meanwhile.
    pub async fn give_back(&self, store: &Store) -> Result<usize, StoreError> {
        let Some(worker) = self.all().first().map(|stray| stray.worker) else { return Ok(0) };
        let looked = Instant::now();
        let ids: Vec<Uuid> =
            self.all().iter().filter(|stray| stray.worker == worker).map(|stray| stray.id).collect();
        let mut c = store.write().await?;
        let given = db!(c, work::release(&ids, worker))?;
        // Given back they may be claimed anew, and are this worker's in earnest.
        self.forget(&given);
        self.all().retain(|stray| stray.worker != worker || looked - stray.since < DOUBT);
        Ok(given.len())
    }

    /// These are in hand now.
    pub fn forget(&self, ids: &[Uuid]) {
        self.all().retain(|stray| !ids.contains(&stray.id));
    }

    fn all(&self) -> MutexGuard<'_, Vec<Stray>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
