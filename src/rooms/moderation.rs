//! What operators and moderators do to a room: freeze, close and open it, and remove it or one of
//! its kinds. Nothing here waits for the disk: what a room is told survives the process at once, and
//! the machine after the next flush.

use super::encoded::Encoded;
use super::refusal::Refusal;
use super::room::{Room, RoomKind, Standing};
use crate::protocol::messages::{encode_mode, encode_reset};
use crate::store::{RoomMode, StoreError};

impl Room {
    /// The mode; open if the room was removed, since a new room takes its place.
    pub(crate) fn mode(&self) -> RoomMode {
        match self.state().standing {
            Standing::In(mode) => mode,
            Standing::Removed => RoomMode::Open,
        }
    }

    /// Why nobody may be in the room, if nobody may.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.state().standing {
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
    /// [`StoreError`] if the room can't be created.
    pub(super) fn set_mode(&self, mode: RoomMode) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.standing == Standing::Removed || state.standing == Standing::In(mode) {
            return Ok(false);
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
        self.remove_kinds_if(|known| known == kind)
    }

    /// Removes the kinds that are not on the operator's list; without a list, all kinds.
    pub(super) fn remove_unlisted_kinds(&self) {
        let listed = self.limits.allowed_kinds.as_deref().unwrap_or_default();
        self.remove_kinds_if(|known| !listed.iter().any(|kind| kind == known));
    }

    fn remove_kinds_if(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        let mut state = self.state();
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
        state.retired.push(retired);
        state.forget_encoded();
        self.begin_epoch();
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
            state.retired.push(retired);
        }
        self.begin_epoch();
    }
}
