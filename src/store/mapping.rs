//! Mapped memory as cells: of a file, or anonymous.
//!
//! One of the crate's homes of `unsafe`. All of it is in [`Mapping::cell`], which turns a
//! bounds-checked cell number into eight atomics. Nothing else ever refers to the memory, so no
//! `&mut` and no `&[u8]` aliases it. Concurrent changes are changes of atomics, also those of
//! another process that ignores the lock and writes to the file.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::cells::CellSource;
use super::format::{AtomicCell, CELL_BYTES, Cell, CellId};

const _: () = assert!(align_of::<AtomicCell>() == 8 && size_of::<AtomicCell>() == CELL_BYTES);

/// Mapped cells, numbered from zero.
#[derive(Debug)]
pub(super) struct Mapping {
    memory: MmapRaw,
    /// Number of cells that are backed. Cells beyond must not be touched. Only grows.
    cells: AtomicU32,
    max_cells: u32,
}

impl Mapping {
    /// Maps the `cells` cells of `file`, and reserves address space for `max_cells`.
    pub(super) fn of_file(file: &File, cells: u32, max_cells: u32) -> io::Result<Self> {
        let memory = MmapOptions::new()
            .len(max_cells as usize * CELL_BYTES)
            .map_raw(file)?;
        Ok(Self::new(memory, cells, max_cells))
    }

    /// Maps anonymous memory, which is zero, and costs nothing until it is touched.
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

    /// Number of cells that the mapping can grow to.
    pub(super) fn max_cells(&self) -> u32 {
        self.max_cells
    }

    /// Allows the use of the first `cells` cells, which must be backed by now.
    pub(super) fn extend_to(&self, cells: u32) {
        let cells = cells.min(self.max_cells);
        self.cells.fetch_max(cells, Ordering::Release);
    }

    /// The cell in place.
    ///
    /// # Panics
    /// If there is no such cell. Numbers come only from `allocate` and from checked links.
    #[inline]
    pub(super) fn cell(&self, cell: CellId) -> &AtomicCell {
        let number = cell.number();
        assert!(
            number < self.cells(),
            "cell {number} is not in the snapshot"
        );
        let offset = number as usize * CELL_BYTES;
        // SAFETY:
        // - In bounds: `cells` never exceeds `max_cells`, for which the mapping is long enough,
        //   nor what the file has blocks for, so the memory is mapped and backed. It would not
        //   be if another program truncated the file: that raises SIGBUS, which ends the process
        //   and corrupts nothing.
        // - Aligned: the mapping is page-aligned, and 64 is a multiple of 8.
        // - Valid: every bit pattern is a u64, and the pages of a new file are zeros.
        // - Aliasing: this function is the only way to the memory, and returns shared atomics.
        // - Lifetime: the mapping never moves, and lives as long as `self`.
        unsafe { &*self.memory.as_mut_ptr().add(offset).cast::<AtomicCell>() }
    }

    /// Writes a new record: the first word, which commits the record, after everything else.
    pub(super) fn write_record(&self, first: CellId, cells: &[Cell]) {
        for (offset, content) in cells.iter().enumerate().rev() {
            let cell = self.cell(first + offset as u32);
            for (word, value) in cell.iter().zip(content).skip(1) {
                word.store(*value, Ordering::Relaxed);
            }
            cell[0].store(content[0], Ordering::Release);
        }
    }

    /// Marks a cell as free for the readers of the file.
    pub(super) fn free(&self, cell: CellId) {
        self.cell(cell)[0].store(0, Ordering::Release);
    }

    /// Makes the page of a cell dirty for the kernel without changing it.
    pub(super) fn touch(&self, cell: CellId) {
        let word = &self.cell(cell)[0];
        let value = word.load(Ordering::Relaxed);
        // If this fails, another thread has just written to the page.
        let _ = word.compare_exchange(value, value, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Writes the changed pages of these cells to the file, and waits for it. The kernel knows
    /// which pages have changed.
    pub(super) fn sync(&self, cells: Range<CellId>) -> io::Result<()> {
        let start = cells.start.byte_offset() as usize;
        let end = cells.end.byte_offset() as usize;
        self.memory.flush_range(start, end.saturating_sub(start))
    }
}

impl CellSource for Mapping {
    #[inline]
    fn cells(&self) -> u32 {
        self.cells.load(Ordering::Acquire)
    }

    #[inline]
    fn read(&self, cell: CellId) -> Cell {
        let cell = self.cell(cell);
        // The word that commits a record is read before the words that it commits.
        let first = cell[0].load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let mut copy = cell.each_ref().map(|word| word.load(Ordering::Relaxed));
        copy[0] = first;
        copy
    }
}

/// A file mapped for reading only, perhaps while a server writes to it.
#[derive(Debug)]
pub(super) struct ReadOnlyMapping {
    /// Mapped without the right to write. It is only read by relaxed loads of words, as
    /// `std::sync::atomic` permits for read-only memory.
    mapping: Mapping,
}

impl ReadOnlyMapping {
    /// Maps the `cells` cells of `file`.
    pub(super) fn of_file(file: &File, cells: u32) -> io::Result<Self> {
        let memory = MmapOptions::new()
            .len(cells as usize * CELL_BYTES)
            .map_raw_read_only(file)?;
        let mapping = Mapping::new(memory, cells, cells);
        Ok(Self { mapping })
    }
}

impl CellSource for ReadOnlyMapping {
    fn cells(&self) -> u32 {
        self.mapping.cells()
    }

    fn read(&self, cell: CellId) -> Cell {
        self.mapping.read(cell)
    }
}
