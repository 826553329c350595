//! What a reactor keeps of a room that it has members in.

use std::time::Instant;

use super::members::{Cursor, Place, Roll};
use super::room::RoomError;
use super::table::RoomHandle;
use crate::store::Counter;

/// A room as one reactor sees it.
#[derive(Debug)]
pub(super) struct LocalRoom {
    pub(super) handle: RoomHandle,
    pub(super) key: (Box<str>, Box<str>),
    pub(super) roll: Roll,
    kinds: Vec<LocalKind>,
    /// The kind of the last reaction: most often it is that of the next.
    last_kind: usize,
    /// Whether any delta is not added yet.
    pub(super) has_pending: bool,
    /// By [`Topic`].
    pub(super) broadcasts: [Broadcast; Topic::COUNT],
    /// The number of members that all who want to know it were told last, if all were told the same.
    pub(super) here: Option<u64>,
    warned: bool,
}

/// What a broadcast is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The counts.
    Counts,
    /// How many members there are.
    Members,
    /// Goodbye: the room is closed.
    Closing,
}

impl Topic {
    pub(super) const COUNT: usize = 3;
}

#[derive(Debug)]
struct LocalKind {
    name: Box<str>,
    counter: Counter,
    pending: u64,
}

/// Where a room stands between one broadcast and the next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broadcast {
    /// Nothing to send; the next may begin at this time.
    Idle { not_before: Option<Instant> },
    /// The counts have changed; a pass awaits the tick, or its turn.
    Due,
    /// A pass over the members is under way.
    Pass(Pass),
}

/// A pass over the members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) began: Instant,
    pub(super) cursor: Cursor,
    /// Whether there was another change since it began.
    pub(super) again: bool,
}

impl LocalRoom {
    pub(super) fn new(handle: RoomHandle, key: (Box<str>, Box<str>)) -> Self {
        Self {
            handle,
            key,
            roll: Roll::default(),
            kinds: Vec::new(),
            last_kind: 0,
            has_pending: false,
            broadcasts: [Broadcast::Idle { not_before: None }; Topic::COUNT],
            here: None,
            warned: false,
        }
    }

    /// Adds one to the pending delta of a kind.
    #[inline]
    pub(super) fn react(&mut self, kind: &str) -> Result<(), RoomError> {
        if let Some(last) = self.kinds.get_mut(self.last_kind)
            && *last.name == *kind
        {
            last.pending += 1;
        } else {
            self.last_kind = self.find(kind)?;
            self.kinds[self.last_kind].pending += 1;
        }
        self.has_pending = true;
        Ok(())
    }

    fn find(&mut self, kind: &str) -> Result<usize, RoomError> {
        if let Some(index) = self.kinds.iter().position(|known| *known.name == *kind) {
            return Ok(index);
        }
        self.kinds.push(LocalKind {
            name: kind.into(),
            counter: self.handle.counter(kind)?,
            pending: 0,
        });
        Ok(self.kinds.len() - 1)
    }

    /// Adds the pending deltas to the counters.
    pub(super) fn flush(&mut self) {
        for kind in &mut self.kinds {
            if kind.pending > 0 {
                kind.counter.add(std::mem::take(&mut kind.pending));
            }
        }
        self.has_pending = false;
    }

    /// Adds a member of `reactor`.
    pub(super) fn add_member(&mut self, key: u32, is_curious: bool, reactor: usize) -> Place {
        if is_curious && self.roll.curious_count() == 0 {
            self.handle.watch_members(reactor);
        }
        self.roll.add(key, is_curious)
    }

    /// Takes the member at `place` out; gives the key of the one that now has its place.
    pub(super) fn remove_member(&mut self, place: Place, reactor: usize) -> Option<u32> {
        let moved = self.roll.remove(place);
        if place.is_curious() && self.roll.curious_count() == 0 {
            self.handle.unwatch_members(reactor);
        }
        moved
    }

    /// One member was told that so many are here.
    pub(super) fn told_one(&mut self, members: u64) {
        if self.roll.curious_count() == 1 {
            self.here = Some(members);
        } else if self.here != Some(members) {
            self.here = None;
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        let is_idle = |broadcast: &Broadcast| matches!(broadcast, Broadcast::Idle { .. });
        self.roll.is_empty() && !self.has_pending && self.broadcasts.iter().all(is_idle)
    }

    /// Says once for each room that its reactions can't be stored.
    pub(super) fn warn(&mut self, error: &RoomError) {
        if let RoomError::Store(error) = error
            && !std::mem::replace(&mut self.warned, true)
        {
            tracing::warn!(party = ?self.key.0, room = ?self.key.1, %error, "reactions are lost");
        }
    }
}
