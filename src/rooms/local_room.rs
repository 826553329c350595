//! What one reactor keeps of a room in which it has members.

use std::time::Instant;

use super::broadcast::{Broadcast, Topic};
use super::error::RoomError;
use super::members::{Interest, MemberList, MemberSlot};
use super::room::Standing;
use super::shared::Shared;
use super::table::RoomHandle;
use crate::store::Counter;

/// A room in one reactor.
#[derive(Debug)]
pub(super) struct LocalRoom {
    pub(super) handle: RoomHandle,
    pub(super) members: MemberList,
    /// The kinds that members have used in this epoch of the room.
    kinds: Vec<LocalKind>,
    /// The epoch of the room to which the kinds and the standing belong.
    epoch: u32,
    standing: Standing,
    /// Index of the kind of the last reaction, which most often is the kind of the next.
    last_kind: usize,
    /// Whether any delta is still pending.
    pub(super) has_pending: bool,
    /// The broadcasts, by [`Topic`].
    pub(super) broadcasts: [Broadcast; Topic::COUNT],
    /// The number of members that presence subscribers were sent last, if all were sent the same.
    pub(super) presence_sent: Option<u64>,
    has_warned: bool,
}

#[derive(Debug)]
struct LocalKind {
    name: Box<str>,
    counter: Counter,
    pending: u64,
}

impl LocalRoom {
    pub(super) fn new(handle: RoomHandle) -> Self {
        Self {
            // The epoch first: what is read after it is at least as new.
            epoch: handle.epoch(),
            standing: handle.standing(),
            handle,
            members: MemberList::default(),
            kinds: Vec::new(),
            last_kind: 0,
            has_pending: false,
            broadcasts: [Broadcast::Idle { not_before: None }; Topic::COUNT],
            presence_sent: None,
            has_warned: false,
        }
    }

    /// Adds taps to the pending delta of their kind. A room that the store doesn't have is created
    /// only if `may_create` says so.
    #[inline]
    pub(super) fn react(
        &mut self,
        kind: &str,
        taps: u16,
        may_create: impl FnOnce() -> bool,
    ) -> Result<(), RoomError> {
        // Once a turn is enough: a reactor that hears of a change late counts for one turn more.
        if !self.has_pending {
            self.renew()?;
        }
        if let Some(last) = self.kinds.get_mut(self.last_kind)
            && *last.name == *kind
        {
            last.pending += u64::from(taps);
        } else {
            self.last_kind = self.find(kind, may_create)?;
            self.kinds[self.last_kind].pending += u64::from(taps);
        }
        self.has_pending = true;
        Ok(())
    }

    // Kept out of the loop over messages, which most often finds the kind of the last reaction.
    #[inline(never)]
    fn find(&mut self, kind: &str, may_create: impl FnOnce() -> bool) -> Result<usize, RoomError> {
        self.standing.check()?;
        if let Some(index) = self.kinds.iter().position(|known| *known.name == *kind) {
            return Ok(index);
        }
        let counter = self.handle.counter_if(kind, may_create)?;
        self.kinds.push(LocalKind {
            name: kind.into(),
            counter,
            pending: 0,
        });
        Ok(self.kinds.len() - 1)
    }

    /// Adds the pending deltas to their counters.
    ///
    /// # Errors
    /// [`RoomError`] if some of them can't be counted, as in [`LocalRoom::renew`].
    pub(super) fn flush(&mut self) -> Result<(), RoomError> {
        let renewed = self.renew();
        for kind in &mut self.kinds {
            if kind.pending > 0 {
                kind.counter.add(std::mem::take(&mut kind.pending));
            }
        }
        self.has_pending = false;
        renewed
    }

    /// Forgets the kinds of an earlier epoch: one of them may have been removed, or the room may
    /// count nothing now. Pending deltas are counted at once, even if the room is frozen or closed
    /// by now: these reactions were accepted before the reactor heard of it.
    ///
    /// # Errors
    /// [`RoomError`] if a pending delta can't be counted: the room was removed, or has no space for
    /// the kind any more.
    pub(super) fn renew(&mut self) -> Result<(), RoomError> {
        let epoch = self.handle.epoch();
        if self.epoch == epoch {
            return Ok(());
        }
        self.epoch = epoch;
        self.standing = self.handle.standing();
        let mut counted = Ok(());
        for old in std::mem::take(&mut self.kinds) {
            if old.pending > 0 {
                counted = self.handle.add_pending(&old.name, old.pending).and(counted);
            }
        }
        self.last_kind = 0;
        counted
    }

    /// Adds a member of `reactor`.
    pub(super) fn add_member(
        &mut self,
        key: u32,
        interest: Interest,
        reactor: usize,
    ) -> MemberSlot {
        if interest == Interest::Presence && self.members.presence_count() == 0 {
            self.handle.watch_presence(reactor);
        }
        self.members.add(key, interest)
    }

    /// Removes the member at `slot`. Returns the key of the member that takes over the slot.
    pub(super) fn remove_member(&mut self, slot: MemberSlot, reactor: usize) -> Option<u32> {
        let moved = self.members.remove(slot);
        if slot.interest() == Interest::Presence && self.members.presence_count() == 0 {
            self.handle.unwatch_presence(reactor);
        }
        moved
    }

    /// Notes that one presence subscriber was sent this number of members.
    pub(super) fn note_presence_sent(&mut self, members: u64) {
        if self.members.presence_count() == 1 {
            self.presence_sent = Some(members);
        } else if self.presence_sent != Some(members) {
            self.presence_sent = None;
        }
    }

    /// Whether the reactor can let go of the room.
    pub(super) fn is_unused(&self) -> bool {
        let is_idle = |broadcast: &Broadcast| matches!(broadcast, Broadcast::Idle { .. });
        self.members.is_empty() && !self.has_pending && self.broadcasts.iter().all(is_idle)
    }

    /// Logs that the room's reactions can't be stored, once for each room and, over all rooms, once
    /// a minute.
    pub(super) fn warn(&mut self, error: &RoomError, shared: &Shared) {
        if let RoomError::Store(error) = error
            && !std::mem::replace(&mut self.has_warned, true)
            && shared.drop_log.allows(Instant::now())
        {
            let error = (shared.explain)(error);
            let (party, room) = (self.handle.party(), self.handle.name());
            tracing::warn!(?party, ?room, %error, "dropping reactions");
        }
    }
}
