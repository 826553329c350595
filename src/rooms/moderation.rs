//! What operators and moderators do to a room: freeze, close and open it, and remove it or one of
//! its kinds. Nothing here waits for the disk: what a room is told survives the process at once, and
//! the machine after the next flush.

use super::encoded::Encoded;
use super::error::RoomError;
use super::refusal::Refusal;
use super::room::{Room, RoomKind, RoomState, Standing};
use crate::protocol::messages::{encode_mode, encode_reset};
use crate::store::{Retired, RoomMode};

impl Room {
    /// The mode; open if the room was removed, since a new room takes its place.
    pub(crate) fn mode(&self) -> RoomMode {
        match self.standing() {
            Standing::In(mode) => mode,
            Standing::Removed => RoomMode::Open,
        }
    }

    /// Why nobody may be in the room, if nobody may.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.standing() {
            Standing::In(RoomMode::Closed) => Some(Refusal::Closed),
            Standing::Removed => Some(Refusal::Removed),
            Standing::In(RoomMode::Open | RoomMode::Frozen) => None,
        }
    }

    /// The message that tells members the mode.
    pub(super) fn mode_message(&self) -> Encoded {
        const SIZE_HINT: usize = 80;
        let mode = self.mode();
        Encoded::new(SIZE_HINT, |json| encode_mode(mode.label(), json))
    }

    /// The message that tells members the counts after a reset.
    pub(super) fn reset_message(&self) -> Encoded {
        let counts = self.counts();
        let json = counts.message.json();
        Encoded::new(2 * json.len() + 80, |output| encode_reset(json, output))
    }

    /// Sets the mode. A room that the store doesn't have is created for it. Returns whether the
    /// mode is another than before.
    ///
    /// # Errors
    /// [`RoomError`] if the room can't be created, or was removed.
    pub(super) fn set_mode(&self, mode: RoomMode) -> Result<bool, RoomError> {
        let mut state = self.state();
        match state.standing {
            Standing::Removed => return Err(RoomError::Removed),
            Standing::In(current) if current == mode => return Ok(false),
            Standing::In(_) => {}
        }
        let record = match state.record {
            Some(record) => record,
            None => self.store.room_or_create(self.party(), self.name())?,
        };
        state.record = Some(record);
        state.standing = Standing::In(mode);
        self.store.set_mode(record, mode);
        self.begin_epoch();
        Ok(true)
    }

    /// Removes a kind with its count. Returns whether the room had it.
    pub(super) fn remove_kind(&self, kind: &str) -> bool {
        self.remove_kinds_if(&mut self.state(), |known| known == kind)
    }

    /// Removes the kinds that are not on the operator's list; without a list, all kinds.
    pub(super) fn remove_unlisted_kinds(&self, state: &mut RoomState) {
        let listed = self.limits.allowed_kinds.as_deref().unwrap_or_default();
        self.remove_kinds_if(state, |known| !listed.iter().any(|kind| kind == known));
    }

    fn remove_kinds_if(&self, state: &mut RoomState, is_meant: impl Fn(&str) -> bool) -> bool {
        let Some(record) = state.record else {
            return false;
        };
        let removed: Vec<RoomKind> = state
            .kinds
            .extract_if(.., |kind| is_meant(&kind.name))
            .collect();
        if removed.is_empty() {
            return false;
        }
        let counters: Vec<_> = removed.into_iter().map(|kind| kind.counter).collect();
        let retired = self.store.remove_counters(record, &counters);
        self.retire(state, retired);
        true
    }

    /// Removes the room's record. The table of rooms calls this after it has forgotten the room, so
    /// that nobody finds it any more.
    pub(super) fn remove_record(&self) {
        let mut state = self.state();
        state.standing = Standing::Removed;
        state.kinds.clear();
        state.forget_encoded();
        if let Some(record) = state.record.take() {
            let retired = self.store.remove_room(record, self.party(), self.name());
            self.retire(&mut state, retired);
        }
        self.begin_epoch();
    }

    /// Keeps removed counters until no reactor has handles of them.
    fn retire(&self, state: &mut RoomState, retired: Retired) {
        state.retired.push(retired);
        state.forget_encoded();
        self.begin_epoch();
        for reactor in self.reactors() {
            state.stale.insert(reactor);
        }
        if state.stale.is_empty() {
            self.release_retired(state);
        }
    }

    /// Notes that `reactor` has no handles of counters of an earlier epoch any more. Each reactor in
    /// the room hears of each epoch with removals.
    pub(super) fn renewed(&self, reactor: usize) {
        let mut state = self.state();
        state.stale.remove(reactor);
        if state.stale.is_empty() {
            self.release_retired(&mut state);
        }
    }

    /// Lets the store use the cells of removed counters again.
    pub(super) fn release_retired(&self, state: &mut RoomState) {
        for retired in std::mem::take(&mut state.retired) {
            self.store.release(retired);
        }
    }
}
