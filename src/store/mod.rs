//! The snapshot file: where the counts live.
//!
//! - [`mod@format`]: the layout of the file, pure: cells of 64 bytes to records and back.
//! - `mapping`: mapped memory as cells; one of the crate's homes of `unsafe`.
//! - `map`: the file behind it: lock, growth, sync. `disk`: what it asks of the file system.
//! - `memory`: the file's cells and the spare ones; `spare`: what is in memory because the file
//!   can't grow, and how it moves into the file.
//! - `index`, `free`: where the rooms are, and where there is place for another.
//! - `survey`: a look at a whole file; `contents`: its rooms with their counts; `rewrite`: writing
//!   it anew.
//! - `open`: what is there, and what a crash has left to be set right. `counter`: what reactors
//!   add to. `dirty`: which pages they have changed; `signal`: what threads wait for. `flush`:
//!   sealing and syncing those pages. `retire`: resets and removals.
//!
//! [`Store`] is what rooms see: (party, room, kind) to [`Counter`]. A counter is an aligned word
//! of the mapped file itself, so what a client was shown is in the page cache, and survives the
//! death of this process at any instruction.
//!
//! # The promise
//! - The process dies (SIGKILL, abort, out of memory): no reaction is lost that anybody saw
//!   counted, and none is counted twice.
//! - The machine dies: at most what was counted since the last flush is lost. What remains are
//!   counts that there were; no name is corrupt; the next server starts by itself.
//! - The file can't grow, or not in time (full disk, limit on file sizes, a disk that hangs): new
//!   rooms and kinds are counted in memory, up to [`StoreLimits::max_spare_bytes`], and move into
//!   the file as soon as it can grow. Only the death of the process before that loses them.
//!   Counts that are in the file go on there: their blocks are allocated, so writing to them
//!   never needs space.
//! - The disk fails (EIO): the counts stay in the page cache, and what could not be written is
//!   written again with the next flush.
//! - A foreign file, or one of another version: refused, and left as it was.
//! - A damaged or truncated file: refused, with the place of the damage, and left as it was; or
//!   salvaged. What can be known of a file, and what can't, is said in [`mod@format`].
//!
//! What no server can survive is another program that truncates the file while it is mapped
//! (SIGBUS), or that writes to it in spite of the lock.
//!
//! # Why the threads can't harm each other
//! All memory of the file is reached as atomics. Of the words that change, a count is changed by
//! atomic additions alone, except while its room is reset; its sealed copy, its mark and its
//! room's age by the one thread that holds the maintenance lock; the first word of a record when
//! it is made or removed, under the lock of the index. A cell is used again only after its old
//! record is gone from the disk, and only rooms of which nobody holds a counter are removed.

mod contents;
mod counter;
mod dirty;
mod disk;
mod error;
mod flush;
pub mod format;
mod free;
mod index;
mod map;
mod mapping;
mod memory;
mod open;
mod retire;
mod rewrite;
mod signal;
mod spare;
mod status;
mod survey;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use contents::{RoomContents, Snapshot};
use counter::Core;
pub use counter::Counter;
pub use error::{OpenError, StoreError};
use flush::{Flushes, unix_seconds};
use format::{ACTIVE_WORD, COUNT_WORD};
use index::Index;
pub use map::{DEFAULT_MAX_FILE_BYTES, Lock, MAX_FILE_BYTES, MIN_FILE_BYTES};
use memory::SPARE;
pub use open::OpenReport;
use retire::Removed;
pub use retire::Reset;
pub use rewrite::{Rewrite, Salvaged};
use signal::Signal;
pub use spare::DEFAULT_MAX_SPARE_BYTES;
use spare::Spares;
pub use status::{Problem, SLOW, Status};
pub use survey::DamageReport;

/// The default of the most rooms that a store keeps.
pub const DEFAULT_MAX_ROOMS: usize = 4_000_000;

/// What a store may take.
#[derive(Debug, Clone)]
pub struct StoreLimits {
    /// The most that the file may grow to, in bytes; address space is reserved for it.
    pub max_file_bytes: u64,
    /// The most rooms.
    pub max_rooms: usize,
    /// The most memory for rooms and kinds that the file has no place for, in bytes.
    pub max_spare_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            max_file_bytes: DEFAULT_MAX_FILE_BYTES,
            max_rooms: DEFAULT_MAX_ROOMS,
            max_spare_bytes: DEFAULT_MAX_SPARE_BYTES,
        }
    }
}

/// The counters of all rooms, in a mapped file or, without one, in anonymous memory.
#[derive(Debug)]
pub struct Store {
    core: Arc<Core>,
    index: Mutex<Indices>,
    /// Held by whoever seals, resets or frees, also while the disk works; before the others.
    maintenance: Mutex<()>,
    flushes: Mutex<Flushes>,
    /// Set when the file should grow, or a flush begins.
    watch: Signal,
    max_rooms: usize,
}

/// Where everything is.
#[derive(Debug)]
struct Indices {
    places: Index,
    spares: Spares,
    removed: Removed,
    /// Why the file could not grow when it last had to.
    growth_error: Option<GrowthError>,
}

/// Why the file could not grow, and what the operator can do.
#[derive(Debug)]
struct GrowthError {
    message: String,
    remedy: &'static str,
}

/// A room's record in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomId(u32);

impl Store {
    /// The record of a room, if it has one.
    pub fn find(&self, party: &str, room: &str) -> Option<RoomId> {
        let found = self.index().places.find(&self.core.memory, party, room);
        found.map(RoomId)
    }

    /// The record of a room; it is made if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if there is none and none can be made.
    pub fn room(&self, party: &str, room: &str) -> Result<RoomId, StoreError> {
        let memory = &self.core.memory;
        let mut index = self.index();
        if let Some(found) = index.places.find(memory, party, room) {
            return Ok(RoomId(found));
        }
        if index.places.len() >= self.max_rooms {
            return Err(StoreError::TooManyRooms(self.max_rooms));
        }
        let mut cells = format::encode_room(party, room).ok_or(StoreError::NameTooLong)?;
        cells[0][ACTIVE_WORD] = format::active_mark(&cells[0], unix_seconds());
        let length = cells.len() as u32;
        let cell = match index.places.free.allocate(&memory.file, length) {
            Ok(cell) => cell,
            Err(error) => {
                let error = index.note_growth_error(error)?;
                index.spares.for_room(&memory.spare, length, error)?
            }
        };
        memory.write_record(cell, &cells);
        index.places.insert(cell, party, room);
        self.wrote(&index, cell, &cells);
        Ok(RoomId(cell))
    }

    /// The kinds of a room with their counters, first made first.
    pub fn kinds(&self, room: RoomId) -> Vec<(String, Counter)> {
        let index = self.index();
        let room = index.spares.resolve(room.0);
        index
            .places
            .counters_of(&self.core.memory, room)
            .map(|(cell, record)| (record.kind, index.counter(&self.core, cell)))
            .collect()
    }

    /// The counter of a kind of a room; it is made, at zero, if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if there is none and none can be made.
    pub fn counter_of(&self, room: RoomId, kind: &str) -> Result<Counter, StoreError> {
        let memory = &self.core.memory;
        let mut index = self.index();
        let room = index.spares.resolve(room.0);
        let mut ordinal = 0;
        for (cell, record) in index.places.counters_of(memory, room) {
            if record.kind == kind {
                return Ok(index.counter(&self.core, cell));
            }
            ordinal = usize::from(record.ordinal) + 1;
        }
        let ordinal = u8::try_from(ordinal).map_err(|_| StoreError::TooManyKinds)?;
        let encoded =
            format::encode_counter(room, ordinal, kind, 0).ok_or(StoreError::NameTooLong)?;
        // What belongs to a room that is not in the file can't be there before it.
        let in_file = match room & SPARE {
            0 => index.places.free.allocate(&memory.file, 1),
            _ => Err(StoreError::Late),
        };
        let cell = match in_file {
            Ok(cell) => cell,
            Err(error) => {
                let error = index.note_growth_error(error)?;
                index.spares.for_counter(&memory.spare, error)?
            }
        };
        memory.write_record(cell, &[encoded]);
        let linked = index.places.link(memory, room, cell);
        debug_assert_eq!(linked, Ok(()));
        self.wrote(&index, cell, &[encoded]);
        Ok(index.counter(&self.core, cell))
    }

    /// Adds a room that was read from a file. A count that is there already becomes the larger
    /// of the two.
    ///
    /// # Errors
    /// [`StoreError`] if it does not fit.
    pub fn put(&self, contents: &RoomContents) -> Result<(), StoreError> {
        // Without a flusher, nobody else does.
        self.grow_ahead()?;
        let _maintenance = self.maintenance();
        let is_new = self.find(&contents.party, &contents.room).is_none();
        let room = self.room(&contents.party, &contents.room)?;
        for (kind, count) in &contents.counts {
            let cell = self.counter_of(room, kind)?.cell();
            self.core.memory.cell(cell)[COUNT_WORD].fetch_max(*count, Ordering::SeqCst);
            // Now, since the next flush would take it for a reaction of that moment.
            flush::seal(&self.core, cell);
            self.core.mark(cell);
        }
        if let Some(active) = contents.active {
            flush::set_active(&self.core, room.0, active, is_new);
            self.core.mark(room.0);
        }
        Ok(())
    }

    /// How many rooms have a record.
    pub fn rooms(&self) -> usize {
        self.index().places.len()
    }

    /// Waits until something changed, [`Store::stop_waiting`] was called, or `longest` has
    /// passed. Returns whether the store has changed; the next call to [`Store::flush`] covers
    /// it.
    pub fn wait_until_dirty(&self, longest: Option<Duration>) -> bool {
        let is_dirty = self.core.dirty.signal.wait(longest);
        if is_dirty && self.core.memory.file.has_file() {
            // From now on, whatever it is that the flush will have to wait for.
            self.flushes().begin();
            self.watch.set();
        }
        is_dirty
    }

    /// Ends the wait for a change, as if there had been one.
    pub fn wake(&self) {
        self.core.dirty.signal.set();
    }

    /// Waits for `time`, or until [`Store::stop_waiting`] was called.
    pub fn rest(&self, time: Duration) {
        self.core.dirty.signal.rest(time);
    }

    /// Whether [`Store::stop_waiting`] was called.
    pub fn is_stopped(&self) -> bool {
        self.core.dirty.signal.is_stopped()
    }

    /// Lets the waits return from now on.
    pub fn stop_waiting(&self) {
        self.core.dirty.signal.stop();
        self.watch.stop();
    }

    /// Seals what has changed, writes it to the disk and waits for it. Without a file, the seals
    /// still tell which rooms have counted something.
    ///
    /// # Errors
    /// What the operating system says. The next call tries again, with all of it.
    pub fn flush(&self) -> io::Result<()> {
        self.flushes().begin();
        let _maintenance = self.maintenance();
        let used_cells = self.index().places.free.next_cell();
        let start = Instant::now();
        let flushed = flush::flush(&self.core, used_cells);
        self.flushes().end(&flushed, start.elapsed());
        flushed.map(|_| ())
    }

    /// Makes the file larger whenever there is little place for the next records, and calls `look`
    /// when a flush may have begun, ended or taken too long, until [`Store::stop_waiting`]. For a
    /// thread of its own: a flush may take long, and new rooms can't wait for it.
    pub fn watch(&self, mut look: impl FnMut()) {
        loop {
            // Nothing wakes it while nothing happens.
            let longest = self.flushes().is_running().then_some(status::SLOW_FLUSH);
            self.watch.wait(longest);
            if self.is_stopped() {
                return;
            }
            let used_cells = self.index().places.free.next_cell();
            let file = &self.core.memory.file;
            if file.is_running_low(used_cells)
                && let Err(error) = file.grow_ahead(used_cells)
            {
                // Whoever finds no place then is told the same.
                let _ = self.index().note_growth_error(error);
            }
            look();
        }
    }

    /// Makes place for the next records, so that whoever adds them need not wait for the disk,
    /// and moves into the file what had none before.
    ///
    /// # Errors
    /// [`StoreError`] if the file can't grow; what has place still works.
    pub fn grow_ahead(&self) -> Result<(), StoreError> {
        loop {
            let used_cells = self.index().places.free.next_cell();
            let grown = self.core.memory.file.grow_ahead(used_cells);
            // A reset must find what it takes where it is.
            let _maintenance = self.maintenance();
            let mut guard = self.index();
            let index = &mut *guard;
            // Also if it has not grown: there may be cells that were freed.
            let moved = index.spares.move_some(&mut index.places, &self.core);
            match (grown, moved) {
                (Ok(()), Ok(true)) => {
                    index.growth_error = None;
                    return Ok(());
                }
                (Err(error), Ok(true) | Err(StoreError::Late)) => {
                    return Err(index.note_growth_error(error)?);
                }
                (_, Ok(false)) | (Ok(()), Err(StoreError::Late)) => {}
                (_, Err(error)) => {
                    index.growth_error = Some(GrowthError::of(&error));
                    return Err(error);
                }
            }
            drop(guard);
            self.let_others();
        }
    }

    /// Seals and syncs everything, and says in the file that it was closed in order. Whatever is
    /// counted afterwards is taken for damage by the next server, so nothing may be.
    ///
    /// # Errors
    /// What the operating system says, or that there are counts for which the file has no place.
    pub fn close(&self) -> io::Result<()> {
        let grown = self.grow_ahead();
        self.reclaim().map_err(io::Error::other)?;
        self.flush()?;
        let unsaved = self.index().spares.len();
        if unsaved > 0 {
            let reason = grown.err().map(|error| error.to_string());
            return Err(io::Error::other(format!(
                "{unsaved} rooms and kinds could not be saved: {}",
                reason.unwrap_or_default()
            )));
        }
        let used_cells = self.index().places.free.next_cell();
        self.core.set_closed(Some(used_cells))
    }

    /// The same, and gives back to the disk what is not used of the file. The store must not be
    /// used any more.
    fn close_trimmed(self) -> io::Result<()> {
        self.close()?;
        let used_cells = self.index().places.free.next_cell();
        self.core.memory.file.trim(used_cells)
    }

    /// Says that records were written.
    fn wrote(&self, index: &Indices, first: u32, cells: &[format::Cell]) {
        self.core.mark_record(first, cells);
        let used_cells = index.places.free.next_cell();
        if first & SPARE != 0 {
            // So that the flusher tries to move it.
            self.wake();
        } else if index.growth_error.is_none() && self.core.memory.file.is_running_low(used_cells) {
            self.watch.set();
        }
    }

    /// Lets whoever waits for the index have it, which unlocking it alone does not.
    fn let_others(&self) {
        thread::sleep(Duration::from_micros(100));
    }

    fn index(&self) -> MutexGuard<'_, Indices> {
        // Every change to the index is complete before anything can panic.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn maintenance(&self) -> MutexGuard<'_, ()> {
        // It guards no data.
        let maintenance = self.maintenance.lock();
        maintenance.unwrap_or_else(PoisonError::into_inner)
    }

    fn flushes(&self) -> MutexGuard<'_, Flushes> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Indices {
    fn counter(&self, core: &Arc<Core>, cell: u32) -> Counter {
        match self.spares.place_of(cell) {
            Some(place) => Counter::movable(core, place),
            None => Counter::in_file(core, cell),
        }
    }

    /// Passes on errors of which memory is no way out.
    fn note_growth_error(&mut self, error: StoreError) -> Result<StoreError, StoreError> {
        match &error {
            StoreError::Grow(_) => self.growth_error = Some(GrowthError::of(&error)),
            StoreError::Late => {
                let late = || GrowthError::of(&error);
                self.growth_error.get_or_insert_with(late);
            }
            _ => return Err(error),
        }
        Ok(error)
    }
}

impl GrowthError {
    fn of(error: &StoreError) -> Self {
        let (message, remedy) = match error {
            StoreError::Grow(source) => (source.to_string(), status::remedy(source.kind())),
            StoreError::Full => (
                "it has its largest size".to_owned(),
                "raise --snapshot-max-bytes, and restart",
            ),
            other => (other.to_string(), "look at the disk"),
        };
        Self { message, remedy }
    }
}

#[cfg(test)]
mod tests;
