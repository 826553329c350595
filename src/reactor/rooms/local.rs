//! What a reactor keeps of a room that it has members in.

use std::time::Instant;

use crate::room::{RoomError, RoomHandle};
use crate::store::Counter;

/// A room as one reactor sees it.
#[derive(Debug)]
pub(super) struct LocalRoom {
    pub(super) handle: RoomHandle,
    pub(super) key: (Box<str>, Box<str>),
    /// The keys of the connections of its members.
    pub(super) members: Vec<u32>,
    kinds: Vec<LocalKind>,
    /// The kind of the last reaction: most often it is that of the next.
    last_kind: usize,
    /// Whether any delta is not added yet.
    pub(super) has_pending: bool,
    pub(super) broadcast: Broadcast,
    warned: bool,
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

/// A pass over the members, from the last to the first: one that joins comes at the end and has
/// the counts already, and one that moves into the place of one that left is met again or was
/// met before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) began: Instant,
    /// The version when it began.
    pub(super) version: u64,
    /// Members before this position are still to be served.
    pub(super) cursor: usize,
}

impl LocalRoom {
    pub(super) fn new(handle: RoomHandle, key: (Box<str>, Box<str>)) -> Self {
        Self {
            handle,
            key,
            members: Vec::new(),
            kinds: Vec::new(),
            last_kind: 0,
            has_pending: false,
            broadcast: Broadcast::Idle { not_before: None },
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

    /// Appends a member; gives its position.
    pub(super) fn add_member(&mut self, key: u32) -> u32 {
        self.members.push(key);
        (self.members.len() - 1) as u32
    }

    /// Takes the member at `position` out; gives the key of the one that now has its position.
    pub(super) fn remove_member(&mut self, position: u32) -> Option<u32> {
        let position = position as usize;
        self.members.swap_remove(position);
        if self.members.len() < self.members.capacity() / 4 {
            self.members.shrink_to(self.members.len() * 2);
        }
        self.members.get(position).copied()
    }

    pub(super) fn is_unused(&self) -> bool {
        let is_idle = matches!(self.broadcast, Broadcast::Idle { .. });
        self.members.is_empty() && !self.has_pending && is_idle
    }

    /// Says once for each room that its reactions can't be stored.
    pub(super) fn warn(&mut self, error: &RoomError) {
        if let RoomError::Store(error) = error
            && !std::mem::replace(&mut self.warned, true)
        {
            tracing::warn!(party = %self.key.0, room = %self.key.1, %error, "reactions are lost");
        }
    }
}
