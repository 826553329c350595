//! Which cells of the file can be used for new records.

use std::collections::BTreeMap;

use super::error::StoreError;
use super::map::Map;
use super::mapping::Cells;

/// How many runs are looked at for a record of several cells, before it is put at the end.
const MAX_PROBES: usize = 64;

/// Runs of cells that have been freed, and the end of what is used.
#[derive(Debug)]
pub(super) struct FreeCells {
    /// Their lengths by their starts; no two touch.
    runs: BTreeMap<u32, u32>,
    /// How many cells these are.
    freed_cells: u32,
    next_cell: u32,
}

impl FreeCells {
    pub(super) fn new(next_cell: u32) -> Self {
        Self {
            runs: BTreeMap::new(),
            freed_cells: 0,
            next_cell,
        }
    }

    /// The end of what is used.
    pub(super) fn next_cell(&self) -> u32 {
        self.next_cell
    }

    /// What is used ends here, for whatever comes after.
    pub(super) fn set_next_cell(&mut self, cell: u32) {
        self.next_cell = cell;
    }

    /// How many cells before the end are free.
    pub(super) fn freed_cells(&self) -> u32 {
        self.freed_cells
    }

    /// Cells for a new record: freed ones, or the next. It never waits for the disk.
    ///
    /// # Errors
    /// [`StoreError`] if the file would have to grow.
    pub(super) fn allocate(&mut self, map: &Map, cells: u32) -> Result<u32, StoreError> {
        let fits = |(_, length): &(&u32, &u32)| **length >= cells;
        if let Some((&start, &length)) = self.runs.iter().take(MAX_PROBES).find(fits) {
            self.runs.remove(&start);
            self.freed_cells -= cells;
            if length > cells {
                self.runs.insert(start + cells, length - cells);
            }
            return Ok(start);
        }
        let cell = self.next_cell;
        let end = cell.checked_add(cells).ok_or(StoreError::Full)?;
        if end > map.cells() {
            match map.has_file() {
                true if end > map.max_cells() => return Err(StoreError::Full),
                true => return Err(StoreError::Late),
                false => map.grow_to(end)?,
            }
        }
        self.next_cell = end;
        Ok(cell)
    }

    /// Lets cells be used again. Their first words are zero, on the disk too.
    pub(super) fn give_back(&mut self, cell: u32, cells: u32) {
        self.freed_cells += cells;
        let (mut start, mut length) = (cell, cells);
        if let Some((&before, &its_length)) = self.runs.range(..cell).next_back()
            && before + its_length == cell
        {
            self.runs.remove(&before);
            (start, length) = (before, its_length + length);
        }
        if let Some(after) = self.runs.remove(&(cell + cells)) {
            length += after;
        }
        self.runs.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join() {
        let mut free = FreeCells::new(100);
        for cell in [70, 72, 71] {
            free.give_back(cell, 1);
        }
        assert_eq!(free.runs.iter().collect::<Vec<_>>(), [(&70, &3)]);
        assert_eq!(free.freed_cells(), 3);
    }
}
