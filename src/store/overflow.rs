//! Overflow: rooms and counters for which the file has no space while it can't grow. They are kept
//! in memory, and move into the file once it can grow. Until then their counts live only as long
//! as the process.
//!
//! An overflow cell is used once in the life of a process, because a thread may still be about to
//! add to it when its counter has moved. So all times in which the file can't grow share one
//! limit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::cells::CellSource;
use super::error::StoreError;
use super::format::{self, AtomicCounterId, CellId, CounterId, RoomId};
use super::free::FreeCells;
use super::index::Index;
use super::mapping::Mapping;
use super::space::CellSpace;

/// Default maximum of the memory for counts that the file has no space for, in bytes.
pub(crate) const DEFAULT_MAX_OVERFLOW_BYTES: u64 = 64 << 20;

/// Number of records that are moved at once, before other threads get the index.
const BATCH: usize = 256;

/// Records in overflow cells.
#[derive(Debug)]
pub(super) struct Overflow {
    next_cell: CellId,
    /// Records that must be moved, in the order in which they were made: a room comes before its
    /// counters.
    waiting: BTreeMap<CellId, Waiting>,
    /// The new ids of rooms that have moved, for callers that know the old ids.
    moved: HashMap<RoomId, RoomId>,
}

#[derive(Debug)]
enum Waiting {
    Room,
    Counter(Arc<AtomicCounterId>),
}

impl Default for Overflow {
    fn default() -> Self {
        Self {
            // No link leads to cell 0.
            next_cell: CellId::new(1),
            waiting: BTreeMap::new(),
            moved: HashMap::new(),
        }
    }
}

impl Overflow {
    /// Number of records that are not in the file.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The id that a room has now.
    pub(super) fn resolve(&self, room: RoomId) -> RoomId {
        self.moved.get(&room).copied().unwrap_or(room)
    }

    /// The shared id of a counter that will move.
    pub(super) fn movable_id(&self, counter: CounterId) -> Option<&Arc<AtomicCounterId>> {
        match self.waiting.get(&counter.cell())? {
            Waiting::Counter(id) => Some(id),
            Waiting::Room => None,
        }
    }

    /// Lets a record that was removed stay where it is, if it is in an overflow cell.
    pub(super) fn forget(&mut self, cell: CellId) {
        self.waiting.remove(&cell);
    }

    /// Takes cells for a room. If there are none, returns the error that the file gave.
    ///
    /// # Errors
    /// `file_error`.
    pub(super) fn allocate_room(
        &mut self,
        memory: &Mapping,
        cells: u32,
        file_error: StoreError,
    ) -> Result<CellId, StoreError> {
        let cell = self.allocate(memory, cells).ok_or(file_error)?;
        self.waiting.insert(cell, Waiting::Room);
        Ok(cell)
    }

    /// Takes a cell for a counter. If there is none, returns the error that the file gave.
    ///
    /// # Errors
    /// `file_error`.
    pub(super) fn allocate_counter(
        &mut self,
        memory: &Mapping,
        file_error: StoreError,
    ) -> Result<CellId, StoreError> {
        let cell = self.allocate(memory, 1).ok_or(file_error)?;
        let id = Arc::new(AtomicCounterId::new(CounterId::at(cell)));
        self.waiting.insert(cell, Waiting::Counter(id));
        Ok(cell)
    }

    fn allocate(&mut self, memory: &Mapping, cells: u32) -> Option<CellId> {
        let first = self.next_cell;
        let end = first.checked_add(cells)?;
        if end.number() > memory.max_cells() {
            return None;
        }
        memory.extend_to(end.number());
        self.next_cell = end;
        Some(first.to_overflow())
    }

    /// Moves some of the records into the file. Returns whether all records are in the file.
    ///
    /// # Errors
    /// [`StoreError`] if the file has no space for a record. Those before it have moved.
    pub(super) fn move_some(
        &mut self,
        index: &mut Index,
        free: &mut FreeCells,
        space: &CellSpace,
    ) -> Result<bool, StoreError> {
        for _ in 0..BATCH {
            let Some((&cell, waiting)) = self.waiting.first_key_value() else {
                return Ok(true);
            };
            match waiting {
                Waiting::Room => {
                    let room = RoomId::at(cell);
                    let new_id = move_room(index, free, space, room)?;
                    self.moved.insert(room, new_id);
                }
                Waiting::Counter(id) => {
                    let room = space.counter_cell(CounterId::at(cell)).room();
                    move_counter(index, free, space, self.resolve(room), id)?;
                }
            }
            self.waiting.remove(&cell);
        }
        Ok(self.waiting.is_empty())
    }
}

fn move_room(
    index: &mut Index,
    free: &mut FreeCells,
    space: &CellSpace,
    id: RoomId,
) -> Result<RoomId, StoreError> {
    let (party, room) = space.room_name(id).unwrap_or_default();
    let mut cells = format::encode_room(&party, &room).ok_or(StoreError::NameTooLong)?;
    let state = space.room_cell(id).state().unwrap_or_default();
    format::stamp_state(&mut cells[0], state);
    let cell = free.allocate(&space.file, cells.len() as u32)?;
    let new_id = RoomId::at(cell);
    space.write_record(cell, &cells);
    index.move_room(id, new_id, &party, &room);
    space.mark_record(cell, &cells);
    Ok(new_id)
}

fn move_counter(
    index: &mut Index,
    free: &mut FreeCells,
    space: &CellSpace,
    room: RoomId,
    shared_id: &AtomicCounterId,
) -> Result<(), StoreError> {
    let id = shared_id.load();
    let Some(record) = space.counter_record(id) else {
        return Ok(());
    };
    let encoded = format::encode_counter(room, record.ordinal, &record.kind, 0)
        .ok_or(StoreError::NameTooLong)?;
    let cell = free.allocate(&space.file, 1)?;
    let new_id = CounterId::at(cell);
    space.write_record(cell, &[encoded]);
    index.move_counter(room, id, new_id);
    // In this order: see `Counter::add`.
    shared_id.store(new_id);
    space.carry_over(id, new_id);
    space.mark_record(cell, &[encoded]);
    Ok(())
}
