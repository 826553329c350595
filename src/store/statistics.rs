//! Statistics of flushes, and what they say about the disk.

use std::io;
use std::time::{Duration, Instant};

use super::problem::DiskError;

/// What flushes have done, and whether one is under way.
#[derive(Debug, Default)]
pub(super) struct FlushStatistics {
    /// Number of flushes that had something to write.
    pub(super) count: u64,
    /// Number of those that failed.
    pub(super) failed: u64,
    /// Number of pages that were written.
    pub(super) pages: u64,
    /// Duration of the last flush.
    pub(super) last: Duration,
    /// Duration of the longest flush.
    pub(super) longest: Duration,
    /// Duration of all flushes together.
    pub(super) total: Duration,
    /// Why the last flush failed, if it did.
    pub(super) error: Option<DiskError>,
    /// When the last successful flush began. What was counted before is on the disk.
    synced_at: Option<Instant>,
    /// When the first of the flushes began that have failed since.
    failing_since: Option<Instant>,
    /// When the flush began that is under way, or waits until it can be.
    running_since: Option<Instant>,
}

impl FlushStatistics {
    /// A flush begins, or will begin soon.
    pub(super) fn begin(&mut self) {
        self.running_since.get_or_insert_with(Instant::now);
    }

    /// A flush has ended, with the number of pages that it wrote.
    pub(super) fn end(&mut self, flushed: &io::Result<usize>, duration: Duration) {
        let Some(start) = self.running_since.take() else {
            return;
        };
        if matches!(flushed, Ok(0)) {
            self.synced_at = Some(start);
            return;
        }
        self.count += 1;
        self.last = duration;
        self.longest = self.longest.max(duration);
        self.total += duration;
        match flushed {
            Ok(pages) => {
                self.pages += *pages as u64;
                self.synced_at = Some(start);
                self.failing_since = None;
                self.error = None;
            }
            Err(error) => {
                self.failed += 1;
                self.failing_since.get_or_insert(start);
                self.error = Some(DiskError::from(error));
            }
        }
    }

    /// Whether a flush is under way, or waits until it can be.
    pub(super) fn is_running(&self) -> bool {
        self.running_since.is_some()
    }

    /// Time since the last successful flush began.
    pub(super) fn age(&self) -> Option<Duration> {
        self.synced_at.map(|at| at.elapsed())
    }

    /// For how long changes have waited for the disk, because flushes fail or one takes long.
    pub(super) fn behind(&self) -> Option<Duration> {
        let since = self.failing_since.or(self.running_since)?;
        Some(since.elapsed())
    }
}
