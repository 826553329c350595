//! The snapshot file: opened, locked, mapped.
//!
//! - `lock`: who may use the file, and which files are refused.
//! - `grow`: making the file larger and shorter. `sync`: making changes last.

mod grow;
mod lock;
mod sync;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use super::cells::CellSource;
use super::disk::Disk;
use super::error::OpenError;
use super::format::{AtomicCell, CELL_BYTES, Cell, CellId, HEADER_CELLS, HeaderError, HeaderWords};
use super::mapping::{Mapping, ReadOnlyMapping};
use grow::CELLS_AHEAD;
pub(crate) use lock::Lock;
pub(super) use sync::directory_of;

/// Minimum of the limit on the file's size, in bytes.
pub const MIN_FILE_BYTES: u64 = 1 << 20;
/// Default maximum size of the file, in bytes: address space, not memory.
pub const DEFAULT_MAX_FILE_BYTES: u64 = 16 << 30;
/// Maximum of the limit on the file's size, in bytes.
pub const MAX_FILE_BYTES: u64 = 128 << 30;

// The highest bit of a cell's number is free to mark overflow cells.
const _: () = assert!(MAX_FILE_BYTES / CELL_BYTES as u64 <= 1 << 31);

/// The mapped file; or, for a store without a file, anonymous memory in its place.
#[derive(Debug)]
pub(super) struct SnapshotFile {
    mapping: Mapping,
    file: Option<File>,
    path: PathBuf,
    disk: Box<dyn Disk>,
    /// Held while the file grows.
    growth: Mutex<()>,
    /// Number of cells that could last be made ready ahead of the used ones.
    ahead: AtomicU32,
}

impl SnapshotFile {
    /// Opens or creates the file, locks it, and maps it.
    pub(super) fn open(
        path: &Path,
        max_file_bytes: u64,
        disk: Box<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let failed = |action| OpenError::io(path, action);
        let file = lock::open_or_create_locked(path)?;
        let length_bytes = file.metadata().map_err(failed("read its size"))?.len();
        if length_bytes > 0 && length_bytes < CellId::FIRST_RECORD.byte_offset() {
            return Err(OpenError::Unreadable {
                path: path.to_owned(),
                reason: HeaderError::Truncated(length_bytes),
            });
        }
        let max_cells = max_cells(max_file_bytes);
        lock::refuse_foreign(&file, path, max_cells)?;
        let cells = (length_bytes / CELL_BYTES as u64) as u32;
        let mapping = Mapping::of_file(&file, cells, max_cells).map_err(failed("map it"))?;
        let snapshot = Self::new(mapping, Some(file), path, disk);
        // Before anything is written, or read on a file system in memory: a hole would have to
        // be filled then, and if there is no space, that raises SIGBUS.
        snapshot.fill_holes().map_err(failed("allocate it"))?;
        if length_bytes == 0 {
            snapshot.allocate_header().map_err(failed("allocate it"))?;
        }
        Ok(snapshot)
    }

    /// Reserves anonymous memory in place of a file.
    pub(super) fn anonymous(max_file_bytes: u64, disk: Box<dyn Disk>) -> Result<Self, OpenError> {
        let path = Path::new("(memory)");
        let mapping = Mapping::anonymous(HEADER_CELLS, max_cells(max_file_bytes))
            .map_err(OpenError::io(path, "reserve address space for it"))?;
        Ok(Self::new(mapping, None, path, disk))
    }

    fn new(mapping: Mapping, file: Option<File>, path: &Path, disk: Box<dyn Disk>) -> Self {
        Self {
            mapping,
            file,
            path: path.to_owned(),
            disk,
            growth: Mutex::default(),
            ahead: AtomicU32::new(CELLS_AHEAD),
        }
    }

    /// Path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Maximum number of cells.
    pub(super) fn max_cells(&self) -> u32 {
        self.mapping.max_cells()
    }

    /// Whether the file never had a whole header. A process that dies while creating the file
    /// leaves zeros, except for the words of the header that are written before the magic.
    pub(super) fn is_blank(&self) -> bool {
        let is_zero = |cell| self.read(cell) == Cell::default();
        let mut others = CellId::HEADER_EXTENSION.until(self.end());
        self.header().lacks_magic() && others.all(is_zero)
    }

    /// A second mapping of the file, for reading; `None` without a file. Pages that are read
    /// through the first mapping count as this process's memory from then on. When the second
    /// mapping goes, so do its pages.
    ///
    /// # Errors
    /// The operating system's, if it refuses the mapping.
    pub(super) fn map_read_only(&self) -> io::Result<Option<ReadOnlyMapping>> {
        let map = |file| ReadOnlyMapping::of_file(file, self.cells());
        self.file.as_ref().map(map).transpose()
    }

    /// The cell in place.
    #[inline]
    pub(super) fn cell(&self, cell: CellId) -> &AtomicCell {
        self.mapping.cell(cell)
    }

    /// The header in place.
    pub(super) fn header_words(&self) -> HeaderWords<'_> {
        HeaderWords::new(
            self.cell(CellId::HEADER),
            self.cell(CellId::HEADER_EXTENSION),
        )
    }

    /// Writes a new record: the word that commits it comes last.
    pub(super) fn write_record(&self, first: CellId, cells: &[Cell]) {
        self.mapping.write_record(first, cells);
    }

    /// Marks a cell as free for the readers of the file.
    pub(super) fn free(&self, cell: CellId) {
        self.mapping.free(cell);
    }
}

impl CellSource for SnapshotFile {
    #[inline]
    fn cells(&self) -> u32 {
        self.mapping.cells()
    }

    #[inline]
    fn read(&self, cell: CellId) -> Cell {
        self.mapping.read(cell)
    }
}

/// Number of cells in a file of at most `max_file_bytes`, within what a file can be.
fn max_cells(max_file_bytes: u64) -> u32 {
    (max_file_bytes.clamp(MIN_FILE_BYTES, MAX_FILE_BYTES) / CELL_BYTES as u64) as u32
}
