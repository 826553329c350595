//! When the connections of one reactor end because their tokens do: four bytes for each connection,
//! once a member has a token that expires.

use std::time::{Duration, Instant};

use super::permission::unix_now;
use crate::reactor::Sweep;

/// Interval at which each connection is looked at: a connection ends at most that much after its
/// token.
const INTERVAL: Duration = Duration::from_secs(4);

/// When connections end, by their keys.
#[derive(Debug)]
pub(super) struct Expiries {
    /// Seconds since 1970, up to the year 2106; 0 for never.
    seconds: Vec<u32>,
    sweep: Sweep,
}

impl Expiries {
    pub(super) fn new() -> Self {
        Self {
            seconds: Vec::new(),
            sweep: Sweep::new(INTERVAL),
        }
    }

    /// Whether no connection ends.
    pub(super) fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }

    /// Notes when the connection at `key` ends, in seconds since 1970.
    pub(super) fn set(&mut self, key: u32, at: u64) {
        let index = key as usize;
        // A later time is beyond what the word can hold, and means never.
        let Ok(at) = u32::try_from(at) else {
            return;
        };
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, 0);
        }
        self.seconds[index] = at;
    }

    /// Forgets the connection at `key`.
    pub(super) fn clear(&mut self, key: u32) {
        if let Some(at) = self.seconds.get_mut(key as usize) {
            *at = 0;
        }
        while self.seconds.last() == Some(&0) {
            self.seconds.pop();
        }
        if self.seconds.len() < self.seconds.capacity() / 4 {
            self.seconds.shrink_to(self.seconds.len() * 2);
        }
    }

    /// The keys of connections that end now. They are looked at in slices.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u32> {
        self.due_at(now, unix_now)
    }

    fn due_at(&mut self, now: Instant, unix_now: impl FnOnce() -> u64) -> Vec<u32> {
        let keys = self.sweep.step(now, self.seconds.len() as u32);
        if keys.is_empty() {
            return Vec::new();
        }
        let unix_now = unix_now();
        let is_due = |key: &u32| {
            let at = self.seconds[*key as usize];
            at != 0 && u64::from(at) <= unix_now
        };
        keys.filter(is_due).collect()
    }

    /// When the next connections are looked at; `None` if no connection ends.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        // A sweep that has not begun yet begins in the next turn.
        self.sweep.next(now).or(Some(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_soon_after_its_token_and_not_before() {
        let mut expiries = Expiries::new();
        let start = Instant::now();
        assert_eq!(expiries.next(start), None);
        for key in 0..1000 {
            expiries.set(key, 100 + u64::from(key % 7));
        }
        let mut ended = vec![None; 1000];
        let mut now = start;
        let seconds = |now: Instant| 90.0 + (now - start).as_secs_f64();
        while let Some(next) = expiries.next(now)
            && next < start + Duration::from_secs(60)
        {
            now = next;
            for key in expiries.due_at(now, || seconds(now) as u64) {
                ended[key as usize] = Some(seconds(now));
                expiries.clear(key);
            }
        }
        for (key, ended) in (0..).zip(ended) {
            let late = ended.unwrap() - f64::from(100 + key % 7);
            assert!((0.0..8.0).contains(&late), "{key}: {late}");
        }
        assert!(expiries.is_empty());
    }

    #[test]
    fn times_that_never_come_are_not_kept() {
        let mut expiries = Expiries::new();
        expiries.set(5, u64::MAX);
        assert!(expiries.is_empty());
        expiries.set(5, 1);
        expiries.clear(4);
        assert!(!expiries.is_empty());
        expiries.clear(5);
        expiries.clear(9);
        assert!(expiries.is_empty());
    }
}
