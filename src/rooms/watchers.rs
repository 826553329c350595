//! The reactors that watch a room: each is notified of a change once, until it acknowledges.

use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum number of reactors.
pub(crate) const MAX_REACTORS: usize = 256;
const WORD_BITS: usize = u64::BITS as usize;

type Bits = [AtomicU64; MAX_REACTORS / WORD_BITS];

/// The reactors that watch a room, and those already notified.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// A bit for each reactor that watches.
    watching: Bits,
    /// A bit for each reactor that was notified and has not acknowledged yet.
    notified: Bits,
}

impl Watchers {
    /// Adds `reactor`.
    pub(super) fn watch(&self, reactor: usize) {
        // The reactor may have left without acknowledging its last notice.
        self.acknowledge(reactor);
        let (word, bit) = word_and_bit(reactor);
        self.watching[word].fetch_or(bit, Ordering::SeqCst);
    }

    /// Removes `reactor`.
    pub(super) fn unwatch(&self, reactor: usize) {
        let (word, bit) = word_and_bit(reactor);
        self.watching[word].fetch_and(!bit, Ordering::SeqCst);
    }

    /// Lets `reactor` be notified again. What the reactor reads after this call covers every change
    /// before it.
    pub(super) fn acknowledge(&self, reactor: usize) {
        let (word, bit) = word_and_bit(reactor);
        self.notified[word].fetch_and(!bit, Ordering::SeqCst);
    }

    /// The reactors to notify of a change now: those that watch, other than `by`, and that have
    /// acknowledged their last notice. They then count as notified.
    pub(super) fn notify(&self, by: Option<usize>) -> impl Iterator<Item = usize> + use<> {
        let mut newly = [0; MAX_REACTORS / WORD_BITS];
        for (index, word) in newly.iter_mut().enumerate() {
            let own = match by {
                Some(reactor) if reactor / WORD_BITS == index => 1 << (reactor % WORD_BITS),
                _ => 0,
            };
            let wanted = self.watching[index].load(Ordering::SeqCst) & !own;
            if wanted != 0 {
                *word = wanted & !self.notified[index].fetch_or(wanted, Ordering::SeqCst);
            }
        }
        reactors_in(newly)
    }

    /// All reactors that watch.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> + use<> {
        reactors_in(
            self.watching
                .each_ref()
                .map(|word| word.load(Ordering::SeqCst)),
        )
    }
}

/// A set of reactors.
#[derive(Debug, Default)]
pub(super) struct ReactorSet([u64; MAX_REACTORS / WORD_BITS]);

impl ReactorSet {
    pub(super) fn insert(&mut self, reactor: usize) {
        let (word, bit) = word_and_bit(reactor);
        self.0[word] |= bit;
    }

    pub(super) fn remove(&mut self, reactor: usize) {
        let (word, bit) = word_and_bit(reactor);
        self.0[word] &= !bit;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

fn reactors_in(bits: [u64; MAX_REACTORS / WORD_BITS]) -> impl Iterator<Item = usize> {
    bits.into_iter().enumerate().flat_map(|(index, word)| {
        (0..WORD_BITS)
            .filter(move |bit| word >> bit & 1 == 1)
            .map(move |bit| index * WORD_BITS + bit)
    })
}

fn word_and_bit(reactor: usize) -> (usize, u64) {
    (reactor / WORD_BITS, 1 << (reactor % WORD_BITS))
}
