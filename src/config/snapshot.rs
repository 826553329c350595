//! Where and how the counts are kept.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};

use super::parse::{ranged, room_ttl};
use crate::store::{
    DEFAULT_MAX_FILE_BYTES, DEFAULT_MAX_OVERFLOW_BYTES, DEFAULT_MAX_ROOMS, MAX_FILE_BYTES,
    MIN_FILE_BYTES, StoreLimits,
};

/// Default snapshot file.
pub(crate) const DEFAULT_SNAPSHOT: &str = "ovation.snapshot";
/// Default interval between two flushes, in milliseconds.
const DEFAULT_FLUSH_INTERVAL_MS: u64 = 1000;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Snapshot")]
pub(crate) struct SnapshotFileArgs {
    /// File that keeps the counts
    #[arg(long, value_name = "PATH", env = "OVATION_SNAPSHOT", default_value = DEFAULT_SNAPSHOT)]
    snapshot: PathBuf,

    /// Keep the counts in memory only
    #[arg(long, env = "OVATION_NO_SNAPSHOT", value_parser = BoolishValueParser::new())]
    no_snapshot: bool,

    /// Open a damaged snapshot with what is provably whole; the original is kept beside it
    #[arg(long, env = "OVATION_SALVAGE", value_parser = BoolishValueParser::new())]
    pub(crate) salvage: bool,

    /// Interval between flushes, in milliseconds: the most that a power loss can undo
    #[arg(long, value_name = "MS", env = "OVATION_FLUSH_INTERVAL_MS",
          default_value_t = DEFAULT_FLUSH_INTERVAL_MS,
          value_parser = value_parser!(u64).range(1..=3_600_000))]
    flush_interval_ms: u64,

    /// Remove rooms without members that have counted nothing for this long, such as 30d or 12h
    /// [default: never]
    #[arg(long, value_name = "TIME", env = "OVATION_ROOM_TTL", value_parser = room_ttl)]
    pub(crate) room_ttl: Option<Duration>,

    /// Maximum number of rooms with counts
    #[arg(long, value_name = "N", env = "OVATION_MAX_ROOMS", default_value_t = DEFAULT_MAX_ROOMS,
          value_parser = ranged(1, u32::MAX as usize / 2))]
    max_rooms: usize,

    /// Maximum size of the snapshot file, in bytes; address space is reserved for it
    #[arg(long, value_name = "BYTES", env = "OVATION_SNAPSHOT_MAX_BYTES",
          default_value_t = DEFAULT_MAX_FILE_BYTES,
          value_parser = value_parser!(u64).range(MIN_FILE_BYTES..=MAX_FILE_BYTES))]
    snapshot_max_bytes: u64,

    /// Maximum memory for new rooms and kinds while the snapshot file can't grow, in bytes
    #[arg(long, value_name = "BYTES", env = "OVATION_MAX_SPARE_BYTES",
          default_value_t = DEFAULT_MAX_OVERFLOW_BYTES,
          value_parser = value_parser!(u64).range(0..=MAX_FILE_BYTES / 2))]
    max_spare_bytes: u64,
}

impl SnapshotFileArgs {
    /// The snapshot file; `None` if the counts are kept in memory only.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        (!self.no_snapshot).then_some(&self.snapshot)
    }

    /// Interval between flushes.
    pub(crate) fn flush_interval(&self) -> Duration {
        Duration::from_millis(self.flush_interval_ms)
    }

    /// The limits of the store.
    pub(crate) fn store_limits(&self) -> StoreLimits {
        StoreLimits {
            max_file_bytes: self.snapshot_max_bytes,
            max_rooms: self.max_rooms,
            max_overflow_bytes: self.max_spare_bytes,
        }
    }
}
