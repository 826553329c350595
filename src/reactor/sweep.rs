//! Pings: the sweep visits the slab in slices, so that it visits each key once per interval and
//! spreads the pings of a million connections over it. It needs no memory per connection.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Maximum number of slices in an interval, so that an idle reactor wakes seldom.
const MAX_SLICES: u32 = 64;
/// Number of keys in a slice while few are in use.
const MIN_SLICE: u32 = 64;
/// Maximum number of keys visited in one turn of the loop.
const MAX_KEYS_PER_TURN: u32 = 512;

/// How far the sweep over the slab has come.
#[derive(Debug)]
pub(crate) struct Sweep {
    interval: Duration,
    cursor: u32,
    /// Keys of the current slice that the sweep has not visited yet.
    left: u32,
    due: Option<Instant>,
}

impl Sweep {
    /// Creates a sweep that visits each key once per `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            cursor: 0,
            left: 0,
            due: None,
        }
    }

    /// The keys to visit now; none before the slice is due. `end` is an upper bound of the keys in
    /// use.
    pub(crate) fn step(&mut self, now: Instant, end: u32) -> Range<u32> {
        if self.cursor >= end {
            // The slab has shrunk or the sweep has come round: both end the slice.
            self.cursor = 0;
            self.left = 0;
        }
        if end == 0 {
            self.due = None;
            return 0..0;
        }
        if self.left == 0 {
            let slices = (end / MIN_SLICE).clamp(1, MAX_SLICES);
            let due = *self.due.get_or_insert(now + self.interval / slices);
            if due > now {
                return 0..0;
            }
            self.left = end.div_ceil(slices).min(end - self.cursor);
            self.due = Some(now + self.interval / slices);
        }
        let length = self.left.min(MAX_KEYS_PER_TURN).min(end - self.cursor);
        let keys = self.cursor..self.cursor + length;
        self.cursor += length;
        self.left -= length;
        keys
    }

    /// The interval at which the sweep visits each key.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// When the next slice is due; `now` if the current slice isn't done.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        if self.left > 0 { Some(now) } else { self.due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the visits of each key, and the turns that visited any, in `intervals` intervals.
    fn visits(end: u32, intervals: u32) -> (Vec<u32>, u32) {
        let interval = Duration::from_secs(30);
        let mut sweep = Sweep::new(interval);
        let mut now = Instant::now();
        let finish = now + interval * intervals + Duration::from_millis(1);
        let mut visits = vec![0; end as usize];
        let mut turns = 0;
        loop {
            let keys = sweep.step(now, end);
            turns += u32::from(!keys.is_empty());
            keys.for_each(|key| visits[key as usize] += 1);
            match sweep.next(now) {
                Some(due) if due <= finish => now = due.max(now),
                _ => return (visits, turns),
            }
        }
    }

    #[test]
    fn the_sweep_visits_every_key_once_per_interval() {
        for end in [1, 63, 64, 1000, 4096, 100_000] {
            let (visits, _) = visits(end, 4);
            let (least, most) = (visits.iter().min(), visits.iter().max());
            assert!(
                least >= Some(&3) && most <= Some(&5),
                "{end}: {least:?} {most:?}"
            );
        }
    }

    #[test]
    fn few_connections_cause_few_turns() {
        assert_eq!(visits(64, 4).1, 4);
        assert!(visits(1024, 4).1 <= 64);
    }

    #[test]
    fn nothing_is_due_without_connections() {
        let mut sweep = Sweep::new(Duration::from_secs(1));
        let now = Instant::now();
        assert!(sweep.step(now, 64).is_empty());
        assert!(sweep.next(now).is_some());
        assert!(sweep.step(now, 0).is_empty());
        assert_eq!(sweep.next(now), None);
    }

    #[test]
    fn a_slab_that_shrinks_ends_the_slice() {
        let mut sweep = Sweep::new(Duration::from_secs(64));
        let mut now = Instant::now();
        assert!(sweep.step(now, 1 << 20).is_empty());
        now += Duration::from_secs(1);
        assert!(!sweep.step(now, 1 << 20).is_empty());
        assert_eq!(sweep.next(now), Some(now), "the slice must go on");
        assert!(sweep.step(now, 64).is_empty());
        assert!(sweep.next(now) > Some(now), "the slice must end");

        now += Duration::from_secs(64);
        assert!(!sweep.step(now, 1 << 20).is_empty());
        assert!(sweep.step(now, 0).is_empty());
        assert_eq!(sweep.next(now), None);
    }
}
