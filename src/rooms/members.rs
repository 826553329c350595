//! The members that one reactor has in a room: the keys of their connections, in a list for each
//! interest, so that what only some members get costs nothing for the others. A member's slot tells
//! in which list it is.

use crate::reactor::entry_bytes;

/// What a member gets. Each interest includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Interest {
    /// The counts.
    Counts,
    /// The room's mode too: whether it is frozen.
    Mode,
    /// The number of members too. Such a member is a presence subscriber.
    Presence,
}

impl Interest {
    const ALL: [Self; 3] = [Self::Counts, Self::Mode, Self::Presence];
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

/// The number of low bits of a slot that hold the index in a list. A reactor has fewer connections
/// than they can count. The bit above says that the member may not react, and the bits above that
/// hold the interest.
const INDEX_BITS: u32 = 29;
const MUTE_BIT: u32 = 1 << INDEX_BITS;
const INTEREST_SHIFT: u32 = INDEX_BITS + 1;

impl MemberSlot {
    fn new(interest: Interest, index: usize) -> Self {
        Self((interest as u32) << INTEREST_SHIFT | index as u32)
    }

    /// What the member gets.
    pub(super) fn interest(self) -> Interest {
        match self.0 >> INTEREST_SHIFT {
            0 => Interest::Counts,
            1 => Interest::Mode,
            _ => Interest::Presence,
        }
    }

    fn index(self) -> usize {
        (self.0 & (MUTE_BIT - 1)) as usize
    }

    /// The slot of the same member, which may not react.
    pub(super) fn muted(self) -> Self {
        Self(self.0 | MUTE_BIT)
    }

    /// Whether the member may not react.
    pub(super) fn is_mute(self) -> bool {
        self.0 & MUTE_BIT != 0
    }

    /// The slot of the same member after it has taken over the place of `other`.
    pub(super) fn moved_to(self, other: Self) -> Self {
        Self(other.0 & !MUTE_BIT | self.0 & MUTE_BIT)
    }
}

/// The members that one reactor has in a room.
#[derive(Debug, Default)]
pub(super) struct MemberList {
    /// The keys of the members, by interest.
    keys: [Vec<u32>; Interest::ALL.len()],
}

/// How far a pass over the members has come. A pass goes from the last slot to the first. A member
/// that joins meanwhile comes at the end and already has the newest state. A member that moves into
/// the slot of a member that left is met again, or was met before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    /// For each interest, the pass has yet to meet the members before this index.
    ends: [usize; Interest::ALL.len()],
}

impl Cursor {
    pub(super) fn is_done(&self) -> bool {
        self.ends == [0; Interest::ALL.len()]
    }
}

impl MemberList {
    /// Adds the member with the connection at `key`.
    pub(super) fn add(&mut self, key: u32, interest: Interest) -> MemberSlot {
        let list = &mut self.keys[interest as usize];
        list.push(key);
        MemberSlot::new(interest, list.len() - 1)
    }

    /// Removes the member at `slot`. Returns the key of the member that takes over the slot.
    pub(super) fn remove(&mut self, slot: MemberSlot) -> Option<u32> {
        let list = &mut self.keys[slot.interest() as usize];
        list.swap_remove(slot.index());
        if list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        list.get(slot.index()).copied()
    }

    /// The key of the member at `slot`.
    pub(super) fn key(&self, slot: MemberSlot) -> Option<u32> {
        self.keys[slot.interest() as usize]
            .get(slot.index())
            .copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.iter().all(Vec::is_empty)
    }

    /// The number of presence subscribers.
    pub(super) fn presence_count(&self) -> usize {
        self.keys[Interest::Presence as usize].len()
    }

    /// The start of a pass over the members with this interest or a wider one.
    pub(super) fn with(&self, interest: Interest) -> Cursor {
        let end_of = |other| {
            if other >= interest {
                self.keys[other as usize].len()
            } else {
                0
            }
        };
        Cursor {
            ends: Interest::ALL.map(end_of),
        }
    }

    /// Moves a pass on by at most `max` members, and returns these.
    pub(super) fn step(
        &self,
        cursor: &mut Cursor,
        max: usize,
    ) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + use<'_> {
        let widest = cursor.ends.iter().rposition(|end| *end > 0).unwrap_or(0);
        let (list, at) = (&self.keys[widest], &mut cursor.ends[widest]);
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

    fn interest(number: u32) -> Interest {
        Interest::ALL[number as usize % Interest::ALL.len()]
    }

    proptest! {
        #[test]
        fn a_pass_meets_every_member_that_stays(
            first in proptest::collection::vec(any::<u32>(), 1..60),
            changes in proptest::collection::vec(proptest::option::of(0u32..60), 0..60),
            max in 1usize..9,
        ) {
            let mut members = MemberList::default();
            let mut slots = HashMap::new();
            for (key, number) in (0..).zip(first) {
                slots.insert(key, members.add(key, interest(number)));
            }
            let mut cursor = members.with(Interest::Counts);
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
                        slots.insert(next_key, members.add(next_key, interest(next_key)));
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
    fn a_member_stays_mute_when_it_moves() {
        let mut members = MemberList::default();
        let slots: Vec<_> = (0..3)
            .map(|key| members.add(key, Interest::Presence))
            .collect();
        let (leaver, last) = (slots[0].muted(), slots[2]);
        assert_eq!(members.remove(leaver), Some(2));
        for (mover, is_mute) in [(last, false), (last.muted(), true)] {
            let moved = mover.moved_to(leaver);
            assert_eq!(moved.is_mute(), is_mute);
            assert_eq!(moved.interest(), Interest::Presence);
            assert_eq!(members.key(moved), Some(2));
        }
    }

    #[test]
    fn a_pass_meets_members_with_its_interest_or_a_wider_one() {
        let mut members = MemberList::default();
        for key in 0..10 {
            members.add(key, interest(key));
        }
        let mut cursor = members.with(Interest::Presence);
        assert_eq!(members.step(&mut cursor, 2).collect::<Vec<_>>(), [8, 5]);
        assert_eq!(members.step(&mut cursor, 2).collect::<Vec<_>>(), [2]);
        assert!(cursor.is_done());
        let mut cursor = members.with(Interest::Mode);
        assert_eq!(members.step(&mut cursor, 9).collect::<Vec<_>>(), [8, 5, 2]);
        assert_eq!(members.step(&mut cursor, 9).collect::<Vec<_>>(), [7, 4, 1]);
        assert!(cursor.is_done());
    }
}
