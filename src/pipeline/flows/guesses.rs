//! Wrong passwords, counted for each member in this process. After some, one try is taken every few seconds,
//! whoever makes it: guessing becomes slow, and the member is never locked out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::id::ProjectId;

/// Wrong passwords within [`WINDOW`] that are taken as they come.
const FREE: u32 = 10;
const WINDOW: TimeDelta = TimeDelta::minutes(15);
/// Then one try is taken in so many seconds.
const APART: u32 = 3;
/// How many members are remembered; all are forgotten when there are more.
const MOST_REMEMBERED: usize = 100_000;

type Key = (ProjectId, String);

/// Who was tried how often.
#[derive(Default)]
pub(super) struct Guesses(Mutex<HashMap<Key, Tries>>);

struct Tries {
    since: DateTime<Utc>,
    wrong: u32,
    next_at: DateTime<Utc>,
}

impl Guesses {
    /// Whether a password may be tried now; else in how many seconds.
    pub(super) fn admit(&self, key: &Key, now: DateTime<Utc>) -> Result<(), u32> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tries) = all.get_mut(key) else { return Ok(()) };
        if now - tries.since >= WINDOW {
            all.remove(key);
            return Ok(());
        }
        if tries.wrong < FREE {
            return Ok(());
        }
        if now < tries.next_at {
            return Err(APART);
        }
        tries.next_at = now + TimeDelta::seconds(i64::from(APART));
        Ok(())
    }

    pub(super) fn failed(&self, key: Key, now: DateTime<Utc>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_REMEMBERED {
            all.clear();
        }
        let tries = all.entry(key).or_insert(Tries { since: now, wrong: 0, next_at: now });
        tries.wrong = tries.wrong.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn guessing_becomes_slow_and_the_member_gets_a_try_all_the_same() {
        let guesses = Guesses::default();
        let key = (ProjectId(Uuid::from_u128(1)), "mem_ada".to_owned());
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        for _ in 0..FREE {
            assert_eq!(guesses.admit(&key, at(0)), Ok(()));
            guesses.failed(key.clone(), at(0));
        }
        assert_eq!(guesses.admit(&key, at(0)), Ok(()));
        guesses.failed(key.clone(), at(0));
        assert_eq!(guesses.admit(&key, at(2)), Err(APART));
        assert_eq!(guesses.admit(&key, at(3)), Ok(()));
        assert_eq!(guesses.admit(&key, at(4)), Err(APART));
        let other = (key.0, "mem_bob".to_owned());
        assert_eq!(guesses.admit(&other, at(4)), Ok(()));
        assert_eq!(guesses.admit(&key, at(900)), Ok(()), "the window is over");
        assert_eq!(guesses.admit(&key, at(900)), Ok(()));
    }
}
