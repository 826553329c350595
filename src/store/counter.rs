//! Counts that reactors add to: a count is a word of the file or, while the file has no space for
//! it, a word of overflow memory that moves into the file later.

use std::sync::Arc;

use super::format::{AtomicCounterId, CounterId};
use super::space::CellSpace;

/// A count. It only grows, except for a reset, and never wraps.
#[derive(Debug, Clone)]
pub struct Counter {
    space: Arc<CellSpace>,
    location: Location,
}

#[derive(Debug, Clone)]
enum Location {
    /// In the file, where it stays.
    Fixed(CounterId),
    /// In overflow memory, or moved from there. Shared by everything that holds the counter.
    Movable(Arc<AtomicCounterId>),
}

impl Counter {
    /// A counter in the file.
    pub(super) fn fixed(space: &Arc<CellSpace>, id: CounterId) -> Self {
        Self {
            space: Arc::clone(space),
            location: Location::Fixed(id),
        }
    }

    /// A counter that moves into the file later.
    pub(super) fn movable(space: &Arc<CellSpace>, id: &Arc<AtomicCounterId>) -> Self {
        Self {
            space: Arc::clone(space),
            location: Location::Movable(Arc::clone(id)),
        }
    }

    /// Adds `delta`. A count at the largest number stays there.
    #[inline]
    pub fn add(&self, delta: u64) {
        match &self.location {
            Location::Fixed(id) => self.space.add(*id, delta),
            Location::Movable(id) => self.add_to_movable(id, delta),
        }
    }

    /// The thread that moves a counter first changes the id, then carries the count over. So if
    /// the id is unchanged after an add to the old cell, the add came before the move, which
    /// carries it over. If the id has changed, the add carries the count over itself. Both take
    /// what is there in one step, so nothing is carried twice.
    #[cold]
    fn add_to_movable(&self, id: &AtomicCounterId, delta: u64) {
        let before = id.load();
        self.space.add(before, delta);
        let now = id.load();
        if now != before {
            self.space.carry_over(before, now);
        }
    }

    /// The count now. While the counter moves, it may be lower for an instant.
    #[inline]
    pub fn get(&self) -> u64 {
        self.space.counter(self.id()).count()
    }

    /// The counter's cell now.
    #[inline]
    pub(super) fn id(&self) -> CounterId {
        match &self.location {
            Location::Fixed(id) => *id,
            Location::Movable(id) => id.load(),
        }
    }
}
