//! The catalog: everything about records that is kept in memory, under one lock.

use std::sync::Arc;

use slab::Slab;

use super::counter::Counter;
use super::error::StoreError;
use super::format::{CellId, CounterId, RoomId};
use super::free::FreeCells;
use super::index::Index;
use super::overflow::Overflow;
use super::problem::GrowthError;
use super::space::CellSpace;

/// Where records are, and which cells new ones can use.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) index: Index,
    pub(super) free: FreeCells,
    pub(super) overflow: Overflow,
    /// Cells that can be reclaimed.
    pub(super) removed: Removed,
    /// Cells that something may still use.
    pub(super) retired: Slab<Removed>,
    /// Why the file could not grow when it last had to.
    pub(super) growth_error: Option<GrowthError>,
    /// Whether the last new record had no space because the file has its maximum size.
    pub(super) is_full: bool,
}

/// Cells of what was removed, which new records must not use yet.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// First cells of rooms, and single counters. They are free in memory, but perhaps not on the
    /// disk.
    pub(super) freed: Vec<CellId>,
    /// The other cells of these rooms, and all their counters. They are freed when the removal of
    /// the rooms is on the disk.
    pub(super) dependent: Vec<CellId>,
}

impl Removed {
    /// Whether there are no cells.
    pub(super) fn is_empty(&self) -> bool {
        self.freed.is_empty() && self.dependent.is_empty()
    }

    /// Adds the cells of `more`.
    pub(super) fn add(&mut self, more: Self) {
        self.freed.extend(more.freed);
        self.dependent.extend(more.dependent);
    }
}

impl Catalog {
    /// A catalog of these records.
    pub(super) fn new(index: Index, free: FreeCells) -> Self {
        Self {
            index,
            free,
            overflow: Overflow::default(),
            removed: Removed::default(),
            retired: Slab::new(),
            growth_error: None,
            is_full: false,
        }
    }

    /// Lets the retired cells with this key be reclaimed.
    pub(super) fn release(&mut self, key: usize) {
        if let Some(removed) = self.retired.try_remove(key) {
            self.removed.add(removed);
        }
    }

    /// Lets all retired cells be reclaimed.
    pub(super) fn release_all(&mut self) {
        for removed in self.retired.drain() {
            self.removed.add(removed);
        }
    }

    /// A handle of a counter.
    pub(super) fn counter(&self, space: &Arc<CellSpace>, id: CounterId) -> Counter {
        match self.overflow.movable_id(id) {
            Some(shared_id) => Counter::movable(space, shared_id),
            None => Counter::fixed(space, id),
        }
    }

    /// The room with this name.
    pub(super) fn find(&self, space: &CellSpace, party: &str, room: &str) -> Option<RoomId> {
        self.index.find(space, party, room)
    }

    /// Takes cells for a room: in the file, or else in overflow memory.
    ///
    /// # Errors
    /// [`StoreError`] if neither has space.
    pub(super) fn allocate_room(
        &mut self,
        space: &CellSpace,
        cells: u32,
    ) -> Result<CellId, StoreError> {
        match self.allocate_in_file(space, cells) {
            Ok(cell) => Ok(cell),
            Err(error) => {
                let error = self.note_growth_error(error)?;
                self.overflow.allocate_room(&space.overflow, cells, error)
            }
        }
    }

    /// Takes a cell for a counter of a room: in the file, or else in overflow memory.
    ///
    /// # Errors
    /// [`StoreError`] if neither has space.
    pub(super) fn allocate_counter(
        &mut self,
        space: &CellSpace,
        room: RoomId,
    ) -> Result<CellId, StoreError> {
        // A counter can't be in the file before its room is.
        let in_file = if room.cell().is_in_file() {
            self.allocate_in_file(space, 1)
        } else {
            Err(StoreError::Late)
        };
        match in_file {
            Ok(cell) => Ok(cell),
            Err(error) => {
                let error = self.note_growth_error(error)?;
                self.overflow.allocate_counter(&space.overflow, error)
            }
        }
    }

    fn allocate_in_file(&mut self, space: &CellSpace, cells: u32) -> Result<CellId, StoreError> {
        let allocated = self.free.allocate(&space.file, cells);
        self.is_full = matches!(allocated, Err(StoreError::Full));
        allocated
    }

    /// Moves some overflow records into the file. Returns whether all records are in the file.
    ///
    /// # Errors
    /// [`StoreError`] if the file has no space for one.
    pub(super) fn move_overflow(&mut self, space: &CellSpace) -> Result<bool, StoreError> {
        self.overflow
            .move_some(&mut self.index, &mut self.free, space)
    }

    /// Remembers why the file could not grow, and returns the error.
    ///
    /// # Errors
    /// The error, if overflow memory can't help.
    pub(super) fn note_growth_error(
        &mut self,
        error: StoreError,
    ) -> Result<StoreError, StoreError> {
        match &error {
            StoreError::Grow(_) => self.growth_error = Some(GrowthError::from(&error)),
            // The grower may know a better reason.
            StoreError::Late => {
                self.growth_error
                    .get_or_insert_with(|| GrowthError::from(&error));
            }
            _ => return Err(error),
        }
        Ok(error)
    }
}
