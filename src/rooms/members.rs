//! The members that one reactor has in a room: the keys of their connections, in two lists.
//! Presence subscribers have a list of their own, so that sending them presence costs nothing for
//! the other members. A member's slot tells in which list it is.

use crate::reactor::entry_bytes;

/// Whether a member wants presence: the number of members in its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The member is a presence subscriber.
    Wanted,
    /// The member gets counts only.
    Unwanted,
}

/// A member of a room, as its connection knows it.
#[derive(Debug)]
pub(crate) struct Membership {
    /// Index of the room among the reactor's.
    pub(super) room: u32,
    /// The member's slot in the room's member list.
    pub(super) slot: MemberSlot,
    /// Version of the counts that the member was sent last; it wraps.
    pub(super) sent: u32,
}

const _: () = assert!(entry_bytes::<Membership>() == 48);

/// A member's position in a [`MemberList`], in four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberSlot(u32);

/// The bit of a slot that says that its member wants presence. A reactor has fewer connections than
/// the other bits can count.
const PRESENCE_BIT: u32 = 1 << 31;

impl MemberSlot {
    pub(super) fn presence(self) -> Presence {
        if self.0 & PRESENCE_BIT != 0 {
            Presence::Wanted
        } else {
            Presence::Unwanted
        }
    }

    fn index(self) -> usize {
        (self.0 & !PRESENCE_BIT) as usize
    }
}

/// The members that one reactor has in a room.
#[derive(Debug, Default)]
pub(super) struct MemberList {
    plain: Vec<u32>,
    presence: Vec<u32>,
}

/// How far a pass over the members has come. A pass goes from the last slot to the first. A member
/// that joins meanwhile comes at the end and already has the newest state. A member that moves into
/// the slot of a member that left is met again, or was met before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    /// The pass has yet to meet the plain members before this index.
    plain: usize,
    /// The pass has yet to meet the presence subscribers before this index.
    presence: usize,
}

impl Cursor {
    pub(super) fn is_done(&self) -> bool {
        self.plain == 0 && self.presence == 0
    }
}

impl MemberList {
    /// Adds the member with the connection at `key`.
    pub(super) fn add(&mut self, key: u32, presence: Presence) -> MemberSlot {
        let (list, bit) = match presence {
            Presence::Wanted => (&mut self.presence, PRESENCE_BIT),
            Presence::Unwanted => (&mut self.plain, 0),
        };
        list.push(key);
        MemberSlot((list.len() - 1) as u32 | bit)
    }

    /// Removes the member at `slot`. Returns the key of the member that takes over the slot.
    pub(super) fn remove(&mut self, slot: MemberSlot) -> Option<u32> {
        let list = match slot.presence() {
            Presence::Wanted => &mut self.presence,
            Presence::Unwanted => &mut self.plain,
        };
        list.swap_remove(slot.index());
        if list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        list.get(slot.index()).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.presence.is_empty()
    }

    /// The number of presence subscribers.
    pub(super) fn presence_count(&self) -> usize {
        self.presence.len()
    }

    /// The start of a pass over all members.
    pub(super) fn all(&self) -> Cursor {
        Cursor {
            plain: self.plain.len(),
            presence: self.presence.len(),
        }
    }

    /// The start of a pass over the presence subscribers.
    pub(super) fn presence_subscribers(&self) -> Cursor {
        Cursor {
            plain: 0,
            presence: self.presence.len(),
        }
    }

    /// Moves a pass on by at most `max` members, and returns these.
    pub(super) fn step(
        &self,
        cursor: &mut Cursor,
        max: usize,
    ) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + use<'_> {
        let (list, at) = match cursor.presence {
            0 => (&self.plain, &mut cursor.plain),
            _ => (&self.presence, &mut cursor.presence),
        };
        let end = (*at).min(list.len());
        let start = end.saturating_sub(max);
        *at = start;
        list[start..end].iter().rev().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn presence(is_wanted: bool) -> Presence {
        if is_wanted {
            Presence::Wanted
        } else {
            Presence::Unwanted
        }
    }

    proptest! {
        #[test]
        fn a_pass_meets_every_member_that_stays(
            first in proptest::collection::vec(any::<bool>(), 1..60),
            changes in proptest::collection::vec(proptest::option::of(0u32..60), 0..60),
            max in 1usize..9,
        ) {
            let mut members = MemberList::default();
            let mut slots = HashMap::new();
            for (key, is_wanted) in first.iter().enumerate() {
                slots.insert(key as u32, members.add(key as u32, presence(*is_wanted)));
            }
            let mut cursor = members.all();
            let mut met = HashSet::new();
            let mut next_key = 1000;
            let mut changes = changes.into_iter();
            while !cursor.is_done() {
                met.extend(members.step(&mut cursor, max));
                match changes.next() {
                    Some(Some(leaver)) => {
                        if let Some(slot) = slots.remove(&leaver)
                            && let Some(moved) = members.remove(slot)
                        {
                            slots.insert(moved, slot);
                        }
                    }
                    Some(None) => {
                        let is_wanted = next_key % 2 == 0;
                        slots.insert(next_key, members.add(next_key, presence(is_wanted)));
                        next_key += 1;
                    }
                    None => {}
                }
            }
            for key in slots.keys().filter(|key| **key < 1000) {
                prop_assert!(met.contains(key), "{key} was not met");
            }
        }
    }

    #[test]
    fn a_presence_pass_meets_presence_subscribers_only() {
        let mut members = MemberList::default();
        for key in 0..10 {
            members.add(key, presence(key % 3 == 0));
        }
        let mut cursor = members.presence_subscribers();
        assert_eq!(members.step(&mut cursor, 3).collect::<Vec<_>>(), [9, 6, 3]);
        assert_eq!(members.step(&mut cursor, 3).collect::<Vec<_>>(), [0]);
        assert!(cursor.is_done());
    }
}
