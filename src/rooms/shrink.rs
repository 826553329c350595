//! Tables that give memory back after a time with many rooms.

use std::collections::HashMap;
use std::hash::Hash;

/// Gives back most of the memory of a table that was large once.
pub(super) fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    const MIN_CAPACITY: usize = 1024;
    if table.capacity() > MIN_CAPACITY && table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2);
    }
}
