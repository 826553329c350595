//! A count that reactors add to: a word of the file, or, while the file has no place for it, a
//! word in memory that moves into the file later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::dirty::Dirty;
use super::format::COUNT_WORD;
use super::memory::{Memory, SPARE};

/// The cells, and which of them have changed.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) memory: Memory,
    pub(super) dirty: Dirty,
}

/// One count. It only grows, but for a reset, and never wraps.
#[derive(Debug, Clone)]
pub struct Counter {
    core: Arc<Core>,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(u32),
    /// Shared by all that know the counter.
    Movable(Arc<AtomicU32>),
}

impl Counter {
    pub(super) fn in_file(core: &Arc<Core>, cell: u32) -> Self {
        Self {
            core: Arc::clone(core),
            place: Place::File(cell),
        }
    }

    pub(super) fn movable(core: &Arc<Core>, place: &Arc<AtomicU32>) -> Self {
        Self {
            core: Arc::clone(core),
            place: Place::Movable(Arc::clone(place)),
        }
    }

    /// Adds `delta`; at the largest number it stays.
    #[inline]
    pub fn add(&self, delta: u64) {
        match &self.place {
            Place::File(cell) => self.core.add(*cell, delta),
            Place::Movable(place) => self.add_to_movable(place, delta),
        }
    }

    /// Whoever moves the count changes the place first and carries over the count then. So an
    /// add to the old cell that finds the place unchanged afterwards came before that, and is
    /// carried over; one that finds it changed carries over itself. Either takes what is there
    /// in one step, so nothing is carried twice.
    #[cold]
    fn add_to_movable(&self, place: &AtomicU32, delta: u64) {
        let cell = place.load(Ordering::SeqCst);
        self.core.add(cell, delta);
        let now = place.load(Ordering::SeqCst);
        if now != cell {
            self.core.carry_over(cell, now);
        }
    }

    /// The count now. While it is being moved it may be seen lower than it was, for an instant.
    #[inline]
    pub fn get(&self) -> u64 {
        self.core.memory.cell(self.cell())[COUNT_WORD].load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn cell(&self) -> u32 {
        match &self.place {
            Place::File(cell) => *cell,
            Place::Movable(place) => place.load(Ordering::SeqCst),
        }
    }
}

impl Core {
    #[inline]
    fn add(&self, cell: u32, delta: u64) {
        let word = &self.memory.cell(cell)[COUNT_WORD];
        // The closure always gives a value, so this can't fail.
        let _ = word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |count| {
            Some(count.saturating_add(delta))
        });
        self.mark(cell);
    }

    #[inline]
    pub(super) fn mark(&self, cell: u32) {
        if cell & SPARE == 0 {
            self.dirty.mark(cell);
        }
    }

    /// Adds to the count at `to` what is counted at `from`, where nothing is then.
    pub(super) fn carry_over(&self, from: u32, to: u32) {
        let count = self.memory.cell(from)[COUNT_WORD].swap(0, Ordering::SeqCst);
        if count > 0 {
            self.add(to, count);
        }
    }
}
