//! The running pipeline: starts its tasks, holds the ways into it, stops it in order. What arrives last is
//! planned first, then what is being sent ends, then it is written down, then the rest is given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Intake;
use super::carry::Post;
use super::editions::Editions;
use super::fetch;
use super::flows::Flows;
use super::lanes::Lanes;
use super::lease::{Lease, RENEWAL};
use super::live::{Live, POLL};
use super::planner::{Planner, QUEUE};
use super::reach::Reach;
use super::rearm::{self, Rearm};
use super::settle::{self, Settler};
use crate::domain::clock::Clock;
use crate::domain::keys::Keyring;
use crate::mail::network::Cidr;
use crate::mail::server::Limits;
use crate::store::{Store, StoreError, listen};

/// What a stop keeps of its time for writing down what was sent, and giving back the rest.
const WINDING_UP: Duration = Duration::from_secs(2);
/// A database that is silent for so long is asked again.
const ANSWER: Duration = Duration::from_secs(10);
/// Planners on PostgreSQL: one reads while the other commits. SQLite has one writer.
const PLANNERS: usize = 2;
/// Settling tasks on PostgreSQL, for the same reason.
const SETTLERS: usize = 2;

/// What the pipeline is started with.
pub struct Settings {
    pub store: Store,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    /// The base of links to hosted pages.
    pub public_url: String,
    /// `None` for a process that plans, and leaves the sending to others.
    pub sender: Option<SenderSettings>,
    /// Whether there is a broker that notices can be told to: none are written otherwise.
    pub is_told: bool,
}

/// How mail is sent.
pub struct SenderSettings {
    /// E-mails in flight over all integrations.
    pub concurrency: usize,
    /// Networks beyond the public ones that integrations made over the API may reach.
    pub allow: Vec<Cidr>,
    pub tls: Arc<ClientConfig>,
    /// How long each step with a mail server may take.
    pub limits: Limits,
    /// No other worker can be alive: take over at once what one that crashed had in hand.
    pub alone: bool,
}

/// The pipeline at work.
pub struct Engine {
    pub intake: Intake,
    pub flows: Flows,
    pub rearm: Rearm,
    pub live: Live,
    pub sender: Option<Sender>,
    planners: TaskTracker,
    stop_planning: CancellationToken,
    stop_watching: CancellationToken,
    watchers: TaskTracker,
}

/// The half that sends.
pub struct Sender {
    pub lanes: Lanes,
    pub lease: Arc<Lease>,
    carriers: TaskTracker,
    stop_carrying: CancellationToken,
    cut_off: CancellationToken,
    settling: TaskTracker,
    carriers_gone: CancellationToken,
}

impl Engine {
    pub async fn start(settings: Settings) -> Result<Self, StoreError> {
        let Settings { store, clock, keys, public_url, sender, is_told } = settings;
        let live = Live::load_told(store.clone(), is_told).await?;
        let (stop_watching, watchers) = (CancellationToken::new(), TaskTracker::new());
        watch_catalogue(&watchers, live.clone(), stop_watching.clone());
        let sender = match sender {
            Some(settings) => {
                let parts = Parts { store: &store, clock: &clock, keys: &keys, live: &live, public_url };
                let sender = Sender::start(parts, settings).await?;
                watch_lease(&watchers, &sender, stop_watching.clone());
                Some(sender)
            }
            None => None,
        };
        let lanes = sender.as_ref().map(|sender| sender.lanes.clone());
        let (submit, submissions) = mpsc::channel(QUEUE);
        let planners = if store.is_sqlite() { 1 } else { PLANNERS };
        let desk = rearm::Desk {
            store: store.clone(),
            live: live.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
        };
        let rearm = Rearm::new(desk, lanes.clone());
        let planner = Arc::new(Planner {
            store: store.clone(),
            live: live.clone(),
            keys: keys.clone(),
            clock: clock.clone(),
            lanes: lanes.clone(),
            rearm: rearm.clone(),
            submissions: Mutex::new(submissions),
        });
        let (tasks, stop_planning) = (TaskTracker::new(), CancellationToken::new());
        for _ in 0..planners {
            tasks.spawn(planner.clone().run(stop_planning.clone()));
        }
        let flows = Flows::new(store, clock, keys, live.clone(), lanes);
        let intake = Intake { submit };
        Ok(Self {
            intake,
            flows,
            rearm,
            live,
            sender,
            planners: tasks,
            stop_planning,
            stop_watching,
            watchers,
        })
    }

    /// Stops in order, by the deadline. Whoever submits must have been stopped before.
    pub async fn stop(self, deadline: Instant) {
        self.stop_planning.cancel();
        self.planners.close();
        if timeout_at(deadline - WINDING_UP, self.planners.wait()).await.is_err() {
            tracing::warn!("planning did not end in time; what was not answered is handed over again");
        }
        if let Some(sender) = &self.sender {
            sender.stop(deadline).await;
        }
        self.stop_watching.cancel();
        self.watchers.close();
        self.watchers.wait().await;
    }
}

struct Parts<'a> {
    store: &'a Store,
    clock: &'a Clock,
    keys: &'a Arc<Keyring>,
    live: &'a Live,
    public_url: String,
}

impl Sender {
    async fn start(parts: Parts<'_>, settings: SenderSettings) -> Result<Self, StoreError> {
        let Parts { store, clock, keys, live, public_url } = parts;
        let lease = Arc::new(Lease::take(store.clone(), clock.clone(), settings.alone).await?);
        let (settler, tries) = Settler::new();
        let cut_off = CancellationToken::new();
        let post = Arc::new(Post {
            store: store.clone(),
            clock: clock.clone(),
            keys: keys.clone(),
            live: live.clone(),
            lease: lease.clone(),
            settler,
            reach: Reach {
                keys: keys.clone(),
                allow: settings.allow,
                tls: settings.tls,
                public_url: public_url.clone(),
            },
            public_url,
            sends: Arc::new(Semaphore::new(settings.concurrency)),
            limits: settings.limits,
            cut_off: cut_off.clone(),
            editions: Editions::default(),
        });
        let (settling, carriers_gone) = (TaskTracker::new(), CancellationToken::new());
        let settlers = if store.is_sqlite() { 1 } else { SETTLERS };
        for _ in 0..settlers {
            let desk = settle::Desk { store: store.clone(), clock: clock.clone(), live: live.clone() };
            settling.spawn(settle::run(desk, tries.clone(), carriers_gone.clone()));
        }
        let (carriers, stop_carrying) = (TaskTracker::new(), CancellationToken::new());
        let hungry = Arc::new(Notify::new());
        let lanes = Lanes::new(post.clone(), carriers.clone(), stop_carrying.clone(), hungry.clone());
        hungry.notify_one();
        carriers.spawn(fetch::run(post, lanes.clone(), hungry.clone(), stop_carrying.clone()));
        let (store, stop) = (store.clone(), stop_carrying.clone());
        carriers.spawn(async move {
            tokio::select! {
                () = listen::listen(store, &hungry) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(Self { lanes, lease, carriers, stop_carrying, cut_off, settling, carriers_gone })
    }

    async fn stop(&self, deadline: Instant) {
        self.stop_carrying.cancel();
        self.carriers.close();
        if timeout_at(deadline - WINDING_UP, self.carriers.wait()).await.is_err() {
            tracing::warn!("mail servers did not answer in time; what they were sent is given back");
            self.cut_off.cancel();
            self.carriers.wait().await;
        }
        self.carriers_gone.cancel();
        self.settling.close();
        let winding_up = async {
            self.settling.wait().await;
            if let Err(error) = self.lease.give_back().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "dispatches in hand could not be given back; they are taken over in 30 s"
                );
            }
        };
        if timeout_at(deadline, winding_up).await.is_err() {
            tracing::warn!("the database did not answer in time; what is in hand is taken over in 30 s");
        }
    }
}

fn watch_catalogue(tasks: &TaskTracker, live: Live, stop: CancellationToken) {
    tasks.spawn(async move {
        while !is_stopped_within(&stop, POLL).await {
            if let Err(error) = live.refresh().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the catalogue could not be looked at"
                );
            }
        }
    });
}

fn watch_lease(tasks: &TaskTracker, sender: &Sender, stop: CancellationToken) {
    let (lease, lanes) = (sender.lease.clone(), sender.lanes.clone());
    tasks.spawn(async move {
        while !is_stopped_within(&stop, RENEWAL).await {
            let renewed = async {
                lease.renew().await?;
                lease.rescue().await
            };
            match tokio::time::timeout(ANSWER, renewed).await {
                Ok(Ok(0)) => {}
                Ok(Ok(_)) => lanes.fetch_soon(),
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the worker's lease could not be renewed"
                    );
                }
                Err(_) => tracing::warn!("the worker's lease could not be renewed: the database is silent"),
            }
        }
    });
}

/// Waits for a pause, or less when it is to stop.
pub async fn is_stopped_within(stop: &CancellationToken, pause: Duration) -> bool {
    tokio::time::timeout(pause, stop.cancelled()).await.is_ok()
}
