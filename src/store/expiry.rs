//! Expiry: removing rooms that have not been used for long.

use super::cells::CellSource;
use super::format::{CellId, RoomCell, RoomId, RoomState};
use super::handle::Store;

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
        if !id.cell().is_in_file() || !is_inactive(&space.room_cell(id), unix_seconds) {
            return false;
        }
        // A counter that is not sealed has counted something since the last flush.
        let is_quiet = catalog
            .index
            .counters(id)
            .all(|it| it.cell().is_in_file() && space.counter_cell(it).is_sealed());
        if !is_quiet {
            return false;
        }
        let removed = self.take_out(&mut catalog, id, party, room);
        catalog.removed.add(removed);
        true
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
    let is_old = |state: RoomState| state.active.is_some_and(|it| it < unix_seconds);
    // A room that isn't open stays: its mode is a decision of the operator.
    room.is_room() && room.state().is_ok_and(|it| it.mode.is_open() && is_old(it))
}
