//! How the store is doing, for logs, metrics and readiness.

use std::io;
use std::time::Duration;

use super::Store;
use super::format::CELL_BYTES;
use super::mapping::Cells;

/// A flush that takes longer is a problem.
pub(super) const SLOW_FLUSH: Duration = Duration::from_secs(10);

/// How the store is doing.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Rooms that have a record.
    pub rooms: usize,
    /// The size of the file, in bytes.
    pub file_bytes: u64,
    /// How much of it is used, in bytes.
    pub used_bytes: u64,
    /// How much of what was used is free again, in bytes.
    pub freed_bytes: u64,
    /// Rooms and kinds that are in memory only, since the file has no place for them.
    pub unsaved_records: usize,
    /// How often what had changed was flushed.
    pub flushes: u64,
    /// How often that failed.
    pub failed_flushes: u64,
    /// Pages that were flushed.
    pub flushed_pages: u64,
    /// How long the last flush took.
    pub last_flush: Duration,
    /// How long the longest took.
    pub longest_flush: Duration,
    /// How long all took together.
    pub total_flush: Duration,
    /// For how long the oldest change has not been on the disk, at most.
    pub unsynced: Duration,
    /// For how long the disk has been behind, because flushes fail or one takes long.
    pub behind: Option<Duration>,
    /// What is wrong, in words for the operator, with what to do about it.
    pub problems: Vec<Problem>,
}

/// The label of a flush that takes too long.
pub const SLOW: &str = "slow";

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One word for it.
    pub label: &'static str,
    /// All that is to be said.
    pub message: String,
}

impl Store {
    /// How the store is doing now.
    pub fn status(&self) -> Status {
        if !self.core.memory.file.has_file() {
            return Status {
                rooms: self.rooms(),
                ..Status::default()
            };
        }
        let flushes = self.flushes();
        let index = self.index();
        let path = self.core.memory.file.path().display();
        let mut problems = Vec::new();
        let unsaved_records = index.spares.len();
        if let (Some(error), true) = (&index.growth_error, unsaved_records > 0) {
            problems.push(Problem {
                label: "growth",
                message: format!(
                    "the snapshot {path} can't grow: {}; {unsaved_records} rooms and kinds are \
                     counted in memory only; {}",
                    error.message, error.remedy
                ),
            });
        }
        if let Some((kind, error)) = &flushes.error {
            problems.push(Problem {
                label: "flush",
                message: format!(
                    "the snapshot {path} can't be written to the disk: {error}; counts would not \
                     survive the machine's death; {}",
                    remedy(*kind)
                ),
            });
        }
        let behind = flushes.behind();
        if let Some(behind) = behind.filter(|behind| *behind > SLOW_FLUSH) {
            problems.push(Problem {
                label: SLOW,
                message: format!(
                    "the snapshot {path} has not been written to the disk for {} s; counts since \
                     then would not survive the machine's death; look at the disk",
                    behind.as_secs()
                ),
            });
        }
        Status {
            rooms: index.places.len(),
            file_bytes: u64::from(self.core.memory.file.cells()) * CELL_BYTES as u64,
            used_bytes: u64::from(index.places.free.next_cell()) * CELL_BYTES as u64,
            freed_bytes: u64::from(index.places.free.freed_cells()) * CELL_BYTES as u64,
            unsaved_records,
            flushes: flushes.count,
            failed_flushes: flushes.failed,
            flushed_pages: flushes.pages,
            last_flush: flushes.last,
            longest_flush: flushes.longest,
            total_flush: flushes.total,
            unsynced: match self.core.dirty.signal.is_set() || behind.is_some() {
                true => flushes.age().unwrap_or_default(),
                false => Duration::ZERO,
            },
            behind,
            problems,
        }
    }
}

pub(super) fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make space on that disk",
        io::ErrorKind::FileTooLarge => "raise the limit on file sizes (ulimit -f), and restart",
        _ => "look at the disk",
    }
}
