//! The name of a room with its party, kept once and shared by all that need it.

use std::fmt;
use std::sync::Arc;

/// A party and the name of a room in it. Clones share one allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct RoomKey {
    /// The party, then the room.
    names: Arc<str>,
    party_bytes: usize,
}

impl RoomKey {
    pub(super) fn new(party: &str, room: &str) -> Self {
        Self {
            names: [party, room].concat().into(),
            party_bytes: party.len(),
        }
    }

    /// The party.
    pub(super) fn party(&self) -> &str {
        &self.names[..self.party_bytes]
    }

    /// The room's name in its party.
    pub(super) fn room(&self) -> &str {
        &self.names[self.party_bytes..]
    }
}

impl fmt::Debug for RoomKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}/{:?}", self.party(), self.room())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_apart_from_its_party() {
        let key = RoomKey::new("main", "talk");
        assert_eq!((key.party(), key.room()), ("main", "talk"));
        assert_ne!(key, RoomKey::new("mai", "ntalk"));
        assert_eq!(key, RoomKey::new("main", "talk"));
    }
}
