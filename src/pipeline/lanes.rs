//! One lane for each integration: what this worker has in hand for it, in order, and the carriers that take
//! it to the mail server. What is in hand is bounded, so that one slow server holds up nobody else and a
//! crash strands little.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::carry::{Carrier, Post};
use super::live::Live;
use super::pace::Pace;
use super::strays::Strays;
use crate::domain::catalogue::Integration;
use crate::domain::dispatch::Owed;
use crate::domain::id::{AutomationId, IntegrationId};
use crate::mail::circuit::{Circuit, Permission};
use crate::store::rows::DispatchRow;

/// Dispatches that a worker holds for one integration.
const DEPTH: usize = 512;
/// With fewer than so many left in hand, more are fetched.
const LOW: usize = DEPTH / 2;
/// A carrier without work for so long says QUIT.
const IDLE: Duration = Duration::from_secs(30);

/// A dispatch in this worker's hands; its place in the lane is free again when it is settled.
pub struct Held {
    pub owed: Owed,
    pub worker: i64,
    pub place: OwnedSemaphorePermit,
}

/// All lanes of a worker.
#[derive(Clone)]
pub struct Lanes(Arc<Shared>);

struct Shared {
    lanes: Mutex<HashMap<IntegrationId, Arc<Lane>>>,
    post: Arc<Post>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Woken when something is to be fetched.
    pub hungry: Arc<Notify>,
    strays: Strays,
}

/// What one integration has in hand.
pub struct Lane {
    pub id: IntegrationId,
    places: Arc<Semaphore>,
    queue: Mutex<Queue>,
    wake: Notify,
    pub circuit: Mutex<Circuit>,
    pub pace: Pace,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Held>,
    carriers: usize,
    idle: usize,
    /// More waits in the database: new events queue up behind it.
    backlog: bool,
}

/// Places that a batch keeps while it is being planned; those that are not handed over are free again. Dropped
/// between the commit and the handing over, what was written under it becomes stray.
pub struct Reservation {
    lanes: Option<Lanes>,
    worker: i64,
    places: HashMap<Uuid, VecDeque<OwnedSemaphorePermit>>,
    written: Vec<Uuid>,
    is_committing: bool,
}

impl Lanes {
    pub fn new(post: Arc<Post>, tasks: TaskTracker, stop: CancellationToken, hungry: Arc<Notify>) -> Self {
        let (lanes, strays) = (Mutex::default(), Strays::default());
        Self(Arc::new(Shared { lanes, post, tasks, stop, hungry, strays }))
    }

    /// For a batch that this worker plans.
    pub fn reserve(&self) -> Reservation {
        let worker = self.0.post.lease.id();
        let lanes = self.0.post.lease.may_send().then(|| self.clone());
        let (places, written) = (HashMap::new(), Vec::new());
        Reservation { lanes, worker, places, written, is_committing: false }
    }

    /// Hands over what was committed under a reservation.
    pub fn hand_over(&self, owed: Vec<Owed>, mut reservation: Reservation) {
        reservation.is_committing = false;
        for owed in owed {
            let lane = self.lane(owed.integration_id);
            let kept = reservation.places.get_mut(&owed.integration_id.0).and_then(VecDeque::pop_front);
            if let Some(place) = kept {
                self.push(&lane, Held { owed, worker: reservation.worker, place });
            }
        }
    }

    /// What may be this worker's without being in hand.
    pub fn strays(&self) -> &Strays {
        &self.0.strays
    }

    /// Asks for something to be fetched soon.
    pub fn fetch_soon(&self) {
        self.0.hungry.notify_one();
    }

    /// How many dispatches an integration can take now. An open circuit takes none, and one when it is due to
    /// be probed.
    pub fn room(&self, integration: IntegrationId) -> usize {
        let lane = self.lane(integration);
        if self.is_paused(integration) {
            return 0;
        }
        let free = lane.places.available_permits();
        match lane.circuit().look(Instant::now()) {
            Permission::Go => free,
            Permission::Probe { .. } => free.min(2),
            Permission::Wait(_) => 0,
        }
    }

    /// Places for fetched dispatches.
    pub fn try_place(&self, integration: IntegrationId) -> Option<OwnedSemaphorePermit> {
        self.lane(integration).places.clone().try_acquire_owned().ok()
    }

    /// Hands over what was fetched.
    pub fn put(&self, held: Held) {
        let lane = self.lane(held.owed.integration_id);
        self.push(&lane, held);
    }

    /// Says whether more waits in the database than was fetched.
    pub fn set_backlog(&self, integration: IntegrationId, backlog: bool) {
        self.lane(integration).queue().backlog = backlog;
    }

    /// The integrations whose circuit is open in this worker.
    pub fn open_circuits(&self) -> Vec<IntegrationId> {
        let lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().filter(|lane| lane.circuit().is_open()).map(|lane| lane.id).collect()
    }

    fn is_paused(&self, integration: IntegrationId) -> bool {
        let catalogue = self.0.post.live.current();
        catalogue.integrations.get(&integration).is_none_or(|integration| integration.paused)
    }

    /// Whether its automation is paused.
    fn is_held_back(&self, row: &DispatchRow) -> bool {
        let catalogue = self.0.post.live.current();
        catalogue
            .automations
            .get(&AutomationId(row.automation_id))
            .is_some_and(|automation| automation.paused)
    }

    fn lane(&self, id: IntegrationId) -> Arc<Lane> {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(id).or_insert_with(|| Arc::new(Lane::new(id))).clone()
    }

    /// Queues a dispatch, and starts a carrier if none is idle and one more connection is allowed.
    fn push(&self, lane: &Arc<Lane>, held: Held) {
        let limit = connections(self.0.post.live.current().integrations.get(&lane.id));
        let mut queue = lane.queue();
        queue.waiting.push_back(held);
        if queue.idle >= queue.waiting.len() || queue.carriers >= limit {
            drop(queue);
            lane.wake.notify_one();
            return;
        }
        queue.carriers += 1;
        drop(queue);
        let carrier = Carrier::new(lane.clone(), self.0.post.clone(), self.clone());
        self.0.tasks.spawn(carrier.run(self.0.stop.clone()));
    }
}

fn connections(integration: Option<&Arc<Integration>>) -> usize {
    integration.map_or(1, |integration| usize::from(integration.connections).max(1))
}

impl Lane {
    fn new(id: IntegrationId) -> Self {
        Self {
            id,
            places: Arc::new(Semaphore::new(DEPTH)),
            queue: Mutex::default(),
            wake: Notify::new(),
            circuit: Mutex::default(),
            pace: Pace::default(),
        }
    }

    pub fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the integration's rate lets one more mail go; `false` at a stop.
    pub async fn turn(&self, live: &Live, stop: &CancellationToken) -> bool {
        // One that was paused meanwhile has no turn to wait for: its mail is given back.
        let rate = || {
            let catalogue = live.current();
            catalogue.integrations.get(&self.id).filter(|one| !one.paused).and_then(|one| one.rate)
        };
        stop.run_until_cancelled(self.pace.turn(rate)).await.is_some()
    }

    /// The next dispatch for a carrier; `None` ends the carrier: nothing to do for [`IDLE`], or a stop.
    pub async fn next(&self, lanes: &Lanes, stop: &CancellationToken) -> Option<Held> {
        let mut is_last_look = false;
        loop {
            {
                let mut queue = self.queue();
                let next = if stop.is_cancelled() { None } else { queue.waiting.pop_front() };
                if let Some(held) = next {
                    if queue.backlog && queue.waiting.len() < LOW {
                        lanes.fetch_soon();
                    }
                    return Some(held);
                }
                if is_last_look || stop.is_cancelled() {
                    queue.carriers -= 1;
                    return None;
                }
                queue.idle += 1;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(IDLE) => is_last_look = true,
                () = stop.cancelled() => {}
            }
            self.queue().idle -= 1;
        }
    }
}

impl Reservation {
    /// Nothing is held: for a process that does not send.
    pub fn none() -> Self {
        let (places, written) = (HashMap::new(), Vec::new());
        Self { lanes: None, worker: 0, places, written, is_committing: false }
    }

    /// From here on nobody knows what is in the database until the commit is answered.
    pub fn committing(&mut self) {
        self.is_committing = true;
    }

    /// Whether this worker may hold what is planned.
    pub fn is_held(&self) -> bool {
        self.lanes.is_some()
    }

    /// Keeps a place for a row that is about to be written; the worker that holds it from then on.
    pub fn take_for(&mut self, row: &DispatchRow) -> Option<i64> {
        let lanes = self.lanes.as_ref().filter(|_| row.state == "pending")?;
        let id = IntegrationId(row.integration_id);
        let lane = lanes.lane(id);
        if lane.queue().backlog || lane.circuit().is_open() || lanes.is_paused(id) || lanes.is_held_back(row)
        {
            return None;
        }
        let Ok(place) = lane.places.clone().try_acquire_owned() else {
            lane.queue().backlog = true;
            return None;
        };
        self.places.entry(row.integration_id).or_default().push_back(place);
        self.written.push(row.id);
        Some(self.worker)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(lanes) = self.lanes.as_ref().filter(|_| self.is_committing) {
            lanes.strays().add(self.worker, self.written.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{MAIN, at, store};
    use super::super::lease::Lease;
    use super::super::reach::Reach;
    use super::super::settle::Settler;
    use super::*;
    use crate::domain::clock::Clock;
    use crate::domain::keys::{Keyring, SecretKey};
    use crate::mail::server::{Limits, tls_config};

    async fn lanes() -> (tempfile::TempDir, Lanes) {
        let (directory, store) = store().await;
        let clock = Clock::manual(at(0));
        let post = Arc::new(Post {
            live: Live::load(store.clone()).await.unwrap(),
            lease: Arc::new(Lease::take(store.clone(), clock.clone(), true).await.unwrap()),
            keys: Arc::new(Keyring::new(&SecretKey::from_bytes([1; 32]), &[])),
            settler: Settler::new().0,
            public_url: String::new(),
            reach: Reach {
                keys: Arc::new(Keyring::new(&SecretKey::from_bytes([1; 32]), &[])),
                allow: Vec::new(),
                tls: tls_config(None).unwrap(),
                public_url: String::new(),
            },
            sends: Arc::new(Semaphore::new(1)),
            limits: Limits::default(),
            cut_off: CancellationToken::new(),
            editions: super::super::editions::Editions::default(),
            store,
            clock,
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        (directory, Lanes::new(post, tasks, stop, Arc::default()))
    }

    fn row(state: &'static str) -> DispatchRow {
        DispatchRow {
            id: Uuid::new_v4(),
            project_id: Uuid::nil(),
            event_id: Uuid::nil(),
            automation_id: Uuid::nil(),
            automation_version: 1,
            integration_id: MAIN.0,
            template: String::new(),
            member_id: String::new(),
            recipient: String::new(),
            purpose: None,
            token_id: None,
            message_id: String::new(),
            state,
            reason: None,
            holder: None,
            due_at: at(0),
            expires_at: at(0),
            created_at: at(0),
        }
    }

    #[tokio::test]
    async fn a_lane_holds_512_dispatches_and_what_comes_behind_them_waits_in_the_database() {
        let (_directory, lanes) = lanes().await;
        let mut reservation = lanes.reserve();
        assert!((0..DEPTH).all(|_| reservation.take_for(&row("pending")).is_some()));
        assert_eq!((reservation.take_for(&row("pending")), lanes.room(MAIN)), (None, 0));
        drop(reservation);
        assert_eq!(lanes.room(MAIN), DEPTH, "a batch that was not committed keeps no place");
        assert_eq!(
            lanes.reserve().take_for(&row("pending")),
            None,
            "behind the backlog, or it would overtake"
        );
        lanes.set_backlog(MAIN, false);
        assert!(lanes.reserve().take_for(&row("pending")).is_some());
    }

    #[tokio::test]
    async fn nothing_is_held_for_a_cancelled_row_an_open_circuit_or_an_integration_that_is_gone() {
        let (_directory, lanes) = lanes().await;
        let mut reservation = lanes.reserve();
        assert_eq!(reservation.take_for(&row("cancelled")), None);
        let gone = DispatchRow { integration_id: Uuid::new_v4(), ..row("pending") };
        assert_eq!(reservation.take_for(&gone), None);
        lanes.lane(MAIN).circuit().failed(Instant::now(), 0.5);
        assert_eq!((reservation.take_for(&row("pending")), lanes.room(MAIN)), (None, 0));
    }

    #[tokio::test]
    async fn an_open_circuit_that_is_due_has_room_for_a_probe_and_one_more() {
        let (_directory, lanes) = lanes().await;
        let long_ago = Instant::now().checked_sub(Duration::from_mins(2)).unwrap();
        lanes.lane(MAIN).circuit().failed(long_ago, 0.5);
        assert_eq!(lanes.room(MAIN), 2);
        assert_eq!(lanes.open_circuits(), [MAIN]);
    }
}
