//! Dead dispatches armed again, and such that are no longer wanted taken away: by an operator's wish, or because an
//! event was replayed. Knows nothing of who wishes it.
//!
//! **Retry** sends as planned: the same address, token and Message-ID, within the `max_age` that was. **Replay** plans
//! again: the automation and address of now, a fresh token, a new Message-ID, and `max_age` from now on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::lanes::Lanes;
use super::live::Live;
use super::plan;
use super::replay::{Replay, lock_accounts};
use crate::domain::clock::Clock;
use crate::domain::id::{DispatchId, EventId, ProjectId};
use crate::domain::keys::Keyring;
use crate::store::rows::StateRow;
use crate::store::{Store, StoreError, Tx, db};

/// Dispatches armed in one transaction.
pub const BATCH: usize = 256;

/// What arming again works with.
#[derive(Clone)]
pub struct Desk {
    pub store: Store,
    pub live: Live,
    pub keys: Arc<Keyring>,
    pub clock: Clock,
}

/// Arms again, and takes away.
#[derive(Clone)]
pub struct Rearm {
    desk: Desk,
    lanes: Option<Lanes>,
}

/// What became of one dispatch. All but the first two leave it as it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    Done,
    /// Its holder was asked, which settles it as sent if the server takes it.
    Asked,
    /// There is none of this id in the project.
    Unknown,
    /// It is not in a state for this: sent, or already armed.
    Unfit,
    /// A later request of that member and purpose exists, or a change of the account, or its token was used, or its
    /// member is gone.
    Superseded,
    /// Its `max_age` has run out: replay it.
    Expired,
    /// Its automation is gone, is switched off, or is not for this event any more.
    NoAutomation,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Asked => "asked",
            Self::Unknown => "unknown",
            Self::Unfit => "unfit",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
            Self::NoAutomation => "no-automation",
        }
    }
}

/// Each dispatch asked for, in that order.
pub type Verdicts = Vec<(DispatchId, Verdict)>;

impl Rearm {
    /// `lanes` is `None` in a process that does not send: others are told.
    pub fn new(desk: Desk, lanes: Option<Lanes>) -> Self {
        Self { desk, lanes }
    }

    /// Dead ones are sent as they were planned.
    pub async fn retry(&self, project: ProjectId, ids: &[DispatchId]) -> Result<Verdicts, StoreError> {
        let mut verdicts = Vec::with_capacity(ids.len());
        for some in ids.chunks(BATCH) {
            let (wanted, now) = (uuids(some), self.desk.clock.now());
            let mut tx = self.desk.store.begin().await?;
            let states = db!(tx, rearm::states(project.0, &wanted))?;
            lock_accounts(&mut tx, project, &states).await?;
            let states = db!(tx, rearm::states(project.0, &wanted))?;
            let done: HashSet<Uuid> = db!(tx, rearm::retry(project.0, &wanted, now))?.into_iter().collect();
            self.wake(&mut tx, &done).await?;
            tx.commit().await?;
            let states: HashMap<Uuid, _> = states.into_iter().map(|row| (row.id, row)).collect();
            verdicts.extend(some.iter().map(|id| {
                let verdict = match states.get(&id.0) {
                    None => Verdict::Unknown,
                    Some(_) if done.contains(&id.0) => Verdict::Done,
                    Some(row) if row.state != "dead" => Verdict::Unfit,
                    Some(row) if row.expires_at <= now => Verdict::Expired,
                    Some(_) => Verdict::Superseded,
                };
                (*id, verdict)
            }));
        }
        self.fetch_soon();
        Ok(verdicts)
    }

    /// Dead ones are planned again.
    pub async fn replay(&self, project: ProjectId, ids: &[DispatchId]) -> Result<Verdicts, StoreError> {
        let mut verdicts = Vec::with_capacity(ids.len());
        for some in ids.chunks(BATCH) {
            let decided = self.replay_some(project, &uuids(some)).await?;
            verdicts
                .extend(some.iter().map(|id| (*id, decided.get(&id.0).copied().unwrap_or(Verdict::Unknown))));
        }
        self.fetch_soon();
        Ok(verdicts)
    }

    /// The dead ones of events are planned again; their others are not touched, and not told of. What stays dead gets
    /// a new copy: the one that was there may be the message that brought the event back.
    pub async fn replay_events(
        &self,
        project: ProjectId,
        events: &[EventId],
    ) -> Result<Verdicts, StoreError> {
        let mut verdicts = Verdicts::new();
        for some in events.chunks(BATCH) {
            let events: Vec<Uuid> = some.iter().map(|id| id.0).collect();
            let mut c = self.desk.store.read().await?;
            let ids = db!(c, rearm::dead_of_events(project.0, &events))?;
            drop(c);
            let ids: Vec<DispatchId> = ids.into_iter().map(DispatchId).collect();
            verdicts.extend(self.replay(project, &ids).await?);
        }
        let stayed = verdicts.iter().filter(|(_, verdict)| *verdict != Verdict::Done);
        let stayed: Vec<Uuid> = stayed.map(|(id, _)| id.0).collect();
        if !stayed.is_empty() {
            let mut c = self.desk.store.write().await?;
            db!(c, dead::copy_again(project.0, &stayed))?;
        }
        Ok(verdicts)
    }

    /// What is not sent yet shall not be. One that is in hand is asked for.
    pub async fn cancel(&self, project: ProjectId, ids: &[DispatchId]) -> Result<Verdicts, StoreError> {
        const BY_OPERATOR: &str = "operator";
        let mut verdicts = Vec::with_capacity(ids.len());
        for some in ids.chunks(BATCH) {
            let wanted = uuids(some);
            let mut tx = self.desk.store.begin().await?;
            let states = db!(tx, rearm::states(project.0, &wanted))?;
            let done = db!(tx, rearm::cancel(project.0, &wanted, BY_OPERATOR))?;
            tx.commit().await?;
            let verdict = |state: &String| if state == "cancelled" { Verdict::Done } else { Verdict::Asked };
            let done = done.iter().map(|(id, state)| (*id, verdict(state))).collect();
            verdicts.extend(told(some, &states, &done));
        }
        Ok(verdicts)
    }

    /// Dead ones are given up.
    pub async fn discard(&self, project: ProjectId, ids: &[DispatchId]) -> Result<Verdicts, StoreError> {
        const DISCARDED: &str = "discarded";
        let mut verdicts = Vec::with_capacity(ids.len());
        for some in ids.chunks(BATCH) {
            let wanted = uuids(some);
            let mut tx = self.desk.store.begin().await?;
            let states = db!(tx, rearm::states(project.0, &wanted))?;
            let done = db!(tx, rearm::discard(project.0, &wanted, DISCARDED))?;
            tx.commit().await?;
            let done = done.into_iter().map(|id| (id, Verdict::Done)).collect();
            verdicts.extend(told(some, &states, &done));
        }
        Ok(verdicts)
    }

    async fn replay_some(
        &self,
        project: ProjectId,
        ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Verdict>, StoreError> {
        let catalogue = self.desk.live.current();
        let mut tx = self.desk.store.begin().await?;
        let states = db!(tx, rearm::states(project.0, ids))?;
        let accounts = lock_accounts(&mut tx, project, &states).await?;
        let mut dead = db!(tx, rearm::dead(project.0, ids))?;
        // One that died a moment ago is not of a locked member.
        let was_dead = |id: Uuid| states.iter().any(|row| row.id == id && row.state == "dead");
        dead.retain(|row| was_dead(row.id));
        dead.sort_by_key(|row| std::cmp::Reverse((row.time, row.event_id)));
        let desk = plan::Desk { catalogue: &catalogue, keys: &self.desk.keys, now: self.desk.clock.now() };
        let mut replay = Replay::new(&desk, accounts, &dead);
        let mut decided: HashMap<Uuid, Verdict> = states.iter().map(|row| (row.id, Verdict::Unfit)).collect();
        for row in &dead {
            decided.insert(row.id, replay.decide(row));
        }
        let done = replay.write(&mut tx).await?;
        for (id, verdict) in &mut decided {
            if *verdict == Verdict::Done && !done.contains(id) {
                *verdict = Verdict::Unfit;
            }
        }
        self.wake(&mut tx, &done).await?;
        tx.commit().await?;
        Ok(decided)
    }

    async fn wake(&self, tx: &mut Tx, done: &HashSet<Uuid>) -> Result<(), StoreError> {
        if done.is_empty() { Ok(()) } else { db!(tx, catalogue::notify_due()) }
    }

    fn fetch_soon(&self) {
        if let Some(lanes) = &self.lanes {
            lanes.fetch_soon();
        }
    }
}

fn uuids(ids: &[DispatchId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

fn told(ids: &[DispatchId], states: &[StateRow], done: &HashMap<Uuid, Verdict>) -> Verdicts {
    let known: HashSet<Uuid> = states.iter().map(|row| row.id).collect();
    let verdict = |id: &DispatchId| match done.get(&id.0) {
        Some(verdict) => *verdict,
        None if known.contains(&id.0) => Verdict::Unfit,
        None => Verdict::Unknown,
    };
    ids.iter().map(|id| (*id, verdict(id))).collect()
}
