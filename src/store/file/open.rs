//! Opening the file: locks it, refuses what is not a snapshot, and maps it.

use std::path::Path;

use super::lock;
use super::mapped::SnapshotFile;
use super::new_file::NewFile;
use super::regular::{Origin, RegularFile};
use super::size::max_cells;
use crate::store::disk::Disk;
use crate::store::error::OpenError;
use crate::store::format::{CELL_BYTES, CellId, HEADER_CELLS, HeaderError};
use crate::store::mapping::Mapping;

impl SnapshotFile {
    /// Opens or creates the file, locks it, and maps it.
    pub(crate) fn open(
        path: &Path,
        max_file_bytes: u64,
        disk: Box<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let file = lock::open_or_create_locked(path)?;
        Self::map(file, path, max_file_bytes, disk)
    }

    /// Maps a new file, which no other process knows yet.
    pub(crate) fn of_new(
        new: &NewFile,
        max_file_bytes: u64,
        disk: Box<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let path = new.target();
        let file = new
            .file()
            .try_clone()
            .map_err(OpenError::io(path, "create it"))?;
        let regular = RegularFile {
            file,
            path: path.to_owned(),
            origin: Origin::Created,
        };
        Self::map(regular, path, max_file_bytes, disk)
    }

    fn map(
        regular: RegularFile,
        path: &Path,
        max_file_bytes: u64,
        disk: Box<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let failed = |action| OpenError::io(path, action);
        let file = &regular.file;
        let length_bytes = file.metadata().map_err(failed("read its size"))?.len();
        if length_bytes > 0 && length_bytes < CellId::FIRST_RECORD.byte_offset() {
            return Err(OpenError::Unreadable {
                path: path.to_owned(),
                reason: HeaderError::Truncated(length_bytes),
            });
        }
        let max_cells = max_cells(max_file_bytes);
        lock::refuse_foreign(file, path, max_cells)?;
        let cells = (length_bytes / CELL_BYTES as u64) as u32;
        let mapping = Mapping::of_file(file, cells, max_cells).map_err(failed("map it"))?;
        let snapshot = Self::new(mapping, Some(regular), path, disk);
        // Before anything is written, or read on a file system in memory: a hole would have to
        // be filled then, and if there is no space, that raises SIGBUS.
        snapshot.fill_holes().map_err(failed("allocate it"))?;
        if length_bytes == 0 {
            snapshot.allocate_header().map_err(failed("allocate it"))?;
        }
        Ok(snapshot)
    }

    /// Reserves anonymous memory in place of a file.
    pub(crate) fn anonymous(max_file_bytes: u64, disk: Box<dyn Disk>) -> Result<Self, OpenError> {
        let path = Path::new("(memory)");
        let mapping = Mapping::anonymous(HEADER_CELLS, max_cells(max_file_bytes))
            .map_err(OpenError::io(path, "reserve address space for it"))?;
        Ok(Self::new(mapping, None, path, disk))
    }
}
