//! All cells that there are: those of the file, and spare ones in memory for what the file has no
//! place for while it can't grow.

use super::format::{AtomicCell, Cell};
use super::map::Map;
use super::mapping::{Cells, Mapping};

/// The bit of a cell's number that says that the cell is a spare one.
pub(super) const SPARE: u32 = 1 << 31;

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) file: Map,
    pub(super) spare: Mapping,
}

impl Memory {
    #[inline]
    pub(super) fn cell(&self, index: u32) -> &AtomicCell {
        if index & SPARE == 0 {
            self.file.cell(index)
        } else {
            self.spare.cell(index & !SPARE)
        }
    }

    pub(super) fn write_record(&self, first: u32, cells: &[Cell]) {
        if first & SPARE == 0 {
            self.file.write_record(first, cells);
        } else {
            self.spare.write_record(first & !SPARE, cells);
        }
    }
}

impl Cells for Memory {
    fn cells(&self) -> u32 {
        self.file.cells()
    }

    fn has(&self, index: u32) -> bool {
        if index & SPARE == 0 {
            self.file.has(index)
        } else {
            self.spare.has(index & !SPARE)
        }
    }

    fn read(&self, index: u32) -> Cell {
        if index & SPARE == 0 {
            self.file.read(index)
        } else {
            self.spare.read(index & !SPARE)
        }
    }
}
