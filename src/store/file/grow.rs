//! Growth: blocks are allocated before cells are used, ahead of need where there is space.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::mapped::SnapshotFile;
use super::size::{CELLS_AHEAD, FEW_CELLS_AHEAD, SEGMENT_CELLS};
use crate::store::cells::CellSource;
use crate::store::error::StoreError;
use crate::store::format::{CellId, HEADER_CELLS};

impl SnapshotFile {
    /// Gives blocks to the holes that a copy of the file may have. Writing to a hole on a full
    /// disk would raise SIGBUS.
    pub(super) fn fill_holes(&self) -> io::Result<()> {
        match &self.file {
            Some(file) if self.cells() > 0 => self.disk.allocate(file, CellId::HEADER..self.end()),
            _ => Ok(()),
        }
    }

    /// Gives blocks to the header of a new file.
    pub(super) fn allocate_header(&self) -> io::Result<()> {
        self.grow_to(HEADER_CELLS).map_err(|error| match error {
            StoreError::Grow(source) => source,
            other => io::Error::other(other),
        })
    }

    /// Makes sure that there are `cells` cells.
    ///
    /// # Errors
    /// [`StoreError::Full`] beyond the maximum, [`StoreError::Grow`] if the disk has no space.
    pub(crate) fn grow_to(&self, cells: u32) -> Result<(), StoreError> {
        if cells <= self.cells() {
            return Ok(());
        }
        if cells > self.max_cells() {
            return Err(StoreError::Full);
        }
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.cells();
        if cells <= held {
            return Ok(());
        }
        let grown = self.preferred_growth(held).max(cells);
        if let Some(file) = &self.file {
            let allocate = |cells| {
                let added = CellId::new(held)..CellId::new(cells);
                self.disk.allocate(file, added).map(|()| cells)
            };
            // Where space is short, there may be enough for what is needed.
            let allocated = allocate(grown).or_else(|_| allocate(cells));
            self.mapping.extend_to(allocated.map_err(StoreError::Grow)?);
        } else {
            self.mapping.extend_to(grown);
        }
        Ok(())
    }

    /// Number of cells that a file of `held` cells grows to, if there is space.
    fn preferred_growth(&self, held: u32) -> u32 {
        let more = SEGMENT_CELLS.max(held / 8);
        let wanted = u64::from(held) + u64::from(more);
        let aligned = wanted.next_multiple_of(SEGMENT_CELLS.into());
        aligned.min(self.max_cells().into()) as u32
    }

    /// Makes space for the next records, so that the reactors that write them do not wait for
    /// the disk.
    ///
    /// # Errors
    /// Those of [`SnapshotFile::grow_to`].
    pub(crate) fn grow_ahead(&self, used_end: CellId) -> Result<(), StoreError> {
        let grow = |ahead| {
            let cells = used_end.number().saturating_add(ahead);
            self.grow_to(cells.min(self.max_cells()))?;
            self.ahead.store(ahead, Ordering::Relaxed);
            Ok(())
        };
        grow(CELLS_AHEAD).or_else(|_: StoreError| grow(FEW_CELLS_AHEAD))
    }

    /// Whether too few cells are ready for the next records, and the file may grow.
    pub(crate) fn is_running_low(&self, used_end: CellId) -> bool {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let may_grow = self.has_file() && self.cells() < self.max_cells();
        may_grow && self.end() - used_end < ahead / 2
    }

    /// Makes the file as short as its used cells. Cells beyond must not be touched again.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn trim(&self, used_end: CellId) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        // The length in the header first: a file that is shorter than that counts as damaged.
        self.header_words().set_length(used_end.number());
        self.sync(CellId::HEADER..CellId::FIRST_RECORD)?;
        file.set_len(used_end.byte_offset())?;
        self.disk.sync_file(file)
    }
}
