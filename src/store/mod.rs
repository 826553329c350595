//! The snapshot file: where the counts live.
//!
//! - [`mod@format`]: the layout of the file, pure: cells of 64 bytes to records and back.
//! - `map`: the mapped file; growth, lock and sync. One of the crate's two homes of `unsafe`.
//! - `dirty`: whether the file has changed since it was last synced, and the flusher's wait.
//!
//! [`Store`] is what rooms see: (party, room, kind) to [`Counter`]. A counter is an aligned word
//! of the mapped file itself, so what a client was shown is in the page cache, and survives the
//! death of this process at any instruction.
//!
//! # The promise
//! - The process dies (SIGKILL, abort, out of memory): nothing that was counted is lost.
//! - The machine dies: at most what was counted since the last sync is lost.
//!
//! What no server can survive is another program that truncates the file while it is mapped.

mod dirty;
pub mod format;
mod map;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hashbrown::HashTable;
use thiserror::Error;

use dirty::Dirty;
use format::{CounterRecord, Damage, Record, RoomRecord};
use map::Map;
pub use map::{DEFAULT_MAX_FILE_BYTES, MAX_FILE_BYTES, MIN_FILE_BYTES};

/// The default of the most rooms that a store keeps.
pub const DEFAULT_MAX_ROOMS: usize = 4_000_000;

/// Why a snapshot file can't be opened. Every message names the file and what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error(
        "snapshot {path}: can't {action}: {source}; choose another file with --snapshot, or none with --no-snapshot"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process holds it.
    #[error(
        "snapshot {path} is locked by pid {pid}: stop that server, or choose another file with --snapshot"
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// The process that wrote itself into the file's header.
        pid: u32,
    },
    /// Not a file that this version can read. It was left as it is.
    #[error(
        "snapshot {path}: {reason}; it was left as it is: move it away, or choose another file with --snapshot"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with its header.
        reason: format::HeaderError,
    },
    /// Larger than the mapping that was asked for.
    #[error("snapshot {path} has {length_bytes} bytes, more than --snapshot-max-bytes allows")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        length_bytes: u64,
    },
}

/// Why a room or kind can't be added.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The limit on rooms is reached.
    #[error("the store has its limit of {0} rooms; raise --max-rooms")]
    TooManyRooms(usize),
    /// A name that the format can't hold.
    #[error("the name is too long for the snapshot format")]
    NameTooLong,
    /// The file has reached its largest size.
    #[error("the snapshot is full; raise --snapshot-max-bytes")]
    Full,
    /// The file can't grow.
    #[error("the snapshot can't grow: {0}")]
    Grow(#[source] io::Error),
}

/// What a store was opened with, for the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct OpenReport {
    /// Rooms found.
    pub rooms: usize,
    /// Counters found.
    pub counters: usize,
    /// Records that were not whole, as a crash of the machine can leave them.
    pub damaged: usize,
}

/// The counters of all rooms, in a mapped file or, without one, in anonymous memory.
#[derive(Debug)]
pub struct Store {
    map: Arc<Map>,
    dirty: Arc<Dirty>,
    index: Mutex<Index>,
    max_rooms: usize,
    syncs: AtomicU64,
}

/// Where the rooms are. What it costs is a few bytes a room; their names are in the file.
#[derive(Debug)]
struct Index {
    rooms: HashTable<Place>,
    hasher: RandomState,
    next_cell: u32,
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
    fn spread(hash: u32) -> u64 {
        u64::from(hash) | u64::from(hash) << 32
    }
}

/// A room's record in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomId(u32);

/// One count, a word of the mapped file. It only grows, until it is reset, and never wraps.
#[derive(Debug, Clone)]
pub struct Counter {
    map: Arc<Map>,
    dirty: Arc<Dirty>,
    cell: u32,
}

impl Counter {
    /// Adds `delta`; at the largest number it stays.
    #[inline]
    pub fn add(&self, delta: u64) {
        let word = &self.map.cell(self.cell)[format::COUNT_WORD];
        // The closure always gives a value, so this can't fail.
        let _ = word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |count| {
            Some(count.saturating_add(delta))
        });
        self.dirty.mark();
    }

    /// Sets the count to zero.
    pub fn reset(&self) {
        self.map.cell(self.cell)[format::COUNT_WORD].store(0, Ordering::SeqCst);
        self.dirty.mark();
    }

    /// The count now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.map.cell(self.cell)[format::COUNT_WORD].load(Ordering::Acquire)
    }
}

impl Store {
    /// Opens the snapshot file at `path`, or creates it, and locks it.
    ///
    /// # Errors
    /// [`OpenError`]; the file is then as it was.
    pub fn open(
        path: &Path,
        max_file_bytes: u64,
        max_rooms: usize,
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::load(Map::open(path, max_file_bytes)?, Some(path), max_rooms)
    }

    /// A store in anonymous memory: the same code, and nothing outlives the process.
    ///
    /// # Errors
    /// [`OpenError::Io`] if the address space can't be had.
    pub fn anonymous(max_file_bytes: u64, max_rooms: usize) -> Result<Self, OpenError> {
        Ok(Self::load(Map::anonymous(max_file_bytes)?, None, max_rooms)?.0)
    }

    fn load(
        map: Map,
        path: Option<&Path>,
        max_rooms: usize,
    ) -> Result<(Self, OpenReport), OpenError> {
        let path = path.unwrap_or(Path::new("(memory)"));
        if map.is_blank() {
            let created = SystemTime::now().duration_since(UNIX_EPOCH);
            let header = format::encode_header(created.map_or(0, |age| age.as_secs()));
            map.write_record(0, &[header]);
            map.sync_new().map_err(|source| OpenError::Io {
                path: path.to_owned(),
                action: "write it",
                source,
            })?;
        }
        format::decode_header(&map.read(0)).map_err(|reason| OpenError::Unreadable {
            path: path.to_owned(),
            reason,
        })?;
        map.fill_holes().map_err(|source| OpenError::Io {
            path: path.to_owned(),
            action: "allocate it",
            source,
        })?;
        map.cell(0)[format::OWNER_WORD].store(u64::from(std::process::id()), Ordering::Relaxed);
        let mut index = Index {
            rooms: HashTable::new(),
            hasher: RandomState::new(),
            next_cell: format::FIRST_CELL,
        };
        let report = index.scan(&map);
        let store = Self {
            map: Arc::new(map),
            dirty: Arc::default(),
            index: Mutex::new(index),
            max_rooms,
            syncs: AtomicU64::new(0),
        };
        Ok((store, report))
    }

    /// The record of a room, if it has one.
    pub fn find(&self, party: &str, room: &str) -> Option<RoomId> {
        self.index().find(&self.map, party, room)
    }

    /// The record of a room; it is made if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if there is none and none can be made.
    pub fn room(&self, party: &str, room: &str) -> Result<RoomId, StoreError> {
        let mut index = self.index();
        if let Some(found) = index.find(&self.map, party, room) {
            return Ok(found);
        }
        if index.rooms.len() >= self.max_rooms {
            return Err(StoreError::TooManyRooms(self.max_rooms));
        }
        let cells = format::encode_room(party, room).ok_or(StoreError::NameTooLong)?;
        let cell = index.allocate(&self.map, cells.len() as u32)?;
        self.map.write_record(cell, &cells);
        index.insert(cell, party, room);
        self.dirty.mark();
        Ok(RoomId(cell))
    }

    /// The kinds of a room with their counters, first made first.
    pub fn kinds(&self, room: RoomId) -> Vec<(String, Counter)> {
        let _index = self.index();
        self.counters_of(room)
            .into_iter()
            .map(|(cell, record)| (record.kind, self.counter(cell)))
            .collect()
    }

    /// The counter of a kind of a room; it is made, at zero, if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if there is none and none can be made.
    pub fn counter_of(&self, room: RoomId, kind: &str) -> Result<Counter, StoreError> {
        let mut index = self.index();
        let known = self.counters_of(room);
        if let Some((cell, _)) = known.iter().find(|(_, record)| record.kind == kind) {
            return Ok(self.counter(*cell));
        }
        let ordinal = u8::try_from(known.len()).map_err(|_| StoreError::Full)?;
        let encoded =
            format::encode_counter(room.0, ordinal, kind).ok_or(StoreError::NameTooLong)?;
        let cell = index.allocate(&self.map, 1)?;
        self.map.write_record(cell, &[encoded]);
        link(&self.map, room.0, cell);
        self.dirty.mark();
        Ok(self.counter(cell))
    }

    /// How many rooms have a record.
    pub fn rooms(&self) -> usize {
        self.index().rooms.len()
    }

    /// Waits until something changed or [`Store::stop_waiting`] was called. Returns whether the
    /// store has changed; the next call to [`Store::sync`] covers it.
    pub fn wait_until_dirty(&self) -> bool {
        self.dirty.wait()
    }

    /// Waits for `time`, or until [`Store::stop_waiting`] was called.
    pub fn rest(&self, time: Duration) {
        self.dirty.rest(time);
    }

    /// Whether [`Store::stop_waiting`] was called.
    pub fn is_stopped(&self) -> bool {
        self.dirty.is_stopped()
    }

    /// Lets the waits return from now on.
    pub fn stop_waiting(&self) {
        self.dirty.stop();
    }

    /// Writes what has changed to the disk and waits for it.
    ///
    /// # Errors
    /// What the operating system says; the store is then dirty still.
    pub fn sync(&self) -> io::Result<()> {
        self.dirty.clear();
        let used_cells = self.index().next_cell;
        self.map
            .sync(used_cells)
            .inspect_err(|_| self.dirty.mark())?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How often it was written to the disk, and whether it has changed since that last began.
    pub fn syncs(&self) -> (u64, bool) {
        (self.syncs.load(Ordering::Relaxed), self.dirty.is_dirty())
    }

    /// Makes room for the next records, so that whoever adds them need not wait for the disk.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't grow; what has room still works.
    pub fn grow_ahead(&self) -> Result<(), StoreError> {
        let used_cells = self.index().next_cell;
        self.map.grow_ahead(used_cells)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Every change to the index is complete before anything can panic.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, cell: u32) -> Counter {
        Counter {
            map: Arc::clone(&self.map),
            dirty: Arc::clone(&self.dirty),
            cell,
        }
    }

    /// The counters of a room by their order. The caller holds the index, which keeps the links
    /// still; they were made or checked by this process, so they have an end.
    fn counters_of(&self, room: RoomId) -> Vec<(u32, CounterRecord)> {
        let mut found = Vec::new();
        let mut next = format::link_of(&self.map.read(room.0));
        while next != 0 {
            let cell = self.map.read(next);
            if let Ok(Record::Counter(record)) = format::decode(&cell, |_| None) {
                found.push((next, record));
            }
            next = format::link_of(&cell);
        }
        found.sort_by_key(|(_, record)| record.ordinal);
        found
    }
}

/// Makes `counter` the first in the list of its room.
fn link(map: &Map, room: u32, counter: u32) {
    let first = format::link_of(&map.read(room));
    format::set_link(map.cell(counter), first);
    format::set_link(map.cell(room), counter);
}

impl Index {
    /// Reads every record of the file: finds the rooms, and links their counters anew.
    fn scan(&mut self, map: &Map) -> OpenReport {
        let mut report = OpenReport::default();
        let mut rooms = Vec::new();
        let mut counters = Vec::new();
        let mut cell = format::FIRST_CELL;
        while cell < map.cells() {
            let read = |offset: u32| (cell + offset < map.cells()).then(|| map.read(cell + offset));
            let mut step = 1;
            match format::decode(&map.read(cell), read) {
                Ok(Record::Room(RoomRecord { party, room, cells })) => {
                    format::set_link(map.cell(cell), 0);
                    self.insert(cell, &party, &room);
                    rooms.push(cell);
                    step = cells;
                }
                Ok(Record::Counter(record)) => counters.push((cell, record.room)),
                Ok(Record::Free) => step = 0,
                // What follows the head of a room that never came to be.
                Ok(Record::Continuation) => {}
                Err(Damage) => report.damaged += 1,
            }
            if step > 0 {
                self.next_cell = cell + step;
            }
            cell += step.max(1);
        }
        report.rooms = rooms.len();
        for (cell, room) in counters {
            // The rooms were found in the order of their cells.
            if rooms.binary_search(&room).is_ok() {
                link(map, room, cell);
                report.counters += 1;
            } else {
                report.damaged += 1;
            }
        }
        report
    }

    fn find(&self, map: &Map, party: &str, room: &str) -> Option<RoomId> {
        let hash = self.hash(party, room);
        let is_it = |place: &Place| {
            place.hash == hash
                && name_at(map, place.cell).is_some_and(|(p, r)| p == party && r == room)
        };
        let found = self.rooms.find(Place::spread(hash), is_it);
        found.map(|place| RoomId(place.cell))
    }

    fn insert(&mut self, cell: u32, party: &str, room: &str) {
        let hash = self.hash(party, room);
        let place = Place { cell, hash };
        self.rooms
            .insert_unique(Place::spread(hash), place, |place| {
                Place::spread(place.hash)
            });
    }

    fn hash(&self, party: &str, room: &str) -> u32 {
        self.hasher.hash_one((party, room)) as u32
    }

    fn allocate(&mut self, map: &Map, cells: u32) -> Result<u32, StoreError> {
        let cell = self.next_cell;
        let end = cell.checked_add(cells).ok_or(StoreError::Full)?;
        map.grow_to(end)?;
        self.next_cell = end;
        Ok(cell)
    }
}

fn name_at(map: &Map, cell: u32) -> Option<(String, String)> {
    let read = |offset: u32| (cell + offset < map.cells()).then(|| map.read(cell + offset));
    match format::decode(&map.read(cell), read) {
        Ok(Record::Room(record)) => Some((record.party, record.room)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
