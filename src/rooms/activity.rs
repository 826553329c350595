//! How busy a room is, sampled from time to time by one thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the last sample of a room found. One thread samples.
#[derive(Debug)]
pub(super) struct Activity {
    version: AtomicU64,
    total: AtomicU64,
    /// Reactions per thousand seconds between the last two samples.
    per_kilosecond: AtomicU64,
}

impl Activity {
    /// Starts with a room that was loaded at `version` with `total` reactions.
    pub(super) fn new(version: u64, total: u64) -> Self {
        Self {
            version: AtomicU64::new(version),
            total: AtomicU64::new(total),
            per_kilosecond: AtomicU64::new(0),
        }
    }

    /// Samples the room, `passed` after the last sample. Calls `total` only if the version has
    /// moved.
    pub(super) fn sample(&self, version: u64, passed: Duration, total: impl FnOnce() -> u64) {
        if self.version.swap(version, Ordering::Relaxed) == version {
            self.per_kilosecond.store(0, Ordering::Relaxed);
            return;
        }
        let total = total();
        // A reset makes the total smaller.
        let more = total.saturating_sub(self.total.swap(total, Ordering::Relaxed));
        let rate = more as f64 * 1000.0 / passed.as_secs_f64().max(0.001);
        self.per_kilosecond.store(rate as u64, Ordering::Relaxed);
    }

    /// Notes that the counts were set to zero.
    pub(super) fn reset(&self) {
        self.total.store(0, Ordering::Relaxed);
    }

    /// Number of reactions at the last sample.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Reactions per second between the last two samples.
    pub(super) fn per_second(&self) -> f64 {
        self.per_kilosecond.load(Ordering::Relaxed) as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_covers_the_time_since_the_last_sample() {
        let second = Duration::from_secs(1);
        let activity = Activity::new(1, 100);
        activity.sample(1, second, || unreachable!("nothing has changed"));
        assert_eq!((activity.total(), activity.per_second()), (100, 0.0));
        activity.sample(2, second * 2, || 150);
        assert_eq!((activity.total(), activity.per_second()), (150, 25.0));
        activity.sample(3, second, || 0);
        assert_eq!((activity.total(), activity.per_second()), (0, 0.0));
        activity.sample(4, Duration::ZERO, || 1);
        assert_eq!(activity.per_second(), 1000.0);
    }
}
