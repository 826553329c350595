//! How busy a room is, as whoever looks at it from time to time sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the last look at a room found. One thread looks.
#[derive(Debug)]
pub(super) struct Activity {
    version: AtomicU64,
    total: AtomicU64,
    /// Reactions in a thousand seconds, since the look before.
    per_kilosecond: AtomicU64,
}

impl Activity {
    /// A room that was loaded with so many reactions.
    pub(super) fn new(version: u64, total: u64) -> Self {
        Self {
            version: AtomicU64::new(version),
            total: AtomicU64::new(total),
            per_kilosecond: AtomicU64::new(0),
        }
    }

    /// Looks at the room: `total` is asked only if the version has moved in the time that `passed`.
    pub(super) fn look(&self, version: u64, passed: Duration, total: impl FnOnce() -> u64) {
        if self.version.swap(version, Ordering::Relaxed) == version {
            self.per_kilosecond.store(0, Ordering::Relaxed);
            return;
        }
        let total = total();
        // After a reset there are fewer.
        let more = total.saturating_sub(self.total.swap(total, Ordering::Relaxed));
        let rate = more as f64 * 1000.0 / passed.as_secs_f64().max(0.001);
        self.per_kilosecond.store(rate as u64, Ordering::Relaxed);
    }

    /// The counts were set to zero.
    pub(super) fn reset(&self) {
        self.total.store(0, Ordering::Relaxed);
    }

    /// Reactions that were counted.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Reactions per second.
    pub(super) fn per_second(&self) -> f64 {
        self.per_kilosecond.load(Ordering::Relaxed) as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_since_the_last_look() {
        let second = Duration::from_secs(1);
        let activity = Activity::new(1, 100);
        activity.look(1, second, || unreachable!("nothing has changed"));
        assert_eq!((activity.total(), activity.per_second()), (100, 0.0));
        activity.look(2, second * 2, || 150);
        assert_eq!((activity.total(), activity.per_second()), (150, 25.0));
        activity.look(3, second, || 0);
        assert_eq!((activity.total(), activity.per_second()), (0, 0.0));
        activity.look(4, Duration::ZERO, || 1);
        assert_eq!(activity.per_second(), 1000.0);
    }
}
