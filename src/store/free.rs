//! Which cells of the file new records can use.

use std::collections::BTreeMap;

use super::cells::CellSource;
use super::error::StoreError;
use super::file::SnapshotFile;
use super::format::CellId;

/// Number of runs that are tried for a record, before it is put at the end.
const MAX_PROBES: usize = 64;

/// Runs of freed cells, and the end of the used ones.
#[derive(Debug)]
pub(super) struct FreeCells {
    /// Length of each run by its first cell. No two runs touch.
    runs: BTreeMap<CellId, u32>,
    /// Number of cells in all runs.
    freed_cells: u32,
    used_end: CellId,
}

impl FreeCells {
    /// No freed cells, and none used from `used_end` on.
    pub(super) fn new(used_end: CellId) -> Self {
        Self {
            runs: BTreeMap::new(),
            freed_cells: 0,
            used_end,
        }
    }

    /// The first cell after the last one that is or was used.
    pub(super) fn used_end(&self) -> CellId {
        self.used_end
    }

    /// Moves the end of the used cells.
    pub(super) fn set_used_end(&mut self, end: CellId) {
        self.used_end = end;
    }

    /// Number of freed cells.
    pub(super) fn freed_cells(&self) -> u32 {
        self.freed_cells
    }

    /// Takes `cells` cells in a row for a new record. Never waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Late`] if the file would have to grow, [`StoreError::Full`] if it can't.
    pub(super) fn allocate(
        &mut self,
        file: &SnapshotFile,
        cells: u32,
    ) -> Result<CellId, StoreError> {
        let fits = |(_, length): &(&CellId, &u32)| **length >= cells;
        if let Some((&first, &length)) = self.runs.iter().take(MAX_PROBES).find(fits) {
            self.runs.remove(&first);
            self.freed_cells -= cells;
            if length > cells {
                self.runs.insert(first + cells, length - cells);
            }
            return Ok(first);
        }
        let first = self.used_end;
        let end = first.checked_add(cells).ok_or(StoreError::Full)?;
        if end > file.end() {
            if !file.has_file() {
                file.grow_to(end.number())?;
            } else if end.number() > file.max_cells() {
                return Err(StoreError::Full);
            } else {
                return Err(StoreError::Late);
            }
        }
        self.used_end = end;
        Ok(first)
    }

    /// Makes cells available again. Their first words are zero, on the disk too.
    pub(super) fn give_back(&mut self, first: CellId, cells: u32) {
        self.freed_cells += cells;
        let (mut start, mut length) = (first, cells);
        if let Some((&before, &length_before)) = self.runs.range(..first).next_back()
            && before + length_before == first
        {
            self.runs.remove(&before);
            (start, length) = (before, length_before + length);
        }
        if let Some(length_after) = self.runs.remove(&(first + cells)) {
            length += length_after;
        }
        self.runs.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_runs_are_joined() {
        let mut free = FreeCells::new(CellId::new(100));
        for cell in [70, 72, 71] {
            free.give_back(CellId::new(cell), 1);
        }
        assert_eq!(
            free.runs.iter().collect::<Vec<_>>(),
            [(&CellId::new(70), &3)]
        );
        assert_eq!(free.freed_cells(), 3);
    }
}
