//! The rate of an integration in one worker: mails go one interval apart, so that no second, minute or hour has
//! more of them than it may. Must not know what is sent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::domain::catalogue::Rate;

/// How far ahead turns are given away. Who would wait for longer asks again: the rate may have been changed.
const AHEAD: Duration = Duration::from_secs(2);

/// The turn that was given away last, which the next one follows by the interval of the rate as it is by then.
#[derive(Default)]
pub struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Waits for a turn at the rate of the moment, if there is one. A turn whose wait is given up is lost: the rate is
    /// a limit, not a promise.
    pub async fn turn(&self, rate: impl Fn() -> Option<Rate>) {
        while let Some(rate) = rate() {
            if let Some(turn) = self.take(rate, Instant::now()) {
                return sleep_until(turn).await;
            }
            sleep(AHEAD).await;
        }
    }

    fn take(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let interval = Duration::from_secs(rate.seconds) / rate.count.max(1);
        let turn = last.map_or(now, |last| (last + interval).max(now));
        if turn > now + AHEAD {
            return None;
        }
        *last = Some(turn);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_has_more_turns_than_the_rate() {
        let (pace, rate) = (Pace::default(), "50/s".parse().unwrap());
        let start = Instant::now();
        // Who is told to ask again does so, until it gets a turn.
        let ask = |number: u64| {
            (0..).find_map(|again| pace.take(rate, start + Duration::from_millis(number + 500 * again)))
        };
        let turns: Vec<Instant> = (0..200).map(|number| ask(number).unwrap()).collect();
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
        assert_eq!(pace.take(rate, later), Some(later));
        assert_eq!(pace.take(rate, later), Some(later + Duration::from_secs(1)));
    }

    #[test]
    fn a_slow_rate_that_was_corrected_stops_nothing_however_many_waited() {
        let (slow, quick): (Rate, Rate) = ("1/d".parse().unwrap(), "100/s".parse().unwrap());
        let (pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.take(slow, start), Some(start));
        for _ in 0..50 {
            assert_eq!(pace.take(slow, start), None);
        }
        let corrected = start + Duration::from_millis(3);
        assert_eq!(pace.take(quick, corrected), Some(start + Duration::from_millis(10)));
        assert_eq!(pace.take(slow, start + Duration::from_secs(80_000)), None, "a day has not gone by");
    }

    #[tokio::test]
    async fn nobody_waits_where_there_is_no_rate_any_more() {
        let pace = Pace::default();
        pace.take("1/d".parse().unwrap(), Instant::now());
        pace.turn(|| None).await;
    }
}
