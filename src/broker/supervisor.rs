//! Keeps one session of consuming alive: on any fault it is torn down whole and built anew, with back-off. Says how
//! the broker is. Knows nothing of deliveries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{ConnectError, Options, backoff};
use super::consumer::{End, Fault, Seams, Session};
use super::publisher::Publisher;
use crate::domain::clock::Clock;
use crate::pipeline::Intake;

/// For connecting, declaring and looking.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// A session that lasted so long was sound: the next fault starts with the shortest wait again.
const SOUND: Duration = Duration::from_secs(10);
/// After a refused login: nothing will change soon, and each try is a line in the broker's log.
const LOGIN_DELAY: Duration = Duration::from_secs(15);

/// How the broker is, for `/readyz` and the gauge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BrokerHealth {
    /// Not there; tried again and again.
    Connecting {
        since: DateTime<Utc>,
        last_error: Option<String>,
    },
    Consuming,
    /// Connected, but taking nothing: too many dispatches are due, or it stops.
    Paused,
    /// Consuming, but the broker takes no refusals: its memory or disk is short.
    Blocked {
        reason: String,
    },
    Stopped,
}

impl BrokerHealth {
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Consuming | Self::Paused | Self::Blocked { .. })
    }
}

/// Why consuming ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    Stopped,
    /// There is no planner any more.
    IntakeClosed,
}

/// Takes events from the broker to the planner.
pub struct Worker {
    options: Options,
    clock: Clock,
    intake: Intake,
    publisher: Publisher,
    health: watch::Sender<BrokerHealth>,
}

impl Worker {
    pub fn new(options: Options, clock: Clock, intake: Intake, publisher: Publisher) -> Self {
        let health = watch::Sender::new(BrokerHealth::Connecting { since: clock.now(), last_error: None });
        Self { options, clock, intake, publisher, health }
    }

    pub fn health(&self) -> watch::Receiver<BrokerHealth> {
        self.health.subscribe()
    }

    /// Runs until `stop`, whatever the broker does. While `take` says false nothing new is taken. Stopping waits
    /// for the answers and refusals in flight; the caller bounds that by dropping this.
    pub async fn run(self, take: watch::Receiver<bool>, stop: CancellationToken) -> Ended {
        let Self { options, clock, intake, publisher, health } = self;
        let mut seams = Seams { options, clock, intake, publisher, take, stop: stop.clone(), health };
        let mut waits = Waits(None);
        loop {
            let started = Instant::now();
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => End::Stopped,
                opened = timeout(OPEN_TIMEOUT, Session::open(&mut seams)) => match opened {
                    Ok(Ok(session)) => session.run().await,
                    Ok(Err(fault)) => End::Fault(fault),
                    Err(_) => End::Fault(Fault::TimedOut),
                },
            };
            let fault = match ended {
                End::Stopped => return finish(&seams, Ended::Stopped),
                End::IntakeClosed => return finish(&seams, Ended::IntakeClosed),
                End::Fault(fault) => fault,
            };
            let wait = waits.after(&fault, started.elapsed());
            tracing::warn!(error = %fault, broker = %seams.options.url, ?wait, "events are not taken; trying again");
            connecting(&seams, &fault);
            tokio::select! {
                biased;
                () = stop.cancelled() => return finish(&seams, Ended::Stopped),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// The waits between sessions.
struct Waits(Option<ExponentialBackoff>);

impl Waits {
    fn after(&mut self, fault: &Fault, lasted: Duration) -> Duration {
        if lasted >= SOUND {
            self.0 = None;
        }
        let wait = self.0.get_or_insert_with(|| backoff().build()).next().unwrap_or(LOGIN_DELAY);
        if matches!(fault, Fault::Connect(ConnectError::LoginRefused)) { LOGIN_DELAY + wait } else { wait }
    }
}

fn connecting(seams: &Seams, fault: &Fault) {
    let now = seams.clock.now();
    seams.health.send_modify(|health| {
        let since = match health {
            BrokerHealth::Connecting { since, .. } => *since,
            _ => now,
        };
        *health = BrokerHealth::Connecting { since, last_error: Some(fault.to_string()) };
    });
}

fn finish(seams: &Seams, ended: Ended) -> Ended {
    seams.health.send_replace(BrokerHealth::Stopped);
    ended
}
