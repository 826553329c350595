//! The search for connections that hold the kernel's memory without any progress, while it is
//! scarce. It visits the slab in slices and needs one bit of a connection: the first round marks
//! those that are stalled, progress removes the mark, and the next round ends those that are still
//! marked.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Minimum time between two questions whether memory is scarce, while it is not.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Minimum time between two visits to a connection: how long it may be stalled.
const PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of keys visited in one turn of the loop. Memory that a turn frees may end the
/// search.
const MAX_KEYS_PER_TURN: u32 = 512;

/// How far the search has come.
#[derive(Debug)]
pub(super) struct StalledSearch {
    /// When to go on.
    due: Instant,
    cursor: u32,
    /// Whether memory was scarce when the reactor last asked.
    is_scarce: bool,
}

impl StalledSearch {
    /// Creates a search that first asks at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now,
            cursor: 0,
            is_scarce: false,
        }
    }

    /// Ends the search: memory is not scarce. Nothing wakes the reactor to ask again.
    pub(super) fn rest(&mut self, now: Instant) {
        self.is_scarce = false;
        self.cursor = 0;
        self.due = now + CHECK_INTERVAL;
    }

    /// The keys to visit now. `end` is an upper bound of the keys in use.
    pub(super) fn step(&mut self, now: Instant, end: u32) -> Range<u32> {
        self.is_scarce = true;
        let start = self.cursor.min(end);
        let stop = start.saturating_add(MAX_KEYS_PER_TURN).min(end);
        if stop == end {
            self.cursor = 0;
            self.due = now + PATIENCE;
        } else {
            self.cursor = stop;
            self.due = now;
        }
        start..stop
    }

    /// Whether it is time to go on.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// When the reactor must go on; `None` if it need not.
    pub(super) fn next(&self) -> Option<Instant> {
        self.is_scarce.then_some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_visited_once_in_a_round() {
        let mut now = Instant::now();
        for end in [0, 1, 511, 512, 513, 5000] {
            let mut search = StalledSearch::new(now);
            for _ in 0..3 {
                let mut visited = Vec::new();
                let began = now;
                loop {
                    visited.extend(search.step(now, end));
                    now = search.next().unwrap();
                    if now > began {
                        break;
                    }
                }
                assert_eq!(visited, (0..end).collect::<Vec<_>>());
                assert!(now >= began + PATIENCE);
            }
        }
    }

    #[test]
    fn memory_that_is_not_scarce_wakes_nothing() {
        let now = Instant::now();
        let mut search = StalledSearch::new(now);
        assert_eq!(search.next(), None);
        search.step(now, 5000);
        assert_eq!(search.next(), Some(now));
        search.rest(now);
        assert_eq!(search.next(), None);
        assert_eq!(search.step(now, 5000).start, 0);
    }

    #[test]
    fn a_slab_that_shrinks_ends_the_round() {
        let now = Instant::now();
        let mut search = StalledSearch::new(now);
        search.step(now, 5000);
        assert!(search.step(now, 100).is_empty());
        assert_eq!(search.next(), Some(now + PATIENCE));
    }
}
