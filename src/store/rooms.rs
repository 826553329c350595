//! Rooms and their counters: finding and creating them.

use super::catalog::Catalog;
use super::cells::CellSource;
use super::contents::RoomContents;
use super::counter::Counter;
use super::error::StoreError;
use super::format::{self, Cell, CellId, CounterId, MAX_ROOM_COUNTERS, RoomId, RoomState};
use super::handle::Store;
use super::seal;

impl Store {
    /// The room with this name, if there is one.
    pub fn find(&self, party: &str, room: &str) -> Option<RoomId> {
        self.catalog().find(&self.space, party, room)
    }

    /// The room with this name, which is created if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if there is none and none can be created.
    pub fn room_or_create(&self, party: &str, room: &str) -> Result<RoomId, StoreError> {
        let mut catalog = self.catalog();
        if let Some(found) = catalog.find(&self.space, party, room) {
            return Ok(found);
        }
        if catalog.index.len() >= self.max_rooms {
            return Err(StoreError::TooManyRooms(self.max_rooms));
        }
        let mut cells = format::encode_room(party, room).ok_or(StoreError::NameTooLong)?;
        let state = RoomState {
            active: Some(seal::unix_seconds()),
            ..RoomState::default()
        };
        format::stamp_state(&mut cells[0], state);
        let cell = catalog.allocate_room(&self.space, cells.len() as u32)?;
        let id = RoomId::at(cell);
        self.space.write_record(cell, &cells);
        catalog.index.insert(id, party, room);
        self.announce_record(&catalog, cell, &cells);
        Ok(id)
    }

    /// The kinds of a room with their counters, in the order in which they were created.
    pub fn kinds(&self, room: RoomId) -> Vec<(String, Counter)> {
        let catalog = self.catalog();
        let room = catalog.overflow.resolve(room);
        catalog
            .index
            .counter_records(&*self.space, room)
            .map(|(counter, record)| (record.kind, catalog.counter(&self.space, counter)))
            .collect()
    }

    /// The counter of a kind in a room, which is created at zero if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if there is none and none can be created, also because the room was removed.
    pub fn counter_of(&self, room: RoomId, kind: &str) -> Result<Counter, StoreError> {
        let mut catalog = self.catalog();
        let room = catalog.overflow.resolve(room);
        let mut ordinals = Vec::new();
        for (counter, record) in catalog.index.counter_records(&*self.space, room) {
            if record.kind == kind {
                return Ok(catalog.counter(&self.space, counter));
            }
            ordinals.push(record.ordinal);
        }
        if ordinals.len() >= MAX_ROOM_COUNTERS {
            return Err(StoreError::TooManyKinds);
        }
        if !self.space.room_cell(room).is_room() {
            return Err(StoreError::RoomRemoved);
        }
        let ordinal = next_ordinal(&ordinals);
        let encoded =
            format::encode_counter(room, ordinal, kind, 0).ok_or(StoreError::NameTooLong)?;
        let cell = catalog.allocate_counter(&self.space, room)?;
        let id = CounterId::at(cell);
        self.space.write_record(cell, &[encoded]);
        let linked = catalog.index.link(&*self.space, room, id);
        debug_assert_eq!(linked, Ok(()));
        self.announce_record(&catalog, cell, &[encoded]);
        Ok(catalog.counter(&self.space, id))
    }

    /// Adds a room that was read from a file. A count that is there already becomes the larger
    /// of the two, and a mode the stricter.
    ///
    /// # Errors
    /// [`StoreError`] if the room or a kind does not fit.
    pub(super) fn put(&self, contents: &RoomContents) -> Result<(), StoreError> {
        // Tools that write files have no grower.
        self.grow_ahead()?;
        let _maintenance = self.maintenance();
        let is_new = self.find(&contents.party, &contents.room).is_none();
        let room = self.room_or_create(&contents.party, &contents.room)?;
        for (kind, count) in &contents.counts {
            let counter = self.counter_of(room, kind)?.id();
            self.space.counter(counter).raise_count(*count);
            // Sealed now: the next flush would take the count for a reaction of that moment.
            seal::seal(&self.space, counter);
            self.space.mark(counter.cell());
        }
        self.space.update_state(room, |state| {
            let active = if is_new { None } else { state.active };
            Some(RoomState {
                mode: state.mode.max(contents.mode),
                active: active.max(contents.active).or(state.active),
            })
        });
        self.space.mark(room.cell());
        Ok(())
    }

    /// Number of rooms.
    pub(crate) fn rooms(&self) -> usize {
        self.catalog().index.len()
    }

    /// The names of a room's party and of the room itself. A room that was removed has none, and
    /// its cells may be another room's by now.
    pub(crate) fn name_of(&self, room: RoomId) -> Option<(String, String)> {
        self.space.room_name(room)
    }

    /// Announces a new record: to the flusher, and to the grower if little space is left.
    fn announce_record(&self, catalog: &Catalog, first: CellId, cells: &[Cell]) {
        self.space.mark_record(first, cells);
        let used_end = catalog.free.used_end();
        if !first.is_in_file() {
            // The flusher tries to move the record into the file.
            self.wake();
        } else if catalog.growth_error.is_none() && self.space.file.is_running_low(used_end) {
            self.growth_signal.set();
        }
    }
}

/// The ordinal of a new kind, which comes after all `ordinals`. Uses a gap only if there is no
/// later ordinal.
fn next_ordinal(ordinals: &[u16]) -> u16 {
    let Some(last) = ordinals.last() else {
        return 0;
    };
    last.checked_add(1).unwrap_or_else(|| {
        let mut counted = (0..).zip(ordinals);
        let gap = counted.find(|(number, ordinal)| number != *ordinal);
        gap.map_or(ordinals.len() as u16, |(number, _)| number)
    })
}
