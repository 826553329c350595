//! Rooms and their counters: finding and creating them.

use super::catalog::Catalog;
use super::cells::CellSource;
use super::contents::RoomContents;
use super::counter::Counter;
use super::error::StoreError;
use super::format::{self, Cell, CellId, CounterId, RoomId};
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
        format::stamp_active(&mut cells[0], seal::unix_seconds());
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
    /// [`StoreError`] if there is none and none can be created.
    pub fn counter_of(&self, room: RoomId, kind: &str) -> Result<Counter, StoreError> {
        let mut catalog = self.catalog();
        let room = catalog.overflow.resolve(room);
        let mut ordinal = 0;
        for (counter, record) in catalog.index.counter_records(&*self.space, room) {
            if record.kind == kind {
                return Ok(catalog.counter(&self.space, counter));
            }
            ordinal = usize::from(record.ordinal) + 1;
        }
        let ordinal = u8::try_from(ordinal).map_err(|_| StoreError::TooManyKinds)?;
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
    /// of the two.
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
        if let Some(active) = contents.active {
            if is_new {
                seal::set_active(&self.space, room, active);
            } else {
                seal::note_active(&self.space, room, active);
            }
            self.space.mark(room.cell());
        }
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
