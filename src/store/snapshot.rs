//! Reading a snapshot file without serving it.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::cells::CellSource;
use super::contents::{FileUse, RoomContents, contents};
use super::damage::DamageReport;
use super::error::OpenError;
use super::file::{Access, FileError, Lock, open_regular};
use super::format::{CELL_BYTES, HEADER_CELLS, HeaderError};
use super::mapping::ReadOnlyMapping;
use super::survey::{Survey, survey};

/// Number of surveys that are tried, until the file has not changed during one.
const MAX_SURVEYS: usize = 5;

/// A snapshot file that is only read. A server may be using it.
#[derive(Debug)]
pub struct Snapshot {
    cells: ReadOnlyMapping,
    survey: Survey,
    path: PathBuf,
    metadata: Metadata,
    change_stamp: (u64, u64),
}

impl Snapshot {
    /// Reads the file, and changes nothing. The file must not become shorter while this lives.
    ///
    /// # Errors
    /// [`OpenError::Io`] and [`OpenError::Unreadable`]. Damage in a readable file isn't an error:
    /// `Snapshot::damage` reports it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let regular = open_regular(path, Access::Read).map_err(FileError::at(path))?;
        Self::read(&regular.file, path)
    }

    /// Reads the file that is locked, even if its name leads to another one by now.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`].
    pub(crate) fn of_locked(lock: &Lock) -> Result<Self, OpenError> {
        Self::read(lock.file(), lock.path())
    }

    fn read(file: &File, path: &Path) -> Result<Self, OpenError> {
        let unreadable = |reason| OpenError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let look = || {
            let metadata = file.metadata();
            metadata.map_err(OpenError::io(path, "read its size"))
        };
        for _ in 0..MAX_SURVEYS {
            let metadata = look()?;
            let length_bytes = metadata.len();
            let cells = u32::try_from(length_bytes / CELL_BYTES as u64).unwrap_or(u32::MAX / 2);
            if cells < HEADER_CELLS {
                return Err(unreadable(HeaderError::Truncated(length_bytes)));
            }
            let cells =
                ReadOnlyMapping::of_file(file, cells).map_err(OpenError::io(path, "map it"))?;
            let change_stamp = cells.header().change_stamp();
            cells.header().check().map_err(unreadable)?;
            let survey = survey(&cells);
            // The header may describe what a server has added since.
            let has_grown = look()?.len() > length_bytes && !survey.damage.is_empty();
            if cells.header().change_stamp() == change_stamp && !has_grown {
                return Ok(Self {
                    cells,
                    survey,
                    path: path.to_owned(),
                    metadata,
                    change_stamp,
                });
            }
        }
        let busy = io::Error::other("a server changes it too fast; try again");
        Err(OpenError::io(path, "read it")(busy))
    }

    /// Whether the rooms have stayed where they were since the file was opened. If not, what was
    /// read since may be mixed up, and must be read again.
    pub(crate) fn is_current(&self) -> bool {
        self.cells.header().change_stamp() == self.change_stamp
    }

    /// Path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file, in bytes.
    pub(crate) fn length_bytes(&self) -> u64 {
        self.metadata.len()
    }

    /// The file's mode and owner.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Size of the used part, up to the last record, in bytes.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.survey.free.used_end().byte_offset()
    }

    /// Size of the freed cells in the used part, in bytes.
    pub(crate) fn freed_bytes(&self) -> u64 {
        let freed = self.survey.free.freed_cells() as usize;
        ((freed + self.survey.repairs.leftovers.len()) * CELL_BYTES) as u64
    }

    /// When the file was created, in seconds since 1970.
    pub(crate) fn created(&self) -> u64 {
        self.cells.header().created()
    }

    /// Whether the server that last used the file closed it in order.
    pub(crate) fn is_closed(&self) -> bool {
        self.survey.is_closed
    }

    /// Pid of the process that has the file open, as far as the file tells: the process has
    /// written its pid, has not closed the file, and is alive.
    pub(crate) fn holder(&self) -> Option<u32> {
        let pid = self.cells.header().owner();
        let process = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        let is_alive = match rustix::process::test_kill_process(process) {
            Ok(()) | Err(rustix::io::Errno::PERM) => true,
            Err(_) => false,
        };
        (!self.is_closed() && is_alive).then_some(pid)
    }

    /// Number of records that a crash has left to be repaired by the next server.
    pub(crate) fn repairs(&self) -> usize {
        let repairs = &self.survey.repairs;
        repairs.behind.len() + repairs.resetting.len() + repairs.leftovers.len()
    }

    /// Number of rooms.
    pub(crate) fn rooms(&self) -> usize {
        self.survey.index.len()
    }

    /// Number of counters.
    pub(crate) fn counters(&self) -> usize {
        self.survey.counters
    }

    /// What is not as it was written.
    pub(crate) fn damage(&self) -> &DamageReport {
        &self.survey.damage
    }

    /// The rooms in the order of the file, with all counts that are certain.
    pub fn contents(&self) -> impl Iterator<Item = RoomContents> {
        let file_use = match self.holder() {
            Some(_) => FileUse::InUse,
            None => FileUse::AtRest,
        };
        contents(&self.cells, &self.survey, file_use)
    }
}
