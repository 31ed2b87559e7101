//! The end of dispatches whose `max_age` ran out while nobody could fetch them.

use uuid::Uuid;

use super::live::Live;
use super::notices::Notices;
use super::settle::count_end;
use crate::domain::clock::Clock;
use crate::store::{Store, StoreError, db};

/// Dispatches ended in one transaction.
const BATCH: i64 = 1_000;

/// Ends all of them, some at a time.
pub async fn expire(store: &Store, clock: &Clock, live: &Live) -> Result<(), StoreError> {
    loop {
        let (now, catalogue) = (clock.now(), live.current());
        let mut tx = store.begin().await?;
        let expired = db!(tx, work::expire(now, BATCH))?;
        let mut notices = Notices::new(&catalogue, now);
        let wanted = expired.iter().filter(|one| notices.wants_end(one.project_id, true));
        let wanted: Vec<Uuid> = wanted.map(|one| one.id).collect();
        notices.ended(&mut tx, &wanted).await?;
        notices.write(&mut tx).await?;
        tx.commit().await?;
        for one in &expired {
            count_end(&one.template, "dead");
        }
        if expired.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}
