//! The status of a store, for logs, metrics and readiness.

use std::time::Duration;

use super::catalog::Catalog;
use super::cells::CellSource;
use super::format::CELL_BYTES;
use super::handle::Store;
use super::problem::{Problem, ProblemKind};
use super::statistics::FlushStatistics;

/// A flush that takes longer is a problem.
pub(super) const SLOW_FLUSH: Duration = Duration::from_secs(10);

/// How a store is doing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// Number of rooms in the store.
    pub(crate) rooms: usize,
    /// Size of the file, in bytes.
    pub(crate) file_bytes: u64,
    /// Size of the used part, up to the last record, in bytes.
    pub(crate) used_bytes: u64,
    /// Size of the freed cells in the used part, in bytes.
    pub(crate) freed_bytes: u64,
    /// Number of rooms and kinds that are in memory only, because the file has no space.
    pub(crate) unsaved_records: usize,
    /// Number of flushes that had something to write.
    pub(crate) flushes: u64,
    /// Number of flushes that failed.
    pub(crate) failed_flushes: u64,
    /// Number of pages that were flushed.
    pub(crate) flushed_pages: u64,
    /// Duration of the last flush.
    pub(crate) last_flush: Duration,
    /// Duration of the longest flush.
    pub(crate) longest_flush: Duration,
    /// Duration of all flushes together.
    pub(crate) total_flush: Duration,
    /// Maximum time for which the oldest change has not been on the disk.
    pub(crate) unsynced: Duration,
    /// What keeps the store from doing its job.
    pub(crate) problems: Vec<Problem>,
}

impl Store {
    /// How the store is doing now.
    pub(crate) fn status(&self) -> Status {
        if !self.space.file.has_file() {
            return Status {
                rooms: self.rooms(),
                problems: self.limits_reached(&self.catalog()),
                ..Status::default()
            };
        }
        let statistics = self.statistics();
        let catalog = self.catalog();
        let behind = statistics.behind();
        let is_changed = self.space.dirty.signal.is_set() || behind.is_some();
        Status {
            rooms: catalog.index.len(),
            file_bytes: self.space.file.end().byte_offset(),
            used_bytes: catalog.free.used_end().byte_offset(),
            freed_bytes: u64::from(catalog.free.freed_cells()) * CELL_BYTES as u64,
            unsaved_records: catalog.overflow.len(),
            flushes: statistics.count,
            failed_flushes: statistics.failed,
            flushed_pages: statistics.pages,
            last_flush: statistics.last,
            longest_flush: statistics.longest,
            total_flush: statistics.total,
            unsynced: if is_changed {
                statistics.age().unwrap_or_default()
            } else {
                Duration::ZERO
            },
            problems: self.problems(&statistics, &catalog, behind),
        }
    }

    fn problems(
        &self,
        statistics: &FlushStatistics,
        catalog: &Catalog,
        behind: Option<Duration>,
    ) -> Vec<Problem> {
        let unsaved_records = catalog.overflow.len();
        let growth_error = catalog.growth_error.clone();
        let growth =
            growth_error
                .filter(|_| unsaved_records > 0)
                .map(|error| ProblemKind::Growth {
                    error,
                    unsaved_records,
                });
        let flush = statistics.error.clone().map(ProblemKind::Flush);
        let slow = behind
            .filter(|behind| *behind > SLOW_FLUSH)
            .map(ProblemKind::Slow);
        let kinds = [growth, flush, slow].into_iter().flatten();
        let mut problems: Vec<Problem> = kinds.map(|kind| self.problem(kind)).collect();
        problems.extend(self.limits_reached(catalog));
        problems
    }

    /// The limits that keep the store from taking new rooms.
    fn limits_reached(&self, catalog: &Catalog) -> Vec<Problem> {
        let has_all_rooms = catalog.index.len() >= self.max_rooms;
        let rooms = has_all_rooms.then_some(ProblemKind::TooManyRooms(self.max_rooms));
        let full = catalog.is_full.then_some(ProblemKind::Full);
        let kinds = [rooms, full].into_iter().flatten();
        kinds.map(|kind| self.problem(kind)).collect()
    }

    fn problem(&self, kind: ProblemKind) -> Problem {
        Problem {
            path: self.space.file.path().to_owned(),
            kind,
        }
    }
}
