//! What takes counts away: setting a room to zero, removing rooms that are no longer used, and
//! giving their cells to others. Each survives a crash at any instruction.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::flush;
use super::format::{self, COUNT_WORD, Cell, GONE_WORD, MARK_WORD, Resetting, SEALED_WORD, Seal};
use super::index::{name_at, record_cells};
use super::mapping::Cells;
use super::memory::SPARE;
use super::{RoomId, Store, StoreError};

/// How many cells are given back before others get at the index.
const BATCH: usize = 4096;

/// A room that is being set to zero. The order is:
/// 1. The counts are sealed, and the room says that they are to go; both on the disk.
/// 2. [`Reset::zero`]: counts and copies are zero, and the room says so. What is counted from
///    now on is not sealed until the reset is over.
/// 3. The zeros are on the disk.
/// 4. The room says that it is over.
///
/// A process that dies before 2 leaves a room of which the next one knows that all of it was to
/// go. One that dies later leaves what has been counted since: what is still as it was sealed, in
/// sectors that did not reach the disk, tells itself apart by that.
#[derive(Debug)]
pub struct Reset<'s> {
    store: &'s Store,
    room: u32,
    counters: Vec<u32>,
    /// Nobody seals, moves or frees meanwhile.
    _maintenance: MutexGuard<'s, ()>,
}

impl Store {
    /// Begins to set the counts of a room to zero. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Sync`] if the disk fails; the counts stay. What the disk has then is not
    /// known: if the machine dies before a flush succeeds, they may be zero after all.
    pub fn begin_reset(&self, room: RoomId) -> Result<Reset<'_>, StoreError> {
        let maintenance = self.maintenance();
        let (room, counters) = {
            let index = self.index();
            let room = index.spares.resolve(room.0);
            (room, index.places.counter_cells(room).collect())
        };
        let reset = Reset {
            store: self,
            room,
            counters,
            _maintenance: maintenance,
        };
        for cell in &reset.counters {
            flush::seal(&self.core, *cell);
        }
        reset.mark(Resetting::Begun);
        // What could not be said on the disk is taken back in memory.
        let begun = reset.sync().inspect_err(|_| reset.mark(Resetting::No));
        begun.map(|()| reset)
    }
}

impl Reset<'_> {
    /// Sets the counts to zero. What is added from now on counts.
    pub fn zero(&self) {
        // Whoever copies the file meanwhile must not take a part of it.
        self.store.something_goes();
        let now = {
            let index = self.store.index();
            // Also those that were made meanwhile.
            let counters = index.places.counter_cells(self.room);
            counters.collect::<Vec<u32>>()
        };
        for cell in now {
            zero(self.store, cell);
        }
        self.mark(Resetting::Done);
        self.store.something_goes();
    }

    /// Makes it last. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Sync`] if the disk fails; the counts are zero nevertheless, and a later
    /// flush writes that.
    pub fn finish(self) -> Result<(), StoreError> {
        let zeroed = self.sync();
        self.mark(Resetting::No);
        zeroed.and_then(|()| self.sync())
    }

    fn mark(&self, resetting: Resetting) {
        if self.room & SPARE == 0 {
            let core = &self.store.core;
            format::set_resetting(&core.memory.file.cell(self.room)[MARK_WORD], resetting);
            core.mark(self.room);
        }
    }

    /// Writes the room and its counters.
    fn sync(&self) -> Result<(), StoreError> {
        let all = self.counters.iter().chain([&self.room]);
        let in_file = || all.clone().filter(|cell| **cell & SPARE == 0);
        if let (Some(first), Some(last)) = (in_file().min(), in_file().max()) {
            let file = &self.store.core.memory.file;
            file.sync(*first..last + 1).map_err(StoreError::Sync)?;
        }
        Ok(())
    }
}

/// Sets a count and its sealed copy to zero.
pub(super) fn zero(store: &Store, cell: u32) {
    let memory = &store.core.memory;
    let place = memory.cell(cell);
    // The copy first: it may be behind the count, and not ahead of it.
    place[SEALED_WORD].store(0, Ordering::Relaxed);
    place[MARK_WORD].store(format::seal_mark(&memory.read(cell), 0), Ordering::Release);
    place[COUNT_WORD].store(0, Ordering::SeqCst);
    store.core.mark(cell);
}

/// Rooms that are removed, whose cells nobody may use yet.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Their heads, which are zero.
    heads: Vec<u32>,
    /// Their other cells and their counters.
    others: Vec<u32>,
}

impl Store {
    /// The rooms that have counted nothing since `unix_seconds`.
    pub fn rooms_inactive_since(&self, unix_seconds: u32) -> Vec<RoomId> {
        let memory = &self.core.memory;
        // Without the lock of the index: what is not in memory has to be read from the disk.
        let used_cells = self.index().places.free.next_cell();
        let look = |cells: &dyn Fn(u32) -> Cell| -> Vec<u32> {
            (format::FIRST_CELL..used_cells)
                .filter(|cell| is_inactive(&cells(*cell), unix_seconds))
                .collect()
        };
        let found = match memory.file.view() {
            Some(view) => look(&|cell| view.read(cell)),
            None => look(&|cell| memory.read(cell)),
        };
        found.into_iter().map(RoomId).collect()
    }

    /// The party and the name of a room that is not in use, if it is still there.
    pub fn name_of(&self, room: RoomId) -> Option<(String, String)> {
        name_at(&self.core.memory, room.0)
    }

    /// Removes a room that has counted nothing since `unix_seconds`. Nobody may hold one of its
    /// counters. Returns whether it is gone; [`Store::reclaim`] lets its cells be used again.
    pub fn remove_inactive(&self, party: &str, room: &str, unix_seconds: u32) -> bool {
        let memory = &self.core.memory;
        let mut index = self.index();
        let Some(cell) = index.places.find(memory, party, room) else {
            return false;
        };
        if cell & SPARE != 0 || !is_inactive(&memory.read(cell), unix_seconds) {
            return false;
        }
        let counters: Vec<u32> = index.places.counter_cells(cell).collect();
        // One that is not sealed has counted something since the last flush.
        let is_quiet = |counter: &u32| {
            let cell = memory.read(*counter);
            counter & SPARE == 0 && Seal::of(&cell) == Seal::Holds(cell[COUNT_WORD])
        };
        if !counters.iter().all(is_quiet) {
            return false;
        }
        let cells = record_cells(memory, cell);
        self.something_goes();
        index.places.remove(cell, party, room);
        memory.file.free(cell);
        self.core.mark(cell);
        index.removed.heads.push(cell);
        index.removed.others.extend(cell + 1..cell + cells);
        index.removed.others.extend(counters);
        true
    }

    /// Lets the cells of removed rooms be used again. Waits for the disk: that a room is gone is
    /// on it before its counters go, and they are gone before anything takes their place. So
    /// there is never a counter that could be taken for one of another room. Returns how many
    /// cells were freed.
    ///
    /// # Errors
    /// [`StoreError::Sync`] if the disk fails; the rooms are removed, and the next call tries
    /// again.
    pub fn reclaim(&self) -> Result<usize, StoreError> {
        let _maintenance = self.maintenance();
        let removed = std::mem::take(&mut self.index().removed);
        if removed.heads.is_empty() {
            return Ok(0);
        }
        let file = &self.core.memory.file;
        let used = self.index().places.free.next_cell();
        let freed = file.sync(0..used).and_then(|()| {
            removed.others.iter().for_each(|cell| file.free(*cell));
            // Whoever copies the file meanwhile must not take new records for old ones.
            self.something_goes();
            file.sync(0..used)
        });
        if let Err(error) = freed {
            let mut index = self.index();
            index.removed.heads.extend(removed.heads);
            index.removed.others.extend(removed.others);
            return Err(StoreError::Sync(error));
        }
        let cells = [removed.heads, removed.others].concat();
        for batch in cells.chunks(BATCH) {
            {
                let mut index = self.index();
                let free = &mut index.places.free;
                batch.iter().for_each(|cell| free.give_back(*cell, 1));
            }
            self.let_others();
        }
        Ok(cells.len())
    }

    fn something_goes(&self) {
        self.core.memory.file.cell(0)[GONE_WORD].fetch_add(1, Ordering::SeqCst);
    }
}

fn is_inactive(cell: &Cell, unix_seconds: u32) -> bool {
    format::is_room(cell[0])
        && matches!(format::read_active(cell), Ok(Some(active)) if active < unix_seconds)
}
