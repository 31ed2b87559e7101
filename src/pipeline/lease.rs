//! The lease of this worker. The worker is leased, not the row: a dispatch names its holder, settling says
//! `where holder = me`, and whoever is silent for 30 s is declared dead by another, which gives its rows back.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use crate::domain::clock::Clock;
use crate::store::{Store, StoreError, db};

/// How often the lease is renewed.
pub const RENEWAL: Duration = Duration::from_secs(5);
/// Without a confirmed renewal for so long a worker starts no send: well before another may declare it dead.
const TRUSTED: Duration = Duration::from_secs(20);
/// A worker silent for so long is dead.
const SILENCE: TimeDelta = TimeDelta::seconds(30);

/// Workers that died so long ago left nothing that was not given back.
const ORPHANED: TimeDelta = TimeDelta::hours(1);

/// Who this process is to the others.
pub struct Lease {
    store: Store,
    clock: Clock,
    id: AtomicI64,
    confirmed: Mutex<Instant>,
}

impl Lease {
    /// Registers the worker. One that knows that it is alone takes over at once what others had in hand.
    pub async fn take(store: Store, clock: Clock, alone: bool) -> Result<Self, StoreError> {
        let id = register(&store, &clock).await?;
        let lease = Self { store, clock, id: AtomicI64::new(id), confirmed: Mutex::new(Instant::now()) };
        if alone {
            let mut tx = lease.store.begin().await?;
            for dead in db!(tx, workers::fence_others(id, lease.clock.now()))? {
                db!(tx, work::release_all(dead))?;
            }
            tx.commit().await?;
        }
        Ok(lease)
    }

    pub fn id(&self) -> i64 {
        self.id.load(Ordering::Acquire)
    }

    /// Whether a send may be started: nobody can have declared this worker dead.
    pub fn may_send(&self) -> bool {
        self.confirmed().elapsed() < TRUSTED
    }

    fn confirmed(&self) -> Instant {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease; a worker that was declared dead gets a new number, and has nothing in hand any more.
    pub async fn renew(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let mut c = self.store.write().await?;
        if !db!(c, workers::renew(self.id(), self.clock.now()))? {
            drop(c);
            let id = register(&self.store, &self.clock).await?;
            tracing::warn!(worker.id = id, "this worker was declared dead, and goes on under a new number");
            self.id.store(id, Ordering::Release);
        }
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        Ok(())
    }

    /// Declares silent workers dead and gives back what they held. Returns how many dispatches that were.
    pub async fn rescue(&self) -> Result<u64, StoreError> {
        let mut tx = self.store.begin().await?;
        let mut rescued = 0;
        let now = self.clock.now();
        let mut dead = db!(tx, workers::fence_silent(self.id(), now - SILENCE))?;
        dead.extend(db!(tx, work::orphans(now - ORPHANED))?);
        for dead in dead {
            let rows = db!(tx, work::release_all(dead))?;
            tracing::warn!(
                worker.id = dead,
                dispatches = rows,
                "a worker fell silent; its dispatches go to others"
            );
            rescued += rows;
        }
        tx.commit().await?;
        Ok(rescued)
    }

    /// Gives everything back and signs off: the end of an orderly stop.
    pub async fn give_back(&self) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        let rows = db!(tx, work::release_all(self.id()))?;
        db!(tx, workers::retire(self.id(), self.clock.now()))?;
        if rows > 0 {
            db!(tx, catalogue::notify_due())?;
        }
        tx.commit().await
    }
}

async fn register(store: &Store, clock: &Clock) -> Result<i64, StoreError> {
    let mut c = store.write().await?;
    db!(c, workers::register(clock.now()))
}
