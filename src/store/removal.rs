//! Removal: taking rooms and single counters out of the store, and reclaiming their cells. A crash
//! at any instruction leaves a room whole or removed, and so it is with each single counter.
//!
//! A reactor may still add to a counter that is being removed. That is harmless while no new
//! record uses the cell: a free cell may hold anything, and a counter without a room counts for
//! nothing. So the cells are *retired* until nothing can reach them. Then they are released, and
//! the next [`Store::reclaim`] makes them available.

use super::catalog::{Catalog, Removed};
use super::cells::CellSource;
use super::counter::Counter;
use super::error::StoreError;
use super::format::{CellId, CounterId, RoomId};
use super::handle::Store;

/// Number of cells that are given back at once, before other threads get the catalog.
const BATCH: usize = 4096;

/// What was removed while it may have been in use. Its cells are not used again before
/// [`Store::release`].
#[derive(Debug)]
#[must_use = "the cells are lost to this process unless they are released"]
pub struct Retired {
    /// Key of the cells in the catalog.
    key: usize,
}

impl Store {
    /// Removes some counters of a room, which may be in use: what is still added to them counts
    /// for nothing. A kind that is counted again gets a new counter, at zero. Ignores counters
    /// that have been removed already. Never waits for the disk: the next flush makes the removal
    /// last.
    pub fn remove_counters(&self, room: RoomId, counters: &[Counter]) -> Retired {
        let mut catalog = self.catalog();
        let room = catalog.overflow.resolve(room);
        let mut removed = Removed::default();
        let header = self.space.file.header_words();
        header.count_removal();
        for counter in counters.iter().map(Counter::id) {
            if catalog.index.unlink(room, counter) {
                catalog.overflow.forget(counter.cell());
                self.space.free(counter.cell());
                removed.freed.extend(in_file(counter));
            }
        }
        // A process that has copied one of them before it was free must start again.
        header.count_removal();
        catalog.retire(removed)
    }

    /// Removes a room, which may be in use: what is still added to its counters counts for
    /// nothing. Ignores a room that has been removed already. Never waits for the disk: the next
    /// flush makes the removal last.
    pub fn remove_room(&self, id: RoomId, party: &str, room: &str) -> Retired {
        let mut catalog = self.catalog();
        let id = catalog.overflow.resolve(id);
        let is_there = catalog.find(&self.space, party, room) == Some(id);
        let removed = if is_there {
            self.take_out(&mut catalog, id, party, room)
        } else {
            Removed::default()
        };
        catalog.retire(removed)
    }

    /// Lets the cells of what was removed be used again. Nothing may use the counters or the id
    /// of the room from now on: they may be those of another room soon.
    pub fn release(&self, retired: Retired) {
        let is_full = {
            let mut catalog = self.catalog();
            catalog.release(retired.key);
            catalog.is_full
        };
        if is_full {
            // The flusher makes the cells available to what has no space.
            self.wake();
        }
    }

    /// Takes a room out of the index, and marks its first cell as free. Its other cells and its
    /// counters must not be freed before that is on the disk.
    pub(super) fn take_out(
        &self,
        catalog: &mut Catalog,
        id: RoomId,
        party: &str,
        room: &str,
    ) -> Removed {
        let space = &self.space;
        let head = id.cell();
        let end = head + space.room_cell(id).record_cells();
        let counters: Vec<CounterId> = catalog.index.counters(id).collect();
        space.file.header_words().count_removal();
        catalog.index.remove(id, party, room);
        space.free(head);
        for cell in counters.iter().map(|it| it.cell()).chain([head]) {
            catalog.overflow.forget(cell);
        }
        let mut removed = Removed::default();
        if head.is_in_file() {
            removed.freed.push(head);
            removed.dependent.extend((head + 1).until(end));
        }
        let counters = counters.into_iter().filter_map(in_file);
        removed.dependent.extend(counters);
        removed
    }

    /// Makes the cells of what was removed and released available. Waits for the disk: the
    /// removal of a room is on the disk before its counters are freed, and that is on the disk
    /// before new records use the cells. So no counter is ever taken for one of another room.
    /// Returns the number of cells.
    ///
    /// # Errors
    /// [`StoreError::Sync`] if the disk fails. The removed stays removed, and the next call tries
    /// again.
    pub(crate) fn reclaim(&self) -> Result<usize, StoreError> {
        let _maintenance = self.maintenance();
        let (removed, used_end) = {
            let mut catalog = self.catalog();
            (
                std::mem::take(&mut catalog.removed),
                catalog.free.used_end(),
            )
        };
        if removed.is_empty() {
            return Ok(0);
        }
        let file = &self.space.file;
        let freed = file.sync(CellId::HEADER..used_end).and_then(|()| {
            removed.dependent.iter().for_each(|cell| file.free(*cell));
            // Processes that are copying the file must not take new records for old ones.
            file.header_words().count_removal();
            file.sync(CellId::HEADER..used_end)
        });
        if let Err(error) = freed {
            self.catalog().removed.add(removed);
            return Err(StoreError::Sync(error));
        }
        let cells = [removed.freed, removed.dependent].concat();
        for batch in cells.chunks(BATCH) {
            {
                let mut catalog = self.catalog();
                catalog.is_full = false;
                let free = &mut catalog.free;
                batch.iter().for_each(|cell| free.give_back(*cell, 1));
            }
            self.yield_catalog();
        }
        Ok(cells.len())
    }
}

impl Catalog {
    /// Keeps cells from being used until they are released.
    fn retire(&mut self, removed: Removed) -> Retired {
        Retired {
            key: self.retired.insert(removed),
        }
    }
}

/// The cell of a counter, if it is in the file. Overflow cells are never used again.
fn in_file(counter: CounterId) -> Option<CellId> {
    Some(counter.cell()).filter(|cell| cell.is_in_file())
}
