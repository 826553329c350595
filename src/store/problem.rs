//! Problems: what keeps a store from doing its job, as facts.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::error::StoreError;

/// An error of the operating system, kept to be reported later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskError {
    /// Kind of the error.
    pub(crate) kind: io::ErrorKind,
    /// The operating system's message.
    pub(crate) message: String,
}

impl From<&io::Error> for DiskError {
    fn from(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

/// Why the file can't grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GrowthError {
    /// The disk has no space, or fails.
    Disk(DiskError),
    /// The file has its maximum size.
    Full,
    /// The file has not grown in time.
    Late,
}

impl From<&StoreError> for GrowthError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Grow(source) => Self::Disk(source.into()),
            StoreError::Full => Self::Full,
            _ => Self::Late,
        }
    }
}

impl fmt::Display for GrowthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => f.write_str(&error.message),
            Self::Full => f.write_str("it has its maximum size"),
            Self::Late => f.write_str("it has not grown in time"),
        }
    }
}

/// Something that keeps the store from doing its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The snapshot file.
    pub(crate) path: PathBuf,
    /// What is wrong.
    pub(crate) kind: ProblemKind,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// The file can't grow.
    Growth {
        /// Why not.
        error: GrowthError,
        /// Number of rooms and kinds that are in memory only.
        unsaved_records: usize,
    },
    /// The last flush failed.
    Flush(DiskError),
    /// Changes have waited too long for the disk.
    Slow(Duration),
    /// The store has as many rooms as it may.
    TooManyRooms(usize),
    /// The file has its maximum size, and had no space for a new room or kind.
    Full,
}

impl ProblemKind {
    /// One word for logs, which names the kind without the details.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Growth { .. } => "growth",
            Self::Flush(_) => "flush",
            Self::Slow(_) => "slow",
            Self::TooManyRooms(_) => "rooms",
            Self::Full => "full",
        }
    }

    /// Whether both are of one kind; the details may differ.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            ProblemKind::Growth {
                error,
                unsaved_records,
            } => write!(
                f,
                "snapshot {path} can't grow: {error}; \
                 {unsaved_records} rooms and kinds are in memory only"
            ),
            ProblemKind::Flush(error) => write!(
                f,
                "snapshot {path} can't be written to the disk: {}; \
                 a power loss would undo recent counts",
                error.message
            ),
            ProblemKind::Slow(behind) => write!(
                f,
                "snapshot {path} has not been written to the disk for {} s; \
                 a power loss would undo counts since then",
                behind.as_secs()
            ),
            ProblemKind::TooManyRooms(max) => write!(
                f,
                "the store has reached its limit of {max} rooms; new rooms are not counted"
            ),
            ProblemKind::Full => write!(
                f,
                "snapshot {path} has its maximum size; new rooms and kinds are not counted"
            ),
        }
    }
}
