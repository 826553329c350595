//! The modes of rooms: what clients may do in them.

use super::cells::CellSource;
use super::format::{RoomId, RoomMode, RoomState};
use super::handle::Store;

impl Store {
    /// The mode of a room.
    pub fn mode_of(&self, room: RoomId) -> RoomMode {
        let catalog = self.catalog();
        let room = catalog.overflow.resolve(room);
        self.space.room_cell(room).state().unwrap_or_default().mode
    }

    /// Sets the mode of a room. Never waits for the disk: the next flush makes the mode last.
    pub fn set_mode(&self, room: RoomId, mode: RoomMode) {
        // Held until the mode is written, so that the room does not move in between.
        let catalog = self.catalog();
        let room = catalog.overflow.resolve(room);
        let is_changed = self.space.update_state(room, |state| {
            (state.mode != mode).then_some(RoomState { mode, ..state })
        });
        if is_changed {
            self.space.mark(room.cell());
        }
    }
}
