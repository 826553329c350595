//! The mapped file, without opening and growing it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use super::regular::{Origin, RegularFile};
use super::size::CELLS_AHEAD;
use crate::store::cells::CellSource;
use crate::store::disk::Disk;
use crate::store::format::{AtomicCell, Cell, CellId, HeaderWords};
use crate::store::mapping::{Mapping, ReadOnlyMapping};

/// The mapped file; or, for a store without a file, anonymous memory in its place.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    pub(super) mapping: Mapping,
    pub(super) file: Option<File>,
    path: PathBuf,
    /// Path of the file itself, behind all links.
    real_path: PathBuf,
    origin: Origin,
    pub(super) disk: Box<dyn Disk>,
    /// Held while the file grows.
    pub(super) growth: Mutex<()>,
    /// Number of cells that could last be made ready ahead of the used ones.
    pub(super) ahead: AtomicU32,
}

impl SnapshotFile {
    pub(super) fn new(
        mapping: Mapping,
        file: Option<RegularFile>,
        path: &Path,
        disk: Box<dyn Disk>,
    ) -> Self {
        let (file, real_path, origin) = match file {
            Some(regular) => (Some(regular.file), regular.path, regular.origin),
            None => (None, path.to_owned(), Origin::Created),
        };
        Self {
            mapping,
            file,
            path: path.to_owned(),
            real_path,
            origin,
            disk,
            growth: Mutex::default(),
            ahead: AtomicU32::new(CELLS_AHEAD),
        }
    }

    /// Path of the file as the operator gave it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the file itself, behind all links.
    pub(crate) fn real_path(&self) -> &Path {
        &self.real_path
    }

    /// The file, if there is one.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Whether the file was there before it was opened.
    pub(crate) fn was_found(&self) -> bool {
        self.origin == Origin::Found
    }

    /// Whether there is a file.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Maximum number of cells.
    pub(crate) fn max_cells(&self) -> u32 {
        self.mapping.max_cells()
    }

    /// Whether the file never had a whole header. A process that dies while creating the file
    /// leaves zeros, except for the words of the header that are written before the magic.
    pub(crate) fn is_blank(&self) -> bool {
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
    pub(crate) fn map_read_only(&self) -> io::Result<Option<ReadOnlyMapping>> {
        let map = |file| ReadOnlyMapping::of_file(file, self.cells());
        self.file.as_ref().map(map).transpose()
    }

    /// The cell in place.
    #[inline]
    pub(crate) fn cell(&self, cell: CellId) -> &AtomicCell {
        self.mapping.cell(cell)
    }

    /// The header in place.
    pub(crate) fn header_words(&self) -> HeaderWords<'_> {
        HeaderWords::new(
            self.cell(CellId::HEADER),
            self.cell(CellId::HEADER_EXTENSION),
        )
    }

    /// Writes a new record: the word that commits it comes last.
    pub(crate) fn write_record(&self, first: CellId, cells: &[Cell]) {
        self.mapping.write_record(first, cells);
    }

    /// Marks a cell as free for the readers of the file.
    pub(crate) fn free(&self, cell: CellId) {
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
