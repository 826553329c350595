//! The lock on a snapshot file, and the files that are refused before anything is done to them.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::regular::{self, Access, FileError, Origin, RegularFile};
use super::size::{MAX_FILE_BYTES, max_cells};
use crate::store::error::OpenError;
use crate::store::format::{CELL_BYTES, CellId, HeaderCell, HeaderError, OWNER_OFFSET};

/// Bytes that are read at once in search of content.
const CHUNK_BYTES: usize = 1 << 20;

/// A lock on a snapshot file, which no other process can use as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: RegularFile,
    /// Path as the operator gave it.
    path: PathBuf,
    /// Pid that the file named as its owner before, if that was replaced.
    owner_before: Option<[u8; 8]>,
}

impl Lock {
    /// Locks the file, which must exist. Changes nothing but the owner's pid in the header, until
    /// the lock is dropped.
    ///
    /// # Errors
    /// [`OpenError`]; the file is left as it was.
    pub(crate) fn acquire(path: &Path) -> Result<Self, OpenError> {
        let file = open_locked(path, |path| regular::open(path, Access::ReadWrite))?;
        Self::hold(file, path)
    }

    /// Locks the file, which is created empty if it does not exist.
    ///
    /// # Errors
    /// [`OpenError`]; an existing file is left as it was.
    pub(crate) fn acquire_or_create(path: &Path) -> Result<Self, OpenError> {
        Self::hold(open_or_create_locked(path)?, path)
    }

    fn hold(file: RegularFile, path: &Path) -> Result<Self, OpenError> {
        refuse_foreign(&file.file, path, max_cells(MAX_FILE_BYTES))?;
        let failed = |action| OpenError::io(path, action);
        let mut lock = Self {
            file,
            path: path.to_owned(),
            owner_before: None,
        };
        let length = lock.metadata()?.len();
        let file = &lock.file.file;
        if length >= CellId::FIRST_RECORD.byte_offset() {
            let mut before = [0; 8];
            let read = file.read_exact_at(&mut before, OWNER_OFFSET);
            read.map_err(failed("read it"))?;
            // A process that finds the file locked reports this pid.
            let pid = u64::from(std::process::id()).to_le_bytes();
            let written = file.write_all_at(&pid, OWNER_OFFSET);
            written.map_err(failed("write it"))?;
            lock.owner_before = Some(before);
        }
        Ok(lock)
    }

    /// The locked file.
    pub(crate) fn file(&self) -> &File {
        &self.file.file
    }

    /// Path of the file as the operator gave it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the file itself, behind all links.
    pub(crate) fn real_path(&self) -> &Path {
        &self.file.path
    }

    /// The file's size, mode and owner.
    ///
    /// # Errors
    /// [`OpenError::Io`] if the operating system refuses.
    pub(crate) fn metadata(&self) -> Result<Metadata, OpenError> {
        let metadata = self.file().metadata();
        metadata.map_err(OpenError::io(&self.path, "read its metadata"))
    }

    /// Whether the file was created to be locked.
    pub(crate) fn is_new(&self) -> bool {
        self.file.origin == Origin::Created
    }

    /// Removes the file if it was only created to be locked, and is still empty.
    pub(crate) fn remove_if_new(&self) {
        let path = self.real_path();
        if self.is_new()
            && let (Ok(named), Ok(held)) = (path.symlink_metadata(), self.file().metadata())
            && held.len() == 0
            && is_same_file(&named, &held)
        {
            // If it can't be removed, it is a snapshot without rooms.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(before) = self.owner_before {
            // If this fails, only the pid in a message is wrong.
            let _ = self.file().write_all_at(&before, OWNER_OFFSET);
        }
    }
}

/// Opens the file, or creates it, and locks it.
pub(super) fn open_or_create_locked(path: &Path) -> Result<RegularFile, OpenError> {
    open_locked(path, regular::open_or_create)
}

/// Opens and locks the file. If compaction replaces the file in between, opens and locks the
/// new one.
///
/// The lock is that of `flock`, as in all versions. Every lock of Unix can be kept from its holder
/// by a process that has the file open for reading: `flock` by an exclusive lock, the locks of
/// `fcntl` by a shared one. What keeps other users away is the file's mode.
fn open_locked(
    path: &Path,
    open: impl Fn(&Path) -> Result<RegularFile, FileError>,
) -> Result<RegularFile, OpenError> {
    let failed = |action| OpenError::io(path, action);
    loop {
        let regular = open(path).map_err(FileError::at(path))?;
        let file = &regular.file;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = [0; 8];
                // A process that is just creating the file has not written its pid yet.
                let _ = file.read_at(&mut pid, OWNER_OFFSET);
                return Err(OpenError::Locked {
                    path: path.to_owned(),
                    pid: u64::from_le_bytes(pid) as u32,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock it")(source)),
        }
        let held = file.metadata().map_err(failed("read its metadata"))?;
        match std::fs::metadata(path) {
            Ok(named) if is_same_file(&named, &held) => return Ok(regular),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("read its metadata")(source)),
        }
    }
}

fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Refuses a file that is certainly not a snapshot, or has more than `max_cells`.
pub(super) fn refuse_foreign(file: &File, path: &Path, max_cells: u32) -> Result<(), OpenError> {
    let failed = |action| OpenError::io(path, action);
    let unreadable = |reason| OpenError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let length_bytes = file.metadata().map_err(failed("read its size"))?.len();
    let mut bytes = [0; CELL_BYTES];
    file.read_at(&mut bytes, 0).map_err(failed("read it"))?;
    let header = HeaderCell::from_bytes(&bytes);
    let max_bytes = u64::from(max_cells) * CELL_BYTES as u64;
    match header.check() {
        // An unfinished header may be one of a file that was only just created.
        Err(reason) if reason != HeaderError::Checksum && !header.is_unfinished() => {
            Err(unreadable(reason))
        }
        _ if length_bytes > max_bytes => Err(OpenError::TooLarge {
            path: path.to_owned(),
            length_bytes,
            max_bytes,
        }),
        Err(reason @ HeaderError::NotASnapshot)
            if !is_zero_from(file, CELL_BYTES as u64).map_err(failed("read it"))? =>
        {
            Err(unreadable(reason))
        }
        _ => Ok(()),
    }
}

/// Whether the file holds only zeros from this offset on.
fn is_zero_from(file: &File, mut offset: u64) -> io::Result<bool> {
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        let length = file.read_at(&mut bytes, offset)?;
        if length == 0 {
            return Ok(true);
        }
        if bytes[..length].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += length as u64;
    }
}
