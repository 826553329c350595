//! Closing: the last flush, and the mark that the file was closed in order.

use std::io;

use super::cells::CellSource;
use super::error::{CloseError, StoreError};
use super::format::CellId;
use super::handle::Store;
use super::space::CellSpace;
use super::survey::digest;

impl Store {
    /// Seals and syncs everything, and marks the file as closed in order. Nothing may change
    /// afterwards: the next server would take it for damage. So nothing uses what was removed any
    /// more, and its cells are reclaimed, even if they were never released.
    ///
    /// # Errors
    /// [`CloseError`] if the disk fails, or the file has no space for some counts.
    pub fn close(&self) -> Result<(), CloseError> {
        let grown = self.grow_ahead();
        self.catalog().release_all();
        self.reclaim().map_err(CloseError::Reclaim)?;
        self.flush()?;
        let records = self.catalog().overflow.len();
        if records > 0 {
            let reason = grown.err().unwrap_or(StoreError::Late);
            return Err(CloseError::Unsaved { records, reason });
        }
        let used_end = self.catalog().free.used_end();
        Ok(mark_closed(&self.space, used_end)?)
    }

    /// Closes the store, and gives unused space of the file back to the disk.
    ///
    /// # Errors
    /// Those of [`Store::close`].
    pub(super) fn close_trimmed(self) -> Result<(), CloseError> {
        self.close()?;
        let used_end = self.catalog().free.used_end();
        Ok(self.space.file.trim(used_end)?)
    }
}

/// Marks the file as closed in order, and waits for the disk. Mark and digest are in one sector.
fn mark_closed(space: &CellSpace, used_end: CellId) -> io::Result<()> {
    let file = &space.file;
    if file.header().closed() == Ok(Some(used_end)) {
        return Ok(());
    }
    let header = file.header_words();
    header.set_digest(digest(file, used_end));
    header.set_closed(Some(used_end));
    file.sync(CellId::HEADER..CellId::FIRST_RECORD)
}

/// Marks the file as open, and waits for the disk.
pub(super) fn mark_open(space: &CellSpace) -> io::Result<()> {
    let file = &space.file;
    if file.header().closed() == Ok(None) {
        return Ok(());
    }
    file.header_words().set_closed(None);
    file.sync(CellId::HEADER..CellId::FIRST_RECORD)
}
