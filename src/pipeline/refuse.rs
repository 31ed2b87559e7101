//! What the planner writes about events that it does not plan: refusals, so that they can be looked up, and
//! suspects, so that the worker after a crash knows what took the one before it down.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::entries::refusal_row;
use super::notices::Notices;
use super::planner::{Planner, count};
use crate::domain::event::{Incoming, Planned, Reason, Refusal};
use crate::domain::id::EventId;
use crate::store::rows::RefusalRow;
use crate::store::{Fault, StoreError, db};

/// Pauses while the database cannot be reached: 50 ms, doubled up to 2 s.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An event that is refused, before that is noted.
pub struct Refused {
    pub incoming: Incoming,
    pub refusal: Refusal,
    pub answer: oneshot::Sender<Planned>,
}

/// The pauses of a write that waits for the database.
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    pub async fn after(&mut self, error: &StoreError) {
        tracing::warn!(error = error as &dyn std::error::Error, "planning waits for the database");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

impl Planner {
    /// Notes refusals, and answers them.
    pub(super) async fn refuse(&self, refused: Vec<Refused>) {
        if refused.is_empty() {
            return;
        }
        let now = self.clock.now();
        let ids: Vec<EventId> = refused.iter().map(|_| EventId::new_at(now)).collect();
        let row = |(one, id): (&Refused, &EventId)| refusal_row(*id, &one.incoming, &one.refusal, now);
        let rows: Vec<RefusalRow> = refused.iter().zip(&ids).map(row).collect();
        let catalogue = self.live.current();
        let mut notices = Notices::new(&catalogue, now);
        for (one, id) in refused.iter().zip(&ids) {
            notices.refused(&one.incoming, *id, &one.refusal);
        }
        self.note(&rows, &notices).await;
        for (one, event) in refused.into_iter().zip(ids) {
            count(kind_label(&one), one.refusal.reason.name());
            one.answer.send(Planned::Refused { event, refusal: one.refusal }).ok();
        }
    }

    async fn note(&self, rows: &[RefusalRow], notices: &Notices<'_>) {
        let mut pause = Pause::default();
        while let Err(error) = self.try_note(rows, notices).await {
            if error.fault() == Fault::Data {
                // Only a refusal's own text could do this; the answer does not depend on the note.
                tracing::error!(error = &error as &dyn std::error::Error, "a refusal could not be noted");
                return;
            }
            pause.after(&error).await;
        }
    }

    async fn try_note(&self, rows: &[RefusalRow], notices: &Notices<'_>) -> Result<(), StoreError> {
        if notices.is_empty() {
            let mut c = self.store.write().await?;
            return db!(c, events::insert_refusals(rows));
        }
        let mut tx = self.store.begin().await?;
        db!(tx, events::insert_refusals(rows))?;
        notices.write(&mut tx).await?;
        tx.commit().await
    }

    /// Names a suspect before it is planned alone; how often it was named.
    pub(super) async fn name_suspect(&self, fingerprint: &[u8; 32]) -> i32 {
        let mut pause = Pause::default();
        loop {
            match self.try_name_suspect(fingerprint).await {
                Ok(tries) => return tries,
                Err(error) => pause.after(&error).await,
            }
        }
    }

    async fn try_name_suspect(&self, fingerprint: &[u8; 32]) -> Result<i32, StoreError> {
        let mut c = self.store.write().await?;
        db!(c, suspects::name(fingerprint, self.clock.now()))
    }

    /// It was planned, and the worker lives.
    pub(super) async fn clear_suspect(&self, fingerprint: &[u8; 32]) {
        let mut pause = Pause::default();
        while let Err(error) = self.try_clear_suspect(fingerprint).await {
            pause.after(&error).await;
        }
    }

    async fn try_clear_suspect(&self, fingerprint: &[u8; 32]) -> Result<(), StoreError> {
        let mut c = self.store.write().await?;
        db!(c, suspects::clear(fingerprint))
    }
}

/// Types that nobody knows would make labels without end.
fn kind_label(refused: &Refused) -> &str {
    match refused.refusal.reason {
        Reason::UnknownMember | Reason::EmailInUse | Reason::IdReused => &refused.incoming.kind,
        _ => "other",
    }
}

/// What a suspect is known by from one worker to the next: its identity, type and data.
pub(super) fn suspect(event: &Incoming) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [&event.project, &event.source, &event.id, &event.kind] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(event.fingerprint());
    hash.finalize().into()
}
