//! What can go wrong, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::format::HeaderError;
use super::survey::DamageReport;

/// Why a snapshot file can't be opened. Every message names the file and what to do. The file is
/// then as it was, unless the disk failed while what a crash had left was set right.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("snapshot {path}: can't {action}: {source}; {}", remedy(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process holds it.
    #[error(
        "snapshot {path} is locked by pid {pid}: stop that server, or choose another file with --snapshot"
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// The process that wrote itself into the file's header.
        pid: u32,
    },
    /// Not a file that this version can read.
    #[error(
        "snapshot {path}: {reason}; it was left as it is: move it away, or choose another file with --snapshot"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with its header.
        reason: HeaderError,
    },
    /// Something in it is not as it was written.
    #[error(
        "snapshot {path} is damaged: {damage}; it was left as it is: restore a backup, or start \
         once with --salvage, which keeps what is provably whole and puts the original beside it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        damage: DamageReport,
    },
    /// Larger than the mapping that was asked for.
    #[error("snapshot {path} has {length_bytes} bytes, more than --snapshot-max-bytes allows")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        length_bytes: u64,
    },
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

/// What the operator can do about it.
fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind::*;
    match error.kind() {
        StorageFull | QuotaExceeded => {
            "make space on that disk, or choose another file with --snapshot"
        }
        FileTooLarge => {
            "raise the limit on file sizes (ulimit -f), or choose another file with --snapshot"
        }
        PermissionDenied => {
            "give this user the right to read and write it, or choose another file with --snapshot"
        }
        ReadOnlyFilesystem => {
            "mount that file system for writing, or choose another file with --snapshot"
        }
        NotFound => {
            "make the directory, or choose another file with --snapshot, or none with --no-snapshot"
        }
        _ => "choose another file with --snapshot, or none with --no-snapshot",
    }
}

/// Why a room or kind can't be added.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The limit on rooms is reached.
    #[error("the store has its limit of {0} rooms; raise --max-rooms")]
    TooManyRooms(usize),
    /// The room has as many kinds as the format can hold.
    #[error("the room has as many kinds as the snapshot format can hold")]
    TooManyKinds,
    /// A name that the format can't hold.
    #[error("the name is too long for the snapshot format")]
    NameTooLong,
    /// The file has reached its largest size.
    #[error("the snapshot is full; raise --snapshot-max-bytes")]
    Full,
    /// The file can't grow.
    #[error("the snapshot can't grow: {0}; {remedy}", remedy = remedy(.0))]
    Grow(#[source] io::Error),
    /// The file has not grown in time. It does that off the reactors, and ahead of them.
    #[error("the snapshot has not grown in time; look at the disk")]
    Late,
    /// The file can't be written.
    #[error("the snapshot can't be written: {0}; {remedy}", remedy = remedy(.0))]
    Sync(#[source] io::Error),
}
