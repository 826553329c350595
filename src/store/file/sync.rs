//! Making changes last.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::mapped::SnapshotFile;
use super::regular::directory_of;
use crate::store::cells::CellSource;
use crate::store::format::{CellId, PageId};

impl SnapshotFile {
    /// Writes the changed pages of `cells` to the disk, and waits for it. Writes all cells if a
    /// sync has failed before: once the kernel has tried to write pages, it takes them for clean,
    /// even if it failed, and it reports the failure only once. The header remembers the failure
    /// across the death of the process.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn sync(&self, cells: Range<CellId>) -> io::Result<()> {
        if self.file.is_none() || cells.is_empty() {
            return Ok(());
        }
        let header = self.header_words();
        let is_rewrite = header.must_rewrite();
        let cells = if is_rewrite {
            CellId::HEADER..self.end()
        } else {
            cells
        };
        if is_rewrite {
            self.touch_all_pages();
        }
        let synced = self.disk.sync_cells(&self.mapping, cells);
        match &synced {
            Ok(()) if is_rewrite => header.finish_rewrite(),
            Ok(()) => {}
            Err(_) => header.request_rewrite(),
        }
        synced
    }

    fn touch_all_pages(&self) {
        let mut page = PageId::HEADER;
        while page.first_cell() < self.end() {
            self.mapping.touch(page.first_cell());
            page = page.next();
        }
    }

    /// Makes the file's size last, and writes it into the header for the next sync: a file that
    /// is shorter than its header says has lost something. Returns whether the header changed.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn sync_length(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let cells = self.cells();
        if self.header().length() == Ok(cells) {
            return Ok(false);
        }
        let header = self.header_words();
        let synced = self.disk.sync_file(file);
        synced.inspect_err(|_| header.request_rewrite())?;
        header.set_length(cells);
        Ok(true)
    }

    /// Syncs a new file, and the directory that it is in.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn sync_new(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        self.sync(CellId::HEADER..CellId::FIRST_RECORD)?;
        self.disk.sync_file(file)?;
        File::open(directory_of(self.real_path()))?.sync_all()
    }
}
