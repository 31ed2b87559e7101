//! The rate of an integration in one worker: mails go one interval apart, so that no second, minute or hour has
//! more of them than it may. Must not know what is sent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::domain::catalogue::Rate;

/// When the next mail may go.
#[derive(Default)]
pub struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Waits for a turn. A turn whose wait is given up is lost: the rate is a limit, not a promise.
    pub async fn next(&self, rate: Rate) {
        let turn = self.take(rate, Instant::now());
        sleep_until(turn).await;
    }

    fn take(&self, rate: Rate, now: Instant) -> Instant {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + Duration::from_secs(rate.seconds) / rate.count.max(1));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_has_more_turns_than_the_rate() {
        let (pace, rate) = (Pace::default(), "50/s".parse().unwrap());
        let start = Instant::now();
        let turns: Vec<Instant> = (0..200).map(|_| pace.take(rate, start)).collect();
        let within = |from: Instant| {
            turns.iter().filter(|turn| **turn >= from && **turn < from + Duration::from_secs(1)).count()
        };
        assert!(turns.iter().all(|turn| within(*turn) <= 50));
        assert_eq!(turns[0], start);
        assert!(turns[199] >= start + Duration::from_millis(3_980));
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let (pace, rate) = (Pace::default(), "1/s".parse().unwrap());
        let start = Instant::now();
        pace.take(rate, start);
        let later = start + Duration::from_mins(1);
        assert_eq!(pace.take(rate, later), later);
        assert_eq!(pace.take(rate, later), later + Duration::from_secs(1));
    }
}
