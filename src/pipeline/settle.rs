//! Step 7: the outcome of many tries in one statement, as they come in while the last one commits. A carrier
//! gets a receipt when its try is settled, and sends no further body on its connection before.

use chrono::{DateTime, Utc};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::lanes::Held;
use super::live::Live;
use super::notices::Notices;
use crate::domain::clock::Clock;
use crate::domain::dispatch::{Attempt, Class, DeadReason, Settled};
use crate::store::rows::{AttemptRow, SettleRow, SettledRow};
use crate::store::{Store, StoreError, Tx, db};

/// The longest reply that is kept, in characters.
const KEPT_REPLY: usize = 500;

/// Tries settled in one statement.
const BATCH: usize = 512;
/// Pauses between tries of a statement that failed: 100 ms, doubled up to 2 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A mail that lay in hand for longer renews its token when it is sent.
const RENEW_AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(30);

/// Where dispatches end.
const ENDS: [&str; 3] = ["sent", "dead", "cancelled"];

/// What one try came to.
pub struct Ending {
    pub settled: Settled,
    /// Shown with the dispatch, if the try is worth showing.
    pub attempt: Option<Attempt>,
}

/// A try that ended, on its way into the database.
pub struct Done {
    held: Held,
    ending: Ending,
    receipt: oneshot::Sender<()>,
}

/// The way to the settling tasks.
#[derive(Clone)]
pub struct Settler(mpsc::UnboundedSender<Done>);

/// The tries that wait to be settled, shared by the tasks that do it.
pub type Tries = Arc<Mutex<mpsc::UnboundedReceiver<Done>>>;

impl Settler {
    /// The number of tries under way is bounded by the lanes, so the channel needs no bound of its own.
    pub fn new() -> (Self, Tries) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Arc::new(Mutex::new(receiver)))
    }

    /// Hands a try over; the receipt comes when it is committed.
    pub fn settle(&self, held: Held, ending: Ending) -> oneshot::Receiver<()> {
        let (receipt, settled) = oneshot::channel();
        // Without a settling task the process is at its end: the rows go to another worker.
        self.0.send(Done { held, ending, receipt }).ok();
        settled
    }
}

/// What settling goes by.
pub struct Desk {
    pub store: Store,
    pub clock: Clock,
    pub live: Live,
}

/// Settles until it is told that the carriers are gone, and what they left is written. Two of these share the
/// tries on PostgreSQL: a mail that ends while one commits need not wait for that commit before its own.
pub async fn run(desk: Desk, tries: Tries, carriers_gone: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH);
    while receive(&tries, &mut batch, &carriers_gone).await > 0 {
        let mut pause = FIRST_PAUSE;
        let settled = loop {
            let error = match desk.write(&batch).await {
                Ok(settled) => break settled,
                Err(error) => error,
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                tries = batch.len(),
                "settling waits for the database"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        let states: HashMap<Uuid, String> = settled.into_iter().map(|row| (row.id, row.state)).collect();
        for done in batch.drain(..) {
            count(&done, states.get(&done.held.owed.id.0), &desk.clock);
            done.receipt.send(()).ok();
        }
    }
}

/// What has ended; none once the carriers are gone and nothing is left.
async fn receive(tries: &Tries, batch: &mut Vec<Done>, carriers_gone: &CancellationToken) -> usize {
    let mut tries = tries.lock().await;
    tokio::select! {
        biased;
        taken = tries.recv_many(batch, BATCH) => return taken,
        () = carriers_gone.cancelled(), if !tries.is_closed() => tries.close(),
    }
    tries.recv_many(batch, BATCH).await
}

impl Desk {
    /// What was settled of the batch.
    async fn write(&self, batch: &[Done]) -> Result<Vec<SettledRow>, StoreError> {
        let catalogue = self.live.current();
        let mut notices = Notices::new(&catalogue, self.clock.now());
        let told = told(batch, &notices);
        if let Some(worker) = plain(batch, &self.clock).filter(|_| told.is_empty()) {
            let rows: Vec<SettleRow> = batch.iter().map(settle_row).collect();
            let mut c = self.store.write().await?;
            return db!(c, work::settle(&rows, worker));
        }
        let mut tx = self.store.begin().await?;
        let settled = self.settle(&mut tx, batch).await?;
        let told: Vec<Uuid> = settled.iter().map(|row| row.id).filter(|id| told.contains(id)).collect();
        notices.ended(&mut tx, &told).await?;
        notices.write(&mut tx).await?;
        tx.commit().await?;
        Ok(settled)
    }

    async fn settle(&self, tx: &mut Tx, batch: &[Done]) -> Result<Vec<SettledRow>, StoreError> {
        // All of one worker number, but for the moment after this worker was declared dead.
        let workers: BTreeSet<i64> = batch.iter().map(|done| done.held.worker).collect();
        let mut settled = Vec::with_capacity(batch.len());
        for worker in workers {
            let rows: Vec<SettleRow> =
                batch.iter().filter(|done| done.held.worker == worker).map(settle_row).collect();
            settled.extend(db!(tx, work::settle(&rows, worker))?);
        }
        let later: Vec<AttemptRow> =
            settled.iter().filter_map(|row| attempt_row(batch, row.id, row.attempts)).collect();
        if !later.is_empty() {
            db!(tx, work::insert_attempts(&later))?;
        }
        let late = batch.iter().filter(|done| renews(done, &self.clock));
        let sent: Vec<Uuid> =
            late.filter_map(|done| done.held.owed.token.as_ref().map(|token| token.id.0)).collect();
        if !sent.is_empty() {
            db!(tx, tokens::renew(&sent, self.clock.now()))?;
        }
        Ok(settled)
    }
}

/// The dispatches whose end the project wants to be told of.
fn told(batch: &[Done], notices: &Notices<'_>) -> BTreeSet<Uuid> {
    let wanted = batch.iter().filter(|done| match done.ending.settled {
        Settled::Dead(_) => notices.wants_end(done.held.owed.project_id, true),
        Settled::Sent => notices.wants_end(done.held.owed.project_id, false),
        Settled::Again(_) | Settled::Released(_) | Settled::Superseded => false,
    });
    wanted.map(|done| done.held.owed.id.0).collect()
}

/// The worker of a batch of first tries that left no token to renew: its one statement needs no transaction
/// around it, and the mails that wait for it go on two round trips sooner.
fn plain(batch: &[Done], clock: &Clock) -> Option<i64> {
    let worker = batch.first()?.held.worker;
    let is_plain =
        |done: &Done| done.held.worker == worker && done.held.owed.attempts == 0 && !renews(done, clock);
    batch.iter().all(is_plain).then_some(worker)
}

fn renews(done: &Done, clock: &Clock) -> bool {
    matches!(done.ending.settled, Settled::Sent) && clock.now() - done.held.owed.taken_at > RENEW_AFTER
}

fn settle_row(done: &Done) -> SettleRow {
    let (new_state, new_reason, next_at, charge) = match &done.ending.settled {
        Settled::Sent => ("sent", None, None, 1),
        Settled::Again(at) => ("pending", None, Some(*at), 1),
        Settled::Dead(reason) => ("dead", Some(reason.name()), None, 1),
        Settled::Released(at) => ("pending", None, *at, 0),
        Settled::Superseded => ("cancelled", Some(super::drafts::SUPERSEDED), None, 0),
    };
    let attempt = done.ending.attempt.as_ref();
    SettleRow {
        dispatch_id: done.held.owed.id.0,
        new_state,
        new_reason,
        next_at,
        shown: i32::from(attempt.is_some()),
        charge,
        tried_at: attempt.map(|attempt| attempt.at),
        class: attempt.map(|attempt| attempt.class.name()),
        code: attempt.and_then(|attempt| attempt.code),
        reply: attempt.map(|attempt| attempt.reply.clone()),
    }
}

fn attempt_row(batch: &[Done], id: Uuid, number: i32) -> Option<AttemptRow> {
    if number < 2 {
        return None;
    }
    let done = batch.iter().find(|done| done.held.owed.id.0 == id)?;
    Some(AttemptRow::new(id, number, done.ending.attempt.as_ref()?))
}

/// Counts a try, and where the dispatch ended, if it did and was this worker's.
fn count(done: &Done, state: Option<&String>, clock: &Clock) {
    if let Some(attempt) = &done.ending.attempt {
        counter!("signalpost_attempts_total", "class" => attempt.class.name()).increment(1);
        if attempt.class == Class::Accepted {
            let taken = (clock.now() - done.held.owed.received_at).to_std().unwrap_or_default();
            histogram!("signalpost_event_to_accept_seconds").record(taken.as_secs_f64());
        }
    }
    if let Some(state) = ENDS.into_iter().find(|end| state.is_some_and(|state| state == end)) {
        count_end(&done.held.owed.template, state);
    }
}

/// Counts a dispatch by where it ended.
pub(super) fn count_end(template: &str, state: &'static str) {
    let template: Arc<str> = template.into();
    counter!("signalpost_dispatches_total", "template" => template, "state" => state).increment(1);
}

impl Ending {
    pub(super) fn released(at: Option<DateTime<Utc>>) -> Self {
        Self { settled: Settled::Released(at), attempt: None }
    }

    pub(super) fn sent(at: DateTime<Utc>, code: Option<u16>, reply: &str) -> Self {
        let attempt = Attempt { at, class: Class::Accepted, code, reply: clip(reply) };
        Self { settled: Settled::Sent, attempt: Some(attempt) }
    }

    pub(super) fn unrenderable(at: DateTime<Utc>, why: &(impl std::error::Error + ?Sized)) -> Self {
        let attempt = Attempt { at, class: Class::Permanent, code: None, reply: clip(&why.to_string()) };
        Self { settled: Settled::Dead(DeadReason::Unrenderable), attempt: Some(attempt) }
    }
}

pub(super) fn clip(text: &str) -> String {
    text.chars().take(KEPT_REPLY).collect()
}
