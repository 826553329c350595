//! A slab in chunks: growth copies nothing, and an empty chunk gives its memory back. New entries
//! go to the lowest chunk that has room.

use slab::Slab;

/// Number of entries in a chunk. A chunk is so large that the allocator maps and unmaps it alone.
pub(crate) const CHUNK: usize = 4096;
const CHUNK_BITS: u32 = CHUNK.trailing_zeros();

const _: () = assert!(CHUNK.is_power_of_two());

/// A slab in chunks. Keys are dense, and free keys are used again.
#[derive(Debug)]
pub(super) struct ChunkedSlab<T> {
    chunks: Vec<Slab<T>>,
    /// Index of the first chunk that may have room.
    first_with_room: usize,
    len: usize,
    /// Upper bound of the keys in use.
    end: u32,
}

impl<T> Default for ChunkedSlab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            first_with_room: 0,
            len: 0,
            end: 0,
        }
    }
}

impl<T> ChunkedSlab<T> {
    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Upper bound of the keys in use. While few keys are in use the bound is low, so that visiting
    /// all keys doesn't mean visiting a whole chunk for one entry.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    /// Adds an entry and returns its key.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        while let Some(chunk) = self.chunks.get(self.first_with_room) {
            if chunk.len() < CHUNK {
                break;
            }
            self.first_with_room += 1;
        }
        let index = self.first_with_room;
        if index == self.chunks.len() {
            self.chunks.push(Slab::new());
        }
        let chunk = &mut self.chunks[index];
        if chunk.capacity() == 0 {
            chunk.reserve_exact(CHUNK);
        }
        self.len += 1;
        let key = ((index << CHUNK_BITS) + chunk.insert(value)) as u32;
        self.end = self.end.max(key + 1);
        key
    }

    /// The entry at `key`, if there is one.
    #[inline]
    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        let (chunk, entry) = split(key);
        self.chunks.get_mut(chunk)?.get_mut(entry)
    }

    /// Removes and returns the entry at `key`, if there is one.
    pub(super) fn remove(&mut self, key: u32) -> Option<T> {
        let (index, entry) = split(key);
        let chunk = self.chunks.get_mut(index)?;
        let value = chunk.try_remove(entry)?;
        self.len -= 1;
        self.first_with_room = self.first_with_room.min(index);
        if chunk.is_empty() {
            *chunk = Slab::new();
            while self.chunks.last().is_some_and(|last| last.capacity() == 0) {
                self.chunks.pop();
            }
            self.end = self.end.min((self.chunks.len() << CHUNK_BITS) as u32);
        }
        Some(value)
    }
}

/// The chunk and the entry in it that `key` names.
#[inline]
fn split(key: u32) -> (usize, usize) {
    (key as usize >> CHUNK_BITS, key as usize & (CHUNK - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn empty_chunks_give_their_memory_back() {
        let mut slab = ChunkedSlab::default();
        let keys: Vec<u32> = (0..10 * CHUNK).map(|n| slab.insert(n)).collect();
        assert_eq!(keys, (0..10 * CHUNK as u32).collect::<Vec<_>>());
        for key in &keys[CHUNK / 2..] {
            slab.remove(*key).unwrap();
        }
        assert_eq!(slab.len(), CHUNK / 2);
        assert_eq!(slab.end(), CHUNK as u32);
        assert!(slab.insert(0) < CHUNK as u32);
    }

    #[test]
    fn the_bound_of_the_keys_is_low_while_few_are_in_use() {
        let mut slab = ChunkedSlab::default();
        let keys: Vec<u32> = (0..10).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.end(), 10);
        slab.remove(keys[0]).unwrap();
        assert_eq!(slab.end(), 10);
        for key in &keys[1..] {
            slab.remove(*key).unwrap();
        }
        assert_eq!(slab.end(), 0);
    }

    proptest! {
        #[test]
        fn the_slab_behaves_like_a_map(operations in proptest::collection::vec((any::<bool>(), 0u32..9000), 0..12000)) {
            let mut slab = ChunkedSlab::default();
            let mut model = HashMap::new();
            for (number, (insert, key)) in operations.into_iter().enumerate() {
                if insert {
                    let key = slab.insert(number);
                    prop_assert!(key < slab.end());
                    prop_assert_eq!(model.insert(key, number), None);
                } else {
                    prop_assert_eq!(slab.get_mut(key).copied(), model.get(&key).copied());
                    prop_assert_eq!(slab.remove(key), model.remove(&key));
                }
                prop_assert_eq!(slab.len(), model.len());
            }
        }
    }
}
