//! Where everything is: the rooms by the hash of their name, the counters of a room, the free
//! cells. A few bytes of memory for each cell of the file; the names are read from the file.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::format::{self, CounterRecord, MAX_ROOM_COUNTERS, Record};
use super::free::FreeCells;
use super::mapping::Cells;

#[derive(Debug)]
pub(super) struct Index {
    rooms: HashTable<Place>,
    hasher: RandomState,
    links: Links,
    pub(super) free: FreeCells,
}

/// Where a room's record is, and half of its name's hash, so that the table grows without
/// reading every name.
#[derive(Debug, Clone, Copy)]
struct Place {
    cell: u32,
    hash: u32,
}

impl Place {
    /// The hash as the table wants it: its high and its low bits both count.
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

fn spread(hash: u32) -> u64 {
    u64::from(hash) | u64::from(hash) << 32
}

/// Why a counter can't be one of its room's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misplaced;

impl Index {
    pub(super) fn new(next_cell: u32) -> Self {
        Self {
            rooms: HashTable::new(),
            hasher: RandomState::new(),
            links: Links::default(),
            free: FreeCells::new(next_cell),
        }
    }

    /// How many rooms there are.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// The cells of the rooms, in no order.
    pub(super) fn rooms(&self) -> impl Iterator<Item = u32> {
        self.rooms.iter().map(|place| place.cell)
    }

    pub(super) fn find(&self, cells: &impl Cells, party: &str, room: &str) -> Option<u32> {
        let hash = self.hash(party, room);
        let is_it = |place: &Place| {
            place.hash == hash
                && name_at(cells, place.cell).is_some_and(|(p, r)| p == party && r == room)
        };
        self.rooms.find(spread(hash), is_it).map(|place| place.cell)
    }

    /// Adds a room, which must not be there yet, without counters.
    pub(super) fn insert(&mut self, cell: u32, party: &str, room: &str) {
        let hash = self.hash(party, room);
        let place = Place { cell, hash };
        self.rooms
            .insert_unique(place.spread(), place, Place::spread);
        self.links.set(cell, 0);
    }

    /// Forgets the room at `cell`.
    pub(super) fn remove(&mut self, cell: u32, party: &str, room: &str) {
        let hash = self.hash(party, room);
        let is_it = |place: &Place| place.cell == cell;
        if let Ok(entry) = self.rooms.find_entry(spread(hash), is_it) {
            entry.remove();
        }
    }

    /// The room at `cell` is at `new_cell` from now on, with the counters that it has.
    pub(super) fn move_room(&mut self, cell: u32, new_cell: u32, party: &str, room: &str) {
        let first = self.links.get(cell);
        self.remove(cell, party, room);
        self.insert(new_cell, party, room);
        self.links.set(new_cell, first);
    }

    /// The counters of a room by their order.
    pub(super) fn counters_of(
        &self,
        cells: &impl Cells,
        room: u32,
    ) -> impl Iterator<Item = (u32, CounterRecord)> {
        self.links.chain(room).filter_map(|cell| {
            match format::decode(&cells.read(cell), |_| None) {
                Ok(Record::Counter(record)) => Some((cell, record)),
                _ => None,
            }
        })
    }

    /// The cells of the counters of a room by their order.
    pub(super) fn counter_cells(&self, room: u32) -> impl Iterator<Item = u32> {
        self.links.chain(room)
    }

    /// Adds a counter to those of its room.
    ///
    /// # Errors
    /// If the room has one of this order or kind, or as many as it can have.
    pub(super) fn link(
        &mut self,
        cells: &impl Cells,
        room: u32,
        counter: u32,
    ) -> Result<(), Misplaced> {
        let own = cells.read(counter);
        let ordinal = |cell: &format::Cell| cell[0].to_le_bytes()[2];
        let mut before = room;
        for (number, cell) in self.links.chain(room).enumerate() {
            let other = cells.read(cell);
            let is_same = ordinal(&other) == ordinal(&own)
                || format::kind_words(&other) == format::kind_words(&own);
            if is_same || number + 1 >= MAX_ROOM_COUNTERS {
                return Err(Misplaced);
            }
            if ordinal(&other) < ordinal(&own) {
                before = cell;
            }
        }
        self.links.set(counter, self.links.get(before));
        self.links.set(before, counter);
        Ok(())
    }

    /// The counter at `cell` is at `new_cell` from now on.
    pub(super) fn move_counter(&mut self, room: u32, cell: u32, new_cell: u32) {
        let mut before = room;
        while self.links.get(before) != cell && self.links.get(before) != 0 {
            before = self.links.get(before);
        }
        self.links.set(before, new_cell);
        self.links.set(new_cell, self.links.get(cell));
    }

    fn hash(&self, party: &str, room: &str) -> u32 {
        self.hasher.hash_one((party, room)) as u32
    }
}

/// How many cells the record of the room at `cell` has.
pub(super) fn record_cells(cells: &impl Cells, cell: u32) -> u32 {
    let [_, cells, _, _, ..] = cells.read(cell)[0].to_le_bytes();
    u32::from(cells).max(1)
}

/// The name of the room at `cell`.
pub(super) fn name_at(cells: &impl Cells, cell: u32) -> Option<(String, String)> {
    let read = |offset: u32| {
        let cell = cell.checked_add(offset)?;
        cells.has(cell).then(|| cells.read(cell))
    };
    match format::decode(&cells.read(cell), read) {
        Ok(Record::Room(record)) => Some((record.party, record.room)),
        _ => None,
    }
}

/// For each room its first counter, for each counter the next of its room; 0 for none.
#[derive(Debug, Default)]
struct Links {
    file: Table,
    spare: Table,
}

/// In pieces, so that it never moves as a whole.
type Table = Vec<Box<[u32]>>;

const PIECE: usize = 4096;

impl Links {
    fn get(&self, cell: u32) -> u32 {
        let (is_spare, index) = split(cell);
        let table = if is_spare { &self.spare } else { &self.file };
        table
            .get(index / PIECE)
            .map_or(0, |piece| piece[index % PIECE])
    }

    fn set(&mut self, cell: u32, link: u32) {
        let (is_spare, index) = split(cell);
        let table = if is_spare {
            &mut self.spare
        } else {
            &mut self.file
        };
        while table.len() <= index / PIECE {
            table.push(vec![0; PIECE].into());
        }
        table[index / PIECE][index % PIECE] = link;
    }

    fn chain(&self, room: u32) -> impl Iterator<Item = u32> {
        let next = |cell: u32| Some(self.get(cell)).filter(|next| *next != 0);
        std::iter::successors(next(room), move |cell| next(*cell))
    }
}

fn split(cell: u32) -> (bool, usize) {
    use super::memory::SPARE;
    (cell & SPARE != 0, (cell & !SPARE) as usize)
}
