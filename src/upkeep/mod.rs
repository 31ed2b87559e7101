//! What is done by the clock: partitions, retention, expiry, gauges, readiness, copies of dead dispatches, notices. Timers
//! only, each step idempotent, so that any number of replicas may do it at once.

mod copies;
mod gauges;
mod notices;

pub use gauges::Ages;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::{BrokerHealth, Publisher};
use crate::domain::clock::Clock;
use crate::pipeline::dead_letters::DeadMessages;
use crate::pipeline::engine::is_stopped_within;
use crate::pipeline::expiry::expire;
use crate::pipeline::lanes::Lanes;
use crate::pipeline::lease::Lease;
use crate::pipeline::live::Live;
use crate::store::{Store, StoreError, db, partitions};
use crate::web::IDEMPOTENCY_KEPT;
use crate::web::health::{Part, Readiness};

/// How often readiness and the count of due dispatches are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often dispatches whose `max_age` ran out while they waited are ended, and the gauges read.
const SWEEP: Duration = Duration::from_secs(10);
/// A database that is silent for so long does not answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a notice waits for a broker that cannot be reached.
const NOTICES_KEPT: TimeDelta = TimeDelta::days(7);
/// How often partitions are made and dropped.
const TIDY: Duration = Duration::from_hours(1);

/// What upkeep works on.
pub struct Upkeep {
    pub store: Store,
    pub clock: Clock,
    pub live: Live,
    pub readiness: Readiness,
    pub sender: Option<(Lanes, Arc<Lease>)>,
    pub broker: Option<watch::Receiver<BrokerHealth>>,
    /// Whether messages are taken from the broker.
    pub take: watch::Sender<bool>,
    pub max_due: i64,
    pub metrics: PrometheusHandle,
    pub retention: Duration,
    pub dead_messages: DeadMessages,
    /// `None` without a broker.
    pub publisher: Option<Publisher>,
    /// Starts empty.
    pub ages: Ages,
}

/// Starts the timers; they end at the stop.
pub fn start(upkeep: Upkeep, tasks: &TaskTracker, stop: &CancellationToken) {
    let upkeep = Arc::new(upkeep);
    let (one, until) = (upkeep.clone(), stop.clone());
    tasks.spawn(async move {
        loop {
            one.look().await;
            if is_stopped_within(&until, LOOK).await {
                return;
            }
        }
    });
    let (one, until) = (upkeep.clone(), stop.clone());
    tasks.spawn(async move {
        report("gauges", one.gauges().await);
        while !is_stopped_within(&until, SWEEP).await {
            // Or histograms would grow between two scrapes.
            one.metrics.run_upkeep();
            report("expiry and gauges", one.sweep().await);
        }
    });
    if upkeep.sender.is_some() && upkeep.publisher.is_some() {
        tasks.spawn(copies::run(upkeep.clone(), stop.clone()));
        tasks.spawn(notices::run(upkeep.clone(), stop.clone()));
    }
    let until = stop.clone();
    tasks.spawn(async move {
        loop {
            report("partitions and retention", upkeep.tidy().await);
            if is_stopped_within(&until, TIDY).await {
                return;
            }
        }
    });
}

impl Upkeep {
    async fn look(&self) {
        let now = self.clock.now();
        if let Some((_, lease)) = &self.sender {
            if lease.may_send() {
                self.readiness.ready(Part::WorkerLease);
            } else {
                self.readiness.not_ready(Part::WorkerLease, "could not be renewed for 20 s", now);
            }
        }
        match tokio::time::timeout(ANSWER, self.due_count()).await {
            Ok(Ok(due)) => {
                self.readiness.ready(Part::Database);
                let may_take = due <= self.max_due;
                self.take.send_if_modified(|take| std::mem::replace(take, may_take) != may_take);
            }
            Ok(Err(_)) | Err(_) => self.readiness.not_ready(Part::Database, "does not answer", now),
        }
        let Some(broker) = &self.broker else { return };
        let health = broker.borrow().clone();
        gauge!("signalpost_broker_connected").set(if health.is_connected() { 1.0 } else { 0.0 });
        match health {
            BrokerHealth::Consuming => self.readiness.ready(Part::Broker),
            BrokerHealth::Paused => {
                self.readiness.not_ready(
                    Part::Broker,
                    "no messages are taken: too many dispatches are due",
                    now,
                );
            }
            BrokerHealth::Blocked { reason } => {
                let why = format!("refused messages wait, the broker takes no publishes: {reason}");
                self.readiness.not_ready(Part::Broker, why, now);
            }
            BrokerHealth::Connecting { last_error, .. } => {
                let why = last_error.unwrap_or_else(|| "is being connected".to_owned());
                self.readiness.not_ready(Part::Broker, why, now);
            }
            BrokerHealth::Stopped => self.readiness.not_ready(Part::Broker, "is being left", now),
        }
    }

    async fn due_count(&self) -> Result<i64, StoreError> {
        let mut c = self.store.read().await?;
        db!(c, work::due_count(self.clock.now(), self.max_due + 1))
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        expire(&self.store, &self.clock, &self.live).await?;
        let mut c = self.store.write().await?;
        db!(c, throttles::delete_ended(self.clock.now()))?;
        drop(c);
        self.gauges().await
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        partitions::ensure(&self.store, now).await?;
        let mut c = self.store.write().await?;
        db!(c, idempotency::forget(now - IDEMPOTENCY_KEPT))?;
        let retention = TimeDelta::from_std(self.retention).unwrap_or(TimeDelta::MAX);
        let untold = db!(c, notices::delete_before(now - retention.min(NOTICES_KEPT)))?;
        drop(c);
        if untold > 0 {
            tracing::warn!(notices = untold, "notices that could not be told for days are given up");
        }
        match now.checked_sub_signed(retention) {
            Some(cutoff) => partitions::drop_before(&self.store, cutoff).await,
            None => Ok(()),
        }
    }
}

fn report(what: &str, done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(error = &error as &dyn std::error::Error, chore = what, "upkeep will try again");
    }
}
