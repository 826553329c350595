//! Expiry: removing rooms that have not been used for long, and reclaiming their cells. A crash at
//! any instruction leaves a room whole or removed.

use super::catalog::Removed;
use super::cells::CellSource;
use super::error::StoreError;
use super::format::{CellId, RoomCell, RoomId};
use super::handle::Store;

/// Number of cells that are given back at once, before other threads get the catalog.
const BATCH: usize = 4096;

impl Store {
    /// The rooms that have counted nothing since `unix_seconds`.
    pub(crate) fn rooms_inactive_since(&self, unix_seconds: u32) -> Vec<RoomId> {
        // Without the lock: what is not in memory must be read from the disk.
        let used_end = self.catalog().free.used_end();
        match self.space.file.map_read_only() {
            Ok(Some(cells)) => inactive_rooms(&cells, used_end, unix_seconds),
            Ok(None) | Err(_) => inactive_rooms(&*self.space, used_end, unix_seconds),
        }
    }

    /// Removes a room that has counted nothing since `unix_seconds`. No caller may hold one of
    /// its counters. Returns whether the room was removed; [`Store::reclaim`] makes its cells
    /// available.
    pub(crate) fn remove_inactive(&self, party: &str, room: &str, unix_seconds: u32) -> bool {
        let space = &self.space;
        let mut catalog = self.catalog();
        let Some(id) = catalog.find(space, party, room) else {
            return false;
        };
        let head = id.cell();
        let copy = space.room_cell(id);
        if !head.is_in_file() || !is_inactive(&copy, unix_seconds) {
            return false;
        }
        let counters: Vec<_> = catalog.index.counters(id).collect();
        // A counter that is not sealed has counted something since the last flush.
        let is_quiet = counters
            .iter()
            .all(|it| it.cell().is_in_file() && space.counter_cell(*it).is_sealed());
        if !is_quiet {
            return false;
        }
        space.file.header_words().count_removal();
        catalog.index.remove(id, party, room);
        space.file.free(head);
        space.mark(head);
        let removed = &mut catalog.removed;
        removed.heads.push(head);
        let end = head + copy.record_cells();
        removed.others.extend((head + 1).until(end));
        removed.others.extend(counters.iter().map(|it| it.cell()));
        true
    }

    /// Makes the cells of removed rooms available. Waits for the disk: the removal of a room is
    /// on the disk before its counters are freed, and that is on the disk before new records use
    /// the cells. So no counter is ever taken for one of another room. Returns the number of
    /// cells.
    ///
    /// # Errors
    /// [`StoreError::Sync`] if the disk fails. The rooms stay removed, and the next call tries
    /// again.
    pub(crate) fn reclaim(&self) -> Result<usize, StoreError> {
        let _maintenance = self.maintenance();
        let Removed { heads, others } = std::mem::take(&mut self.catalog().removed);
        if heads.is_empty() {
            return Ok(0);
        }
        let file = &self.space.file;
        let used_end = self.catalog().free.used_end();
        let freed = file.sync(CellId::HEADER..used_end).and_then(|()| {
            others.iter().for_each(|cell| file.free(*cell));
            // Processes that are copying the file must not take new records for old ones.
            file.header_words().count_removal();
            file.sync(CellId::HEADER..used_end)
        });
        if let Err(error) = freed {
            let removed = &mut self.catalog().removed;
            removed.heads.extend(heads);
            removed.others.extend(others);
            return Err(StoreError::Sync(error));
        }
        let cells = [heads, others].concat();
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

fn inactive_rooms(cells: &impl CellSource, used_end: CellId, unix_seconds: u32) -> Vec<RoomId> {
    CellId::FIRST_RECORD
        .until(used_end)
        .filter(|cell| {
            let room = RoomCell::parse(cells.read(*cell));
            room.is_some_and(|room| is_inactive(&room, unix_seconds))
        })
        .map(RoomId::at)
        .collect()
}

fn is_inactive(room: &RoomCell, unix_seconds: u32) -> bool {
    room.is_room() && matches!(room.active(), Ok(Some(active)) if active < unix_seconds)
}
