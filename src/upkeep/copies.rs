//! Keeps the copies of dead dispatches in the broker's dead queue right, and counts what lies there: one process for
//! all. A copy is marked after it is confirmed and its mark is taken off before it is taken out, so a crash leaves a
//! copy too many and never one too few; looking over all of them now and then takes those out.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Upkeep, gauges};
use crate::broker::{PublishError, Publisher};
use crate::domain::event::Incoming;
use crate::domain::id::{DeadMessageId, DispatchId};
use crate::pipeline::dead_letters::{Act, Copies, DeadCopy, DeadMessage, Unreachable, Wanted};
use crate::pipeline::engine::is_stopped_within;
use crate::store::shown::DeadEvent;
use crate::store::{StoreError, db};

/// How often copies are made and taken out: a copy is gone within two of these, and a look at the queue.
const STEP: Duration = Duration::from_secs(5);
/// How long the chore is kept by a process that falls silent.
const HOLD: TimeDelta = TimeDelta::seconds(30);
/// How often all copies are looked over.
const SWEEP: Duration = Duration::from_hours(1);
/// Copies made or taken out in one go.
const BATCH: i64 = 500;
/// The chore's name.
const CHORE: &str = "dead-queue";

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("a copy of a dead dispatch could not be put into the dead queue: {0}")]
    Publish(#[from] PublishError),
}

/// This process at the chore.
struct Chore<'a> {
    upkeep: &'a Upkeep,
    publisher: &'a Publisher,
    me: Uuid,
    /// When all copies were looked over last; `None` after any fault.
    swept: Option<Instant>,
    counted: BTreeMap<String, i64>,
}

/// Until the stop.
pub(super) async fn run(upkeep: Arc<Upkeep>, stop: CancellationToken) {
    let Some(publisher) = &upkeep.publisher else { return };
    let me = Uuid::new_v4();
    let mut chore = Chore { upkeep: &upkeep, publisher, me, swept: None, counted: BTreeMap::new() };
    while !is_stopped_within(&stop, STEP).await {
        match stop.run_until_cancelled(chore.step()).await {
            Some(Ok(())) => {}
            Some(Err(fault)) => {
                chore.swept = None;
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    "the dead queue will be looked at again"
                );
            }
            None => break,
        }
    }
    if let Err(error) = chore.leave().await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "another process takes the chore over in 30 s"
        );
    }
}

impl Chore<'_> {
    async fn step(&mut self) -> Result<(), Fault> {
        if !self.is_mine().await? {
            self.swept = None;
            self.count(&[]);
            return Ok(());
        }
        self.take_out().await?;
        if self.swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            self.sweep().await?;
            self.swept = Some(Instant::now());
        }
        while self.copy().await? == BATCH {}
        let letters = self.upkeep.dead_messages.ask(Wanted::default(), Act::Glance).await?;
        self.count(&letters);
        Ok(())
    }

    async fn is_mine(&self) -> Result<bool, StoreError> {
        let now = self.upkeep.clock.now();
        let mut c = self.upkeep.store.write().await?;
        db!(c, dead::take_chore(CHORE, self.me, (now, now + HOLD)))
    }

    async fn leave(&self) -> Result<(), StoreError> {
        let mut c = self.upkeep.store.write().await?;
        db!(c, dead::leave_chore(CHORE, self.me))
    }

    /// Takes out the copies of dispatches that are dead no more.
    async fn take_out(&self) -> Result<(), Fault> {
        loop {
            let mut c = self.upkeep.store.write().await?;
            let ids = db!(c, dead::overcopied(BATCH))?;
            drop(c);
            if ids.is_empty() {
                return Ok(());
            }
            self.discard(ids.into_iter().map(DispatchId).collect()).await?;
        }
    }

    async fn discard(&self, ids: HashSet<DispatchId>) -> Result<(), Unreachable> {
        if !ids.is_empty() {
            let copies = Copies::Of(ids);
            self.upkeep.dead_messages.ask(Wanted { copies, ..Wanted::default() }, Act::Discard).await?;
        }
        Ok(())
    }

    /// Takes out copies of which nobody knows any more, and all but one of each dispatch.
    async fn sweep(&self) -> Result<(), Fault> {
        let all = Wanted { copies: Copies::All, ..Wanted::default() };
        let copies = self.upkeep.dead_messages.ask(all.clone(), Act::Look { bodies: false }).await?;
        let mut known = HashSet::new();
        for some in copies.chunks(1000) {
            let ids: Vec<Uuid> = some.iter().filter_map(|copy| copy.dispatch).map(|id| id.0).collect();
            let mut c = self.upkeep.store.read().await?;
            known.extend(db!(c, dead::copies_of(&ids))?.into_iter().map(DispatchId));
        }
        // The first of each dispatch stays.
        let mut is_needless = |copy: &DeadMessage| copy.dispatch.is_none_or(|id| !known.remove(&id));
        let needless = copies.iter().filter(|copy| is_needless(copy));
        let ids: HashSet<DeadMessageId> = needless.map(|copy| copy.id).collect();
        if !ids.is_empty() {
            self.upkeep.dead_messages.ask(Wanted { ids: Some(ids), ..all }, Act::Discard).await?;
        }
        Ok(())
    }

    /// Puts copies of some dead dispatches into the dead queue; how many there were to be made.
    async fn copy(&self) -> Result<i64, Fault> {
        let mut c = self.upkeep.store.read().await?;
        let events = db!(c, dead::uncopied(BATCH))?;
        drop(c);
        let now = self.upkeep.clock.now();
        let count = i64::try_from(events.len()).unwrap_or(BATCH);
        let before = events.iter().filter(|row| row.had_copy).map(|row| DispatchId(row.id)).collect();
        self.discard(before).await?;
        let copies: Vec<DeadCopy> = events.into_iter().map(copy_of).collect();
        let published = join_all(copies.iter().map(|copy| self.publisher.publish_copy(copy, now))).await;
        let confirmed = copies.iter().zip(&published).filter(|(_, published)| published.is_ok());
        let ids: Vec<Uuid> = confirmed.map(|(copy, _)| copy.dispatch.0).collect();
        if !ids.is_empty() {
            let mut c = self.upkeep.store.write().await?;
            db!(c, dead::copied(&ids))?;
        }
        published.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(count)
    }

    fn count(&mut self, letters: &[DeadMessage]) {
        gauges::dead_messages(&mut self.counted, letters);
        let oldest = letters.iter().map(|letter| letter.at).min();
        self.upkeep.ages.of_messages(oldest.map(|at| self.upkeep.clock.now() - at));
    }
}

fn copy_of(row: DeadEvent) -> DeadCopy {
    let event = Incoming {
        project: row.slug,
        source: row.source,
        id: row.source_id,
        kind: row.kind,
        time: row.time,
        received_at: row.received_at,
        data: serde_json::from_str(&row.data).unwrap_or_default(),
        traceparent: row.traceparent,
    };
    DeadCopy { dispatch: DispatchId(row.id), event, reason: row.reason, detail: row.detail }
}
