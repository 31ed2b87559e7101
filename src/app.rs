//! The running application: connects, spawns, stops. Knows every part; the parts do not know it. Tests run
//! this same object as production does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker;
use crate::domain::clock::Clock;
use crate::domain::keys::Keyring;
use crate::mail::network::Cidr;
use crate::pipeline::dead_letters::DeadMessages;
use crate::pipeline::engine::{self, Engine, SenderSettings};
use crate::pipeline::reach::Reach;
use crate::store::{Store, partitions};
use crate::upkeep::{self, Upkeep};
use crate::web::health::{Part, Readiness};
use crate::web::{self, Surface};

/// What a stop may take in all, as the contract has it, less a second for closing connections.
const GRACE: Duration = Duration::from_secs(19);
/// What of it is left for the mail that is being sent, however long requests and messages in flight take.
const SENDING: Duration = Duration::from_secs(4);

/// What the application is started with: everything is connected and bound already, or can be tried again.
pub struct Settings {
    pub store: Store,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    pub public_url: String,
    pub trusted_proxies: Vec<Cidr>,
    /// How servers are reached that somebody wants to try.
    pub reach: Reach,
    pub surfaces: Vec<(TcpListener, Surface)>,
    /// `None` for a process that only serves HTTP.
    pub sender: Option<SenderSettings>,
    pub broker: Option<broker::Options>,
    /// Due dispatches above which no more messages are taken.
    pub max_due: i64,
    pub retention: Duration,
    pub metrics: PrometheusHandle,
}

/// The application at work.
pub struct App {
    pub addresses: Vec<SocketAddr>,
    pub engine: Engine,
    stop_taking: CancellationToken,
    takers: TaskTracker,
    stop_upkeep: CancellationToken,
    upkeep: TaskTracker,
    publisher: Option<broker::Publisher>,
    store: Store,
}

async fn start_engine(
    (store, clock, keys): (Store, Clock, Arc<Keyring>),
    public_url: String,
    sender: Option<SenderSettings>,
) -> anyhow::Result<Engine> {
    let settings = engine::Settings { store, clock, keys, public_url, sender };
    Engine::start(settings).await.context("start the pipeline")
}

impl App {
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let Settings { store, clock, keys, public_url, surfaces, .. } = settings;
        partitions::ensure(&store, clock.now()).await.context("make the partitions of the coming days")?;
        let sender = settings.sender;
        let (url, kept) = (public_url.clone(), (store.clone(), clock.clone(), keys.clone()));
        let engine = start_engine(kept, url, sender).await?;
        let (stop_taking, takers) = (CancellationToken::new(), TaskTracker::new());
        let takes_messages = settings.broker.is_some() && engine.sender.is_some();
        let readiness = Readiness::expecting(&parts(&engine, takes_messages), clock.now());
        let (stop_upkeep, upkeep) = (CancellationToken::new(), TaskTracker::new());
        let broker = settings.broker.map(|options| Broker::new(options, &clock, &keys));
        let dead_messages =
            broker.as_ref().map(|broker| broker.dead_messages(&upkeep, &stop_upkeep)).unwrap_or_default();
        let asyncapi = Arc::new(broker::describe());
        let state = |surface| web::State {
            store: store.clone(),
            clock: clock.clone(),
            intake: engine.intake.clone(),
            flows: engine.flows.clone(),
            live: engine.live.clone(),
            keys: keys.clone(),
            public_url: public_url.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            reach: settings.reach.clone(),
            readiness: readiness.clone(),
            metrics: settings.metrics.clone(),
            surface,
            known_keys: web::KnownKeys::default(),
            dead_messages: dead_messages.clone(),
            asyncapi: asyncapi.clone(),
            rearm: engine.rearm.clone(),
            tasks: takers.clone(),
        };
        let addresses = open(surfaces, state, &takers, &stop_taking)?;

        let (take, may_take) = watch::channel(true);
        let worker = broker.as_ref().filter(|_| takes_messages).map(|broker| broker.worker(&engine));
        let publisher = broker.map(|broker| broker.publisher);
        let health = worker.as_ref().map(broker::Worker::health);
        worker.map(|worker| takers.spawn(worker.run(may_take, stop_taking.clone())));
        let chores = Upkeep {
            store: store.clone(),
            clock,
            readiness,
            sender: engine.sender.as_ref().map(|sender| (sender.lanes.clone(), sender.lease.clone())),
            broker: health,
            take,
            max_due: settings.max_due,
            retention: settings.retention,
            live: engine.live.clone(),
            metrics: settings.metrics,
            dead_messages,
            publisher: publisher.clone(),
            ages: upkeep::Ages::default(),
        };
        upkeep::start(chores, &upkeep, &stop_upkeep);
        Ok(Self { addresses, engine, stop_taking, takers, stop_upkeep, upkeep, publisher, store })
    }

    /// Stops in order: takes nothing new, ends what is in flight within 20 s, gives the rest back.
    pub async fn stop(self) {
        let deadline = Instant::now() + GRACE;
        self.stop_taking.cancel();
        self.takers.close();
        if timeout_at(deadline - SENDING, self.takers.wait()).await.is_err() {
            tracing::warn!("requests or messages in flight did not end in time");
        }
        self.engine.stop(deadline).await;
        self.stop_upkeep.cancel();
        self.upkeep.close();
        self.upkeep.wait().await;
        if let Some(publisher) = self.publisher {
            publisher.close().await;
        }
        self.store.close().await;
    }
}

/// Serves each address with its surface.
fn open(
    surfaces: Vec<(TcpListener, Surface)>,
    state: impl Fn(Surface) -> web::State,
    takers: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for (listener, surface) in surfaces {
        addresses.push(listener.local_addr()?);
        takers.spawn(serve(listener, web::router(state(surface)), stop.clone()));
    }
    Ok(addresses)
}

async fn serve(listener: TcpListener, router: axum::Router, stop: CancellationToken) {
    if let Err(error) = web::serve(listener, router, stop).await {
        tracing::error!(error = &error as &dyn std::error::Error, "HTTP is not served any more");
    }
}

/// The ways to the broker.
pub struct Broker {
    options: broker::Options,
    clock: Clock,
    publisher: broker::Publisher,
}

impl Broker {
    pub fn new(options: broker::Options, clock: &Clock, keys: &Keyring) -> Self {
        let (current, old) = keys.origin_keys();
        let publisher = broker::Publisher::new(options.clone(), broker::OriginKeys::new(current, old));
        Self { options, clock: clock.clone(), publisher }
    }

    fn worker(&self, engine: &Engine) -> broker::Worker {
        let (options, publisher) = (self.options.clone(), self.publisher.clone());
        broker::Worker::new(options, self.clock.clone(), engine.intake.clone(), publisher)
    }

    /// Until the very end: requests and upkeep ask for letters.
    pub fn dead_messages(&self, tasks: &TaskTracker, stop: &CancellationToken) -> DeadMessages {
        let options = broker::Options { name: "signalpost dead letters".to_owned(), ..self.options.clone() };
        let queue = broker::DeadQueue::new(options, self.publisher.clone(), self.clock.clone());
        let (dead_messages, requests) = DeadMessages::new();
        tasks.spawn(queue.run(requests, stop.clone()));
        dead_messages
    }

    /// Ends what was connected to publish.
    pub async fn close(self) {
        self.publisher.close().await;
    }
}

fn parts(engine: &Engine, takes_messages: bool) -> Vec<Part> {
    let mut parts = vec![Part::Database];
    if engine.sender.is_some() {
        parts.push(Part::WorkerLease);
    }
    if takes_messages {
        parts.push(Part::Broker);
    }
    parts
}
