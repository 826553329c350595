//! What can go wrong, as facts. What the operator can do is said elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::damage::DamageReport;
use super::format::HeaderError;

/// Why a snapshot file can't be opened. The file is left as it was, unless the disk failed during
/// the repair of what a crash had left.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("snapshot {path}: can't {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// Why the operating system refused.
        source: io::Error,
    },
    /// The path leads to something that must not be opened.
    #[error("snapshot {path}: {reason}")]
    Refused {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: Refusal,
    },
    /// Another process has locked the file.
    #[error("snapshot {path} is locked by pid {pid}")]
    Locked {
        /// The file.
        path: PathBuf,
        /// The process that wrote its pid into the file's header.
        pid: u32,
    },
    /// This version can't read the file.
    #[error("snapshot {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with its header.
        reason: HeaderError,
    },
    /// Something in the file is not as it was written.
    #[error("snapshot {path} is damaged: {damage}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged, and where.
        damage: DamageReport,
    },
    /// The file is larger than the limit.
    #[error("snapshot {path} has {length_bytes} bytes, more than the limit of {max_bytes}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Size of the file, in bytes.
        length_bytes: u64,
        /// Maximum size, in bytes.
        max_bytes: u64,
    },
}

/// Why a path is refused, whatever the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The path leads to something else than a file with content.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// The path leads to a link, but not to a file.
    #[error("it is a link that leads nowhere")]
    DanglingLink,
    /// The path leads to a link that another user has made, and from there to a file that does not
    /// belong to that user.
    #[error("it is a link of another user to a file that is not theirs")]
    ForeignLink,
}

impl OpenError {
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }
}

/// Why the store can't take a room or a kind, or make a change last.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store has its maximum number of rooms.
    #[error("the store has its maximum of {0} rooms")]
    TooManyRooms(usize),
    /// The room has as many kinds as the format can hold.
    #[error("the room has as many kinds as the snapshot format can hold")]
    TooManyKinds,
    /// The room was removed.
    #[error("the room was removed")]
    RoomRemoved,
    /// The format can't hold so long a name.
    #[error("the name is too long for the snapshot format")]
    NameTooLong,
    /// The file has its maximum size.
    #[error("the snapshot has its maximum size")]
    Full,
    /// The file can't grow.
    #[error("the snapshot can't grow: {0}")]
    Grow(#[source] io::Error),
    /// The file has not grown in time. The grower makes it larger, ahead of need.
    #[error("the snapshot has not grown in time")]
    Late,
    /// The file can't be written to the disk.
    #[error("the snapshot can't be written to the disk: {0}")]
    Sync(#[source] io::Error),
}

/// Why a store can't be closed in order.
#[derive(Debug, Error)]
pub enum CloseError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The disk failed while the space of removed rooms was reclaimed.
    #[error(transparent)]
    Reclaim(StoreError),
    /// The file had no space for some rooms and kinds, which were in memory only.
    #[error("{records} rooms and kinds could not be saved: {reason}")]
    Unsaved {
        /// Number of rooms and kinds.
        records: usize,
        /// Why the file could not grow.
        reason: StoreError,
    },
}

impl From<StoreError> for io::Error {
    /// The operating system's error if there is one, so that its kind is not lost.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Grow(source) | StoreError::Sync(source) => source,
            other => Self::other(other),
        }
    }
}

impl From<CloseError> for io::Error {
    /// The operating system's error if there is one, so that its kind is not lost.
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Io(source) => source,
            CloseError::Reclaim(error) => error.into(),
            CloseError::Unsaved { .. } => Self::other(error),
        }
    }
}
