//! Mapped memory as cells: a file's, or anonymous.
//!
//! One of the crate's homes of `unsafe`. All of it is in [`Mapping::cell`], which turns a
//! bounds-checked place into eight atomics; nothing else ever refers to the memory, so no `&mut`
//! and no `&[u8]` aliases it, and concurrent changes, also those of another process that writes
//! to the file in spite of the lock, are changes of atomics.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::format::{AtomicCell, CELL_BYTES, Cell};

const _: () = assert!(align_of::<AtomicCell>() == 8 && size_of::<AtomicCell>() == CELL_BYTES);

/// Cells to read: of a file that is in use, or of one that is looked at.
pub(super) trait Cells {
    /// How many there are.
    fn cells(&self) -> u32;
    /// Whether there is a cell at `index`.
    fn has(&self, index: u32) -> bool {
        index < self.cells()
    }
    /// A copy of the cell at `index`, which must be one.
    fn read(&self, index: u32) -> Cell;
}

#[derive(Debug)]
pub(super) struct Mapping {
    memory: MmapRaw,
    /// How many cells are backed: what lies beyond must not be touched. Only grows.
    cells: AtomicU32,
    max_cells: u32,
}

impl Mapping {
    /// Reserves address space for `max_cells` of `file`, of which it has `cells`.
    pub(super) fn of_file(file: &File, cells: u32, max_cells: u32) -> io::Result<Self> {
        let memory = MmapOptions::new()
            .len(max_cells as usize * CELL_BYTES)
            .map_raw(file)?;
        Ok(Self::new(memory, cells, max_cells))
    }

    /// Anonymous memory, zero, which costs nothing until it is touched.
    pub(super) fn anonymous(cells: u32, max_cells: u32) -> io::Result<Self> {
        let memory = MmapOptions::new()
            .len(max_cells as usize * CELL_BYTES)
            .no_reserve_swap()
            .map_anon()?;
        Ok(Self::new(memory.into(), cells, max_cells))
    }

    fn new(memory: MmapRaw, cells: u32, max_cells: u32) -> Self {
        Self {
            memory,
            cells: AtomicU32::new(cells.min(max_cells)),
            max_cells,
        }
    }

    pub(super) fn max_cells(&self) -> u32 {
        self.max_cells
    }

    /// Lets more cells be used. They are backed by now.
    pub(super) fn extend_to(&self, cells: u32) {
        let cells = cells.min(self.max_cells);
        self.cells.fetch_max(cells, Ordering::Release);
    }

    /// The cell at `index`.
    ///
    /// # Panics
    /// If there is no such cell. Indices come from `allocate` and from checked links only.
    #[inline]
    pub(super) fn cell(&self, index: u32) -> &AtomicCell {
        assert!(index < self.cells(), "cell {index} is not in the snapshot");
        let offset = index as usize * CELL_BYTES;
        // SAFETY:
        // - In bounds: `cells` never exceeds `max_cells`, for which the mapping is long enough,
        //   nor what the file has blocks for, so the memory is mapped and backed. It would not
        //   be if another program truncated the file: that raises SIGBUS, which ends the process
        //   and corrupts nothing.
        // - Aligned: the mapping is page-aligned, and 64 is a multiple of 8.
        // - Valid: every bit pattern is a u64, and the pages of a new file are zeros.
        // - Aliasing: this function is the only way to the memory, and gives shared atomics.
        // - Lifetime: the mapping never moves, and lives as long as `self`.
        unsafe { &*self.memory.as_mut_ptr().add(offset).cast::<AtomicCell>() }
    }

    /// Writes a new record: everything else before the first word, which commits it.
    pub(super) fn write_record(&self, first: u32, cells: &[Cell]) {
        for (offset, cell) in cells.iter().enumerate().rev() {
            let place = self.cell(first + offset as u32);
            for (word, value) in place.iter().zip(cell).skip(1) {
                word.store(*value, Ordering::Relaxed);
            }
            place[0].store(cell[0], Ordering::Release);
        }
    }

    /// Frees a cell, as far as whoever reads the file is concerned.
    pub(super) fn free(&self, index: u32) {
        self.cell(index)[0].store(0, Ordering::Release);
    }

    /// Writes these cells to the file and waits for it. The kernel knows which of their pages
    /// have changed.
    pub(super) fn flush(&self, cells: Range<u32>) -> io::Result<()> {
        let length = cells.end.saturating_sub(cells.start) as usize * CELL_BYTES;
        self.memory
            .flush_range(cells.start as usize * CELL_BYTES, length)
    }
}

impl Cells for Mapping {
    #[inline]
    fn cells(&self) -> u32 {
        self.cells.load(Ordering::Acquire)
    }

    #[inline]
    fn read(&self, index: u32) -> Cell {
        let cell = self.cell(index);
        // The word that commits a record before those that it commits.
        let first = cell[0].load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let mut copy = cell.each_ref().map(|word| word.load(Ordering::Relaxed));
        copy[0] = first;
        copy
    }
}

/// A file that is only looked at, perhaps while a server uses it.
#[derive(Debug)]
pub(super) struct View {
    /// Mapped without the right to write. Relaxed loads of words are all that is done to it, as
    /// `std::sync::atomic` permits for memory that is read-only.
    mapping: Mapping,
}

impl View {
    pub(super) fn of_file(file: &File, cells: u32) -> io::Result<Self> {
        let memory = MmapOptions::new()
            .len(cells as usize * CELL_BYTES)
            .map_raw_read_only(file)?;
        let mapping = Mapping::new(memory, cells, cells);
        Ok(Self { mapping })
    }
}

impl Cells for View {
    fn cells(&self) -> u32 {
        self.mapping.cells()
    }

    fn read(&self, index: u32) -> Cell {
        self.mapping.read(index)
    }
}
