//! The members of a room that one reactor has: the keys of their connections, in two lists. Those who
//! want to know how many are here are apart from the others, so that telling them costs nothing
//! for the rest, and a member's place tells which kind it is.

/// A member's place on the roll, in four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

/// The bit of a place that says that its member wants to know how many are here. A reactor has
/// fewer connections than it has room for.
const CURIOUS: u32 = 1 << 31;

impl Place {
    pub(super) fn is_curious(self) -> bool {
        self.0 & CURIOUS != 0
    }

    fn index(self) -> usize {
        (self.0 & !CURIOUS) as usize
    }
}

/// The members.
#[derive(Debug, Default)]
pub(super) struct Roll {
    plain: Vec<u32>,
    curious: Vec<u32>,
}

/// How far a pass over the members has come: it goes from the last to the first. One that joins
/// comes at the end and has been told all already; one that moves into the place of one that left
/// is met again or was met before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    /// Members of either list before this index are still to be met.
    plain: usize,
    curious: usize,
}

impl Cursor {
    pub(super) fn is_done(&self) -> bool {
        self.plain == 0 && self.curious == 0
    }
}

impl Roll {
    /// Adds a member.
    pub(super) fn add(&mut self, key: u32, is_curious: bool) -> Place {
        let (list, bit) = match is_curious {
            true => (&mut self.curious, CURIOUS),
            false => (&mut self.plain, 0),
        };
        list.push(key);
        Place((list.len() - 1) as u32 | bit)
    }

    /// Takes the member at `place` out; gives the key of the one that now has its place.
    pub(super) fn remove(&mut self, place: Place) -> Option<u32> {
        let list = match place.is_curious() {
            true => &mut self.curious,
            false => &mut self.plain,
        };
        list.swap_remove(place.index());
        if list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        list.get(place.index()).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.curious.is_empty()
    }

    /// How many want to know how many are here.
    pub(super) fn curious_count(&self) -> usize {
        self.curious.len()
    }

    /// The start of a pass over all members.
    pub(super) fn all(&self) -> Cursor {
        Cursor {
            plain: self.plain.len(),
            curious: self.curious.len(),
        }
    }

    /// The start of a pass over those who want to know how many are here.
    pub(super) fn curious(&self) -> Cursor {
        Cursor {
            plain: 0,
            curious: self.curious.len(),
        }
    }

    /// Moves a pass on by at most `most` members, and gives those.
    pub(super) fn step(
        &self,
        cursor: &mut Cursor,
        most: usize,
    ) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + use<'_> {
        let (list, at) = match cursor.curious {
            0 => (&self.plain, &mut cursor.plain),
            _ => (&self.curious, &mut cursor.curious),
        };
        let end = (*at).min(list.len());
        let start = end.saturating_sub(most);
        *at = start;
        list[start..end].iter().rev().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    proptest! {
        #[test]
        fn a_pass_meets_everyone_who_was_there_and_stayed(
            first in proptest::collection::vec(any::<bool>(), 1..60),
            changes in proptest::collection::vec(proptest::option::of(0u32..60), 0..60),
            most in 1usize..9,
        ) {
            let mut roll = Roll::default();
            let mut places = HashMap::new();
            for (key, is_curious) in first.iter().enumerate() {
                places.insert(key as u32, roll.add(key as u32, *is_curious));
            }
            let mut cursor = roll.all();
            let mut met = HashSet::new();
            let mut next_key = 1000;
            let mut changes = changes.into_iter();
            while !cursor.is_done() {
                met.extend(roll.step(&mut cursor, most));
                match changes.next() {
                    Some(Some(leaver)) => {
                        if let Some(place) = places.remove(&leaver)
                            && let Some(moved) = roll.remove(place)
                        {
                            places.insert(moved, place);
                        }
                    }
                    Some(None) => {
                        places.insert(next_key, roll.add(next_key, next_key % 2 == 0));
                        next_key += 1;
                    }
                    None => {}
                }
            }
            for key in places.keys().filter(|key| **key < 1000) {
                prop_assert!(met.contains(key), "{key} was not met");
            }
        }
    }

    #[test]
    fn only_the_curious_are_met_where_only_they_are_wanted() {
        let mut roll = Roll::default();
        for key in 0..10 {
            roll.add(key, key % 3 == 0);
        }
        let mut cursor = roll.curious();
        assert_eq!(roll.step(&mut cursor, 3).collect::<Vec<_>>(), [9, 6, 3]);
        assert_eq!(roll.step(&mut cursor, 3).collect::<Vec<_>>(), [0]);
        assert!(cursor.is_done());
    }
}
