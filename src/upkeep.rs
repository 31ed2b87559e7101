//! What is done by the clock: partitions, retention, expiry, gauges, readiness. Timers only, each step
//! idempotent, so that any number of replicas may do it at once.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::BrokerHealth;
use crate::domain::clock::Clock;
use crate::domain::dispatch::DeadReason;
use crate::domain::id::IntegrationId;
use crate::pipeline::engine::is_stopped_within;
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
        while !is_stopped_within(&until, SWEEP).await {
            // Or histograms would grow between two scrapes.
            one.metrics.run_upkeep();
            report("expiry and gauges", one.sweep().await);
        }
    });
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
        let now = self.clock.now();
        let mut c = self.store.write().await?;
        db!(c, work::expire(now))?;
        drop(c);
        let mut c = self.store.read().await?;
        let due = db!(c, work::due(now))?;
        let dead = db!(c, work::dead_count())?;
        drop(c);
        let catalogue = self.live.current();
        let open = self.sender.as_ref().map(|(lanes, _)| lanes.open_circuits()).unwrap_or_default();
        let is_paused = |id: &IntegrationId| catalogue.integrations.get(id).is_some_and(|one| one.paused);
        let (mut count, mut oldest, mut paused, mut broken) = (0, TimeDelta::zero(), 0, 0);
        for (id, rows, since) in due {
            let id = IntegrationId(id);
            if is_paused(&id) {
                paused += rows;
            } else if open.contains(&id) {
                broken += rows;
            } else {
                count += rows;
                oldest = oldest.max(now - since);
            }
        }
        set("signalpost_dispatches_due", count);
        gauge!("signalpost_oldest_due_seconds").set(oldest.to_std().unwrap_or_default().as_secs_f64());
        gauge!("signalpost_dispatches_waiting", "why" => "paused").set(float(paused));
        gauge!("signalpost_dispatches_waiting", "why" => "circuit-open").set(float(broken));
        let reasons =
            [DeadReason::Rejected, DeadReason::Exhausted, DeadReason::Expired, DeadReason::Unrenderable];
        for reason in reasons.map(DeadReason::name) {
            let rows = dead.iter().find(|(of, _)| of == reason).map_or(0, |(_, rows)| *rows);
            gauge!("signalpost_dead_letters", "kind" => "dispatch", "reason" => reason).set(float(rows));
        }
        for integration in catalogue.integrations.values() {
            let value = if open.contains(&integration.id) { 1.0 } else { 0.0 };
            gauge!("signalpost_integration_open", "integration" => integration.id.to_string()).set(value);
        }
        Ok(())
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        partitions::ensure(&self.store, now).await?;
        let mut c = self.store.write().await?;
        db!(c, idempotency::forget(now - IDEMPOTENCY_KEPT))?;
        drop(c);
        let retention = TimeDelta::from_std(self.retention).unwrap_or(TimeDelta::MAX);
        match now.checked_sub_signed(retention) {
            Some(cutoff) => partitions::drop_before(&self.store, cutoff).await,
            None => Ok(()),
        }
    }
}

fn set(name: &'static str, value: i64) {
    gauge!(name).set(float(value));
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn float(value: i64) -> f64 {
    value as f64
}

fn report(what: &str, done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(error = &error as &dyn std::error::Error, chore = what, "upkeep will try again");
    }
}
