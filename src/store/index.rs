//! Where everything is: rooms by the hash of their names, and the counters of each room. Takes a
//! few bytes of memory for each cell of the file; the names are read from the file.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::cells::CellSource;
use super::format::{CellId, CounterId, CounterRecord, Home, MAX_ROOM_COUNTERS, RoomId};

/// The rooms and their counters.
#[derive(Debug)]
pub(super) struct Index {
    rooms: HashTable<Entry>,
    hasher: RandomState,
    links: Links,
}

/// A room, and half of its name's hash, so that the table grows without reading every name.
#[derive(Debug, Clone, Copy)]
struct Entry {
    room: RoomId,
    hash: u32,
}

impl Entry {
    /// The hash in the form that the table needs: it uses both the high and the low bits.
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

fn spread(hash: u32) -> u64 {
    u64::from(hash) | u64::from(hash) << 32
}

/// A counter can't be linked: its room has one with the same kind or ordinal, or too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misplaced;

impl Index {
    /// An index without rooms.
    pub(super) fn new() -> Self {
        Self {
            rooms: HashTable::new(),
            hasher: RandomState::new(),
            links: Links::default(),
        }
    }

    /// Number of rooms.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// The rooms, in no order.
    pub(super) fn rooms(&self) -> impl Iterator<Item = RoomId> {
        self.rooms.iter().map(|entry| entry.room)
    }

    /// The room with this name.
    pub(super) fn find(&self, cells: &impl CellSource, party: &str, room: &str) -> Option<RoomId> {
        let hash = self.hash(party, room);
        let is_match = |entry: &Entry| {
            let name = || cells.room_name(entry.room);
            entry.hash == hash && name().is_some_and(|(p, r)| p == party && r == room)
        };
        self.rooms
            .find(spread(hash), is_match)
            .map(|entry| entry.room)
    }

    /// Adds a room without counters. It must not be in the index yet.
    pub(super) fn insert(&mut self, id: RoomId, party: &str, room: &str) {
        let hash = self.hash(party, room);
        let entry = Entry { room: id, hash };
        self.rooms
            .insert_unique(entry.spread(), entry, Entry::spread);
        self.links.set(id.cell(), None);
    }

    /// Removes a room. Its counters no longer belong to it.
    pub(super) fn remove(&mut self, id: RoomId, party: &str, room: &str) {
        let hash = self.hash(party, room);
        let is_match = |entry: &Entry| entry.room == id;
        if let Ok(entry) = self.rooms.find_entry(spread(hash), is_match) {
            entry.remove();
        }
        self.links.set(id.cell(), None);
    }

    /// Gives a room another id. It keeps its counters.
    pub(super) fn move_room(&mut self, id: RoomId, new_id: RoomId, party: &str, room: &str) {
        let first = self.links.get(id.cell());
        self.remove(id, party, room);
        self.insert(new_id, party, room);
        self.links.set(new_id.cell(), first);
    }

    /// The counters of a room by ordinal.
    pub(super) fn counters(&self, room: RoomId) -> impl Iterator<Item = CounterId> {
        self.links.chain(room)
    }

    /// The counters of a room by ordinal, with what they count.
    pub(super) fn counter_records(
        &self,
        cells: &impl CellSource,
        room: RoomId,
    ) -> impl Iterator<Item = (CounterId, CounterRecord)> {
        self.counters(room)
            .filter_map(|counter| Some((counter, cells.counter_record(counter)?)))
    }

    /// Adds a counter to a room.
    ///
    /// # Errors
    /// [`Misplaced`] if the room has a counter with this ordinal or kind, or too many.
    pub(super) fn link(
        &mut self,
        cells: &impl CellSource,
        room: RoomId,
        counter: CounterId,
    ) -> Result<(), Misplaced> {
        let own = cells.counter_cell(counter);
        let mut before = room.cell();
        for (number, id) in self.links.chain(room).enumerate() {
            let other = cells.counter_cell(id);
            let is_same = other.ordinal() == own.ordinal() || other.has_kind_of(&own);
            if is_same || number + 1 >= MAX_ROOM_COUNTERS {
                return Err(Misplaced);
            }
            if other.ordinal() < own.ordinal() {
                before = id.cell();
            }
        }
        self.links.set(counter.cell(), self.links.get(before));
        self.links.set(before, Some(counter));
        Ok(())
    }

    /// Removes a counter from its room. Returns whether the room had it.
    pub(super) fn unlink(&mut self, room: RoomId, counter: CounterId) -> bool {
        let before = self.cell_before(room, counter);
        let is_linked = self.links.get(before) == Some(counter);
        if is_linked {
            self.links.set(before, self.links.get(counter.cell()));
            self.links.set(counter.cell(), None);
        }
        is_linked
    }

    /// Gives a counter of a room another id.
    pub(super) fn move_counter(&mut self, room: RoomId, id: CounterId, new_id: CounterId) {
        let before = self.cell_before(room, id);
        self.links.set(before, Some(new_id));
        self.links.set(new_id.cell(), self.links.get(id.cell()));
    }

    /// The cell whose link leads to a counter of a room; the room's last one if none does.
    fn cell_before(&self, room: RoomId, counter: CounterId) -> CellId {
        let mut before = room.cell();
        while let Some(next) = self.links.get(before)
            && next != counter
        {
            before = next.cell();
        }
        before
    }

    fn hash(&self, party: &str, room: &str) -> u32 {
        self.hasher.hash_one((party, room)) as u32
    }
}

/// For each room its first counter, and for each counter the next one of its room.
#[derive(Debug, Default)]
struct Links {
    file: Table,
    overflow: Table,
}

/// Numbers of counters by cell, in pieces, so that the table never moves as a whole. No counter
/// has the number 0, which stands for none.
type Table = Vec<Box<[u32]>>;

const PIECE: usize = 4096;

impl Links {
    fn get(&self, cell: CellId) -> Option<CounterId> {
        let table = match cell.home() {
            Home::File => &self.file,
            Home::Overflow => &self.overflow,
        };
        let index = cell.within_home().number() as usize;
        let number = table.get(index / PIECE)?[index % PIECE];
        (number != 0).then(|| CounterId::at(CellId::new(number)))
    }

    fn set(&mut self, cell: CellId, link: Option<CounterId>) {
        let table = match cell.home() {
            Home::File => &mut self.file,
            Home::Overflow => &mut self.overflow,
        };
        let index = cell.within_home().number() as usize;
        while table.len() <= index / PIECE {
            table.push(vec![0; PIECE].into());
        }
        table[index / PIECE][index % PIECE] = link.map_or(0, |counter| counter.cell().number());
    }

    fn chain(&self, room: RoomId) -> impl Iterator<Item = CounterId> {
        std::iter::successors(self.get(room.cell()), |counter| self.get(counter.cell()))
    }
}
