//! The circuit of one integration in one worker: closed while the server serves, open while it does not, so
//! that its dispatches wait without being charged and no other project is held up. A pure value: time and
//! jitter are given. It must not know sockets, dispatches or how long mail may wait.

use std::time::{Duration, Instant};

use uuid::Uuid;

/// Wait after the first failure; doubled by each failed probe: 5, 10, 20, 40 s, then [`LONGEST_DELAY`].
const FIRST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_mins(1);
/// A wait is spread over 80 % to 120 % of its length, so that workers do not probe together.
const SPREAD: f64 = 0.2;
/// A probe that was never reported on counts as lost after this: longer than any exchange may last.
const PROBE_LOST: Duration = Duration::from_mins(15);

/// Whether the integration may be used.
#[derive(Debug, Default, Clone, Copy)]
pub struct Circuit {
    state: State,
    /// The dispatch that last got a suspect answer, while none succeeded since.
    suspect: Option<Uuid>,
    last_probe: Option<Uuid>,
}

/// The answer to a dispatch that wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Go,
    /// Send one dispatch, not `avoid` if there is another, and report with [`Circuit::failed`],
    /// [`Circuit::succeeded`], [`Circuit::suspected`] or [`Circuit::probe_dropped`].
    Probe {
        avoid: Option<Uuid>,
    },
    /// Ask again at this time, or earlier if told that a probe succeeded.
    Wait(Instant),
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        step: u32,
    },
    Probing {
        lost_at: Instant,
        step: u32,
    },
}

impl Circuit {
    /// What [`Circuit::permission`] would answer, without taking the probe.
    pub fn look(&self, now: Instant) -> Permission {
        let mut copy = *self;
        copy.permission(now)
    }

    /// Asks for leave to send. [`Permission::Probe`] is given to one caller at a time.
    pub fn permission(&mut self, now: Instant) -> Permission {
        match self.state {
            State::Closed => Permission::Go,
            State::Open { until: due, step } | State::Probing { lost_at: due, step } if due <= now => {
                self.state = State::Probing { lost_at: now + PROBE_LOST, step };
                Permission::Probe { avoid: self.last_probe }
            }
            State::Open { until: due, .. } | State::Probing { lost_at: due, .. } => Permission::Wait(due),
        }
    }

    /// Remembers which dispatch the probe uses, so that the next probe can use another: a dispatch that
    /// itself brings the failure on must not keep the circuit open.
    pub fn probing(&mut self, dispatch: Uuid) {
        self.last_probe = Some(dispatch);
    }

    /// The integration failed. `jitter` is evenly spread over 0.0 to 1.0. Failures of what was still on its
    /// way when the circuit opened do not lengthen the wait.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        match self.state {
            State::Closed => self.open(now, 0, jitter),
            State::Probing { step, .. } => self.open(now, step.saturating_add(1), jitter),
            State::Open { .. } => {}
        }
    }

    /// The integration served: a mail was accepted, or refused for a fault of its own. What was still on its
    /// way when the circuit opened does not close it; the probe does.
    pub fn succeeded(&mut self) {
        self.suspect = None;
        if !matches!(self.state, State::Open { .. }) {
            self.state = State::Closed;
            self.last_probe = None;
        }
    }

    /// A dispatch got an answer that may be its own fault or the integration's. The circuit opens if a
    /// different one got such an answer since the last success, or if this was the probe. Returns whether
    /// it is open: then the integration is to blame and nothing is charged.
    pub fn suspected(&mut self, dispatch: Uuid, now: Instant, jitter: f64) -> bool {
        match self.state {
            State::Closed if self.suspect.is_none_or(|other| other == dispatch) => {
                self.suspect = Some(dispatch);
                return false;
            }
            State::Closed | State::Probing { .. } => self.failed(now, jitter),
            State::Open { .. } => {}
        }
        self.suspect = Some(dispatch);
        true
    }

    /// The probe ended without telling anything, for example because its dispatch was cancelled or the
    /// worker found nothing to send: the next caller may probe at once.
    pub fn probe_dropped(&mut self, now: Instant) {
        if let State::Probing { step, .. } = self.state {
            self.state = State::Open { until: now, step };
        }
    }

    /// Whether dispatches must wait.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    fn open(&mut self, now: Instant, step: u32, jitter: f64) {
        self.state = State::Open { until: now + delay(step, jitter), step };
    }
}

fn delay(step: u32, jitter: f64) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(step));
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
    doubled.min(LONGEST_DELAY).mul_f64(1.0 - SPREAD + 2.0 * SPREAD * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: f64 = 0.5;
    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn opened() -> (Circuit, Instant) {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        circuit.failed(now, EVEN);
        (circuit, now)
    }

    #[test]
    fn a_new_circuit_is_closed() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.permission(Instant::now()), Permission::Go);
        assert!(!circuit.is_open());
    }

    #[test]
    fn a_failure_opens_it_for_five_seconds() {
        let (mut circuit, now) = opened();
        assert_eq!(circuit.permission(now), Permission::Wait(now + seconds(5)));
        assert_eq!(circuit.permission(now + seconds(4)), Permission::Wait(now + seconds(5)));
        assert_eq!(circuit.permission(now + seconds(5)), Permission::Probe { avoid: None });
        assert!(circuit.is_open());
    }

    #[test]
    fn only_one_probe_is_out_at_a_time() {
        let (mut circuit, now) = opened();
        let due = now + seconds(5);
        assert!(matches!(circuit.permission(due), Permission::Probe { .. }));
        assert_eq!(circuit.permission(due), Permission::Wait(due + PROBE_LOST));
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_a_minute() {
        let (mut circuit, mut now) = opened();
        for wait in [5, 10, 20, 40, 60, 60, 60] {
            assert_eq!(circuit.permission(now), Permission::Wait(now + seconds(wait)));
            now += seconds(wait);
            assert!(matches!(circuit.permission(now), Permission::Probe { .. }));
            circuit.failed(now, EVEN);
        }
    }

    #[test]
    fn a_successful_probe_closes_it_and_the_next_wait_is_short_again() {
        let (mut circuit, now) = opened();
        circuit.permission(now + seconds(5));
        circuit.failed(now + seconds(5), EVEN);
        circuit.permission(now + seconds(15));
        circuit.succeeded();
        assert_eq!(circuit.permission(now + seconds(15)), Permission::Go);
        circuit.failed(now + seconds(16), EVEN);
        assert_eq!(circuit.permission(now + seconds(16)), Permission::Wait(now + seconds(21)));
    }

    #[test]
    fn late_reports_of_what_was_on_its_way_change_nothing() {
        let (mut circuit, now) = opened();
        circuit.failed(now + seconds(1), EVEN);
        circuit.succeeded();
        assert_eq!(circuit.permission(now + seconds(1)), Permission::Wait(now + seconds(5)));
    }

    #[test]
    fn the_next_probe_can_avoid_the_last_one() {
        let (mut circuit, now) = opened();
        circuit.permission(now + seconds(5));
        circuit.probing(A);
        circuit.failed(now + seconds(5), EVEN);
        assert_eq!(circuit.permission(now + seconds(15)), Permission::Probe { avoid: Some(A) });
    }

    #[test]
    fn a_lost_or_dropped_probe_makes_way_for_another() {
        let (mut circuit, now) = opened();
        let due = now + seconds(5);
        circuit.permission(due);
        circuit.probe_dropped(due);
        assert!(matches!(circuit.permission(due), Permission::Probe { .. }));
        assert!(matches!(circuit.permission(due + PROBE_LOST), Permission::Probe { .. }));
    }

    #[test]
    fn one_suspect_dispatch_opens_nothing_however_often() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        assert!((0..10).all(|_| !circuit.suspected(A, now, EVEN)));
        assert_eq!(circuit.permission(now), Permission::Go);
    }

    #[test]
    fn a_second_suspect_dispatch_opens_it() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        assert!(!circuit.suspected(A, now, EVEN));
        assert!(circuit.suspected(B, now, EVEN));
        assert_eq!(circuit.permission(now), Permission::Wait(now + seconds(5)));
        assert!(circuit.suspected(A, now, EVEN), "while it is open nothing is charged");
    }

    #[test]
    fn a_success_clears_the_suspicion() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        circuit.suspected(A, now, EVEN);
        circuit.succeeded();
        assert!(!circuit.suspected(B, now, EVEN));
    }

    #[test]
    fn a_suspect_probe_is_a_failed_probe() {
        let (mut circuit, now) = opened();
        circuit.permission(now + seconds(5));
        assert!(circuit.suspected(A, now + seconds(5), EVEN));
        assert_eq!(circuit.permission(now + seconds(5)), Permission::Wait(now + seconds(15)));
    }

    #[test]
    fn a_wait_is_spread_by_a_fifth() {
        assert_eq!((delay(0, 0.0), delay(0, 1.0)), (seconds(4), seconds(6)));
        assert_eq!((delay(9, 0.0), delay(u32::MAX, 1.0)), (seconds(48), seconds(72)));
        assert_eq!((delay(0, -1.0), delay(0, f64::NAN)), (seconds(4), seconds(5)));
    }
}
