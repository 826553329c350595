//! Rooms and counters that the file has no place for, because it can't grow: they are kept in
//! memory, and move into the file once it can. What is counted in them lives only as long as
//! the process until then, which [`Status`](super::Status) says.
//!
//! A spare cell is used once in the life of a process: whoever was about to add to it when its
//! counter moved may be late. So all times in which the file can't grow share one limit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::counter::Core;
use super::error::StoreError;
use super::format::{self, Cell, Record};
use super::index::{Index, name_at};
use super::mapping::{Cells, Mapping};
use super::memory::SPARE;

/// The default of the most memory for counts that the file has no place for, in bytes.
pub const DEFAULT_MAX_SPARE_BYTES: u64 = 64 << 20;

/// How many records are moved before others get at the index.
const BATCH: usize = 256;

/// What is in spare cells.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// Not zero, which is no cell in a list.
    next_cell: u32,
    /// What is to be moved, in the order in which it was made: a room before its counters.
    waiting: BTreeMap<u32, Waiting>,
    /// Where rooms are that have been moved, for those who know the old place.
    moved: HashMap<u32, u32>,
}

#[derive(Debug)]
enum Waiting {
    Room,
    Counter(Arc<AtomicU32>),
}

impl Spares {
    /// How many records are not in the file.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Where the room is now.
    pub(super) fn resolve(&self, room: u32) -> u32 {
        self.moved.get(&room).copied().unwrap_or(room)
    }

    /// The place of a counter, if it may move.
    pub(super) fn place_of(&self, cell: u32) -> Option<&Arc<AtomicU32>> {
        match self.waiting.get(&cell)? {
            Waiting::Counter(place) => Some(place),
            Waiting::Room => None,
        }
    }

    fn allocate(&mut self, spare: &Mapping, cells: u32) -> Option<u32> {
        let cell = self.next_cell.max(1);
        let end = cell.checked_add(cells)?;
        if end > spare.max_cells() {
            return None;
        }
        spare.extend_to(end);
        self.next_cell = end;
        Some(cell | SPARE)
    }

    /// Cells for a room, or else the error that there was for the file.
    pub(super) fn for_room(
        &mut self,
        spare: &Mapping,
        cells: u32,
        error: StoreError,
    ) -> Result<u32, StoreError> {
        let cell = self.allocate(spare, cells).ok_or(error)?;
        self.waiting.insert(cell, Waiting::Room);
        Ok(cell)
    }

    /// A cell for a counter, likewise.
    pub(super) fn for_counter(
        &mut self,
        spare: &Mapping,
        error: StoreError,
    ) -> Result<u32, StoreError> {
        let cell = self.allocate(spare, 1).ok_or(error)?;
        let place = Arc::new(AtomicU32::new(cell));
        self.waiting.insert(cell, Waiting::Counter(place));
        Ok(cell)
    }

    /// Moves some of the records into the file. Returns whether all are there.
    ///
    /// # Errors
    /// [`StoreError`] if the file has no place for one; the others have been moved.
    pub(super) fn move_some(&mut self, index: &mut Index, core: &Core) -> Result<bool, StoreError> {
        for _ in 0..BATCH {
            let Some((&cell, waiting)) = self.waiting.first_key_value() else {
                return Ok(true);
            };
            match waiting {
                Waiting::Room => {
                    let new_cell = move_room(index, core, cell)?;
                    self.moved.insert(cell, new_cell);
                }
                Waiting::Counter(place) => {
                    let record = core.memory.read(cell);
                    let room = self.resolve(format::room_of(&record));
                    move_counter(index, core, room, place)?;
                }
            }
            self.waiting.remove(&cell);
        }
        Ok(self.waiting.is_empty())
    }
}

fn move_room(index: &mut Index, core: &Core, cell: u32) -> Result<u32, StoreError> {
    let (party, room) = name_at(&core.memory, cell).unwrap_or_default();
    let mut cells = format::encode_room(&party, &room).ok_or(StoreError::NameTooLong)?;
    cells[0][format::ACTIVE_WORD] = core.memory.read(cell)[format::ACTIVE_WORD];
    let new_cell = index.free.allocate(&core.memory.file, cells.len() as u32)?;
    core.memory.write_record(new_cell, &cells);
    index.move_room(cell, new_cell, &party, &room);
    core.mark_record(new_cell, &cells);
    Ok(new_cell)
}

fn move_counter(
    index: &mut Index,
    core: &Core,
    room: u32,
    place: &AtomicU32,
) -> Result<(), StoreError> {
    let cell = place.load(Ordering::SeqCst);
    let Ok(Record::Counter(record)) = format::decode(&core.memory.read(cell), |_| None) else {
        return Ok(());
    };
    let encoded = format::encode_counter(room, record.ordinal, &record.kind, 0)
        .ok_or(StoreError::NameTooLong)?;
    let new_cell = index.free.allocate(&core.memory.file, 1)?;
    core.memory.write_record(new_cell, &[encoded]);
    index.move_counter(room, cell, new_cell);
    // In this order: see `Counter::add`.
    place.store(new_cell, Ordering::SeqCst);
    core.carry_over(cell, new_cell);
    core.mark_record(new_cell, &[encoded]);
    Ok(())
}

impl Core {
    /// Says that a record was written.
    pub(super) fn mark_record(&self, first: u32, cells: &[Cell]) {
        for offset in 0..cells.len() as u32 {
            self.mark(first + offset);
        }
    }
}
