//! The reactors that must be told of something, each once until it attends to it.

use std::sync::atomic::{AtomicU64, Ordering};

/// The most reactors that a room can tell of a change.
pub const MAX_REACTORS: usize = 256;
const WORD_BITS: usize = u64::BITS as usize;

type Bits = [AtomicU64; MAX_REACTORS / WORD_BITS];

/// Who must be told, and who has been.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// A bit for each reactor that must be told.
    watchers: Bits,
    /// A bit for each that was told and hasn't attended to it yet.
    notified: Bits,
}

impl Watchers {
    pub(super) fn watch(&self, reactor: usize) {
        // It may have left without attending to what it was last told.
        self.attend(reactor);
        let (word, bit) = place(reactor);
        self.watchers[word].fetch_or(bit, Ordering::SeqCst);
    }

    pub(super) fn unwatch(&self, reactor: usize) {
        let (word, bit) = place(reactor);
        self.watchers[word].fetch_and(!bit, Ordering::SeqCst);
    }

    /// Lets `reactor` be told again. What it reads afterwards covers all before.
    pub(super) fn attend(&self, reactor: usize) {
        let (word, bit) = place(reactor);
        self.notified[word].fetch_and(!bit, Ordering::SeqCst);
    }

    /// Those that must be told now: who watches, other than `by`, and hasn't been told since it
    /// last attended. They count as told.
    pub(super) fn tell(&self, by: Option<usize>) -> impl Iterator<Item = usize> + use<> {
        let mut newly = [0; MAX_REACTORS / WORD_BITS];
        for (index, word) in newly.iter_mut().enumerate() {
            let own = match by {
                Some(reactor) if reactor / WORD_BITS == index => 1 << (reactor % WORD_BITS),
                _ => 0,
            };
            let wanted = self.watchers[index].load(Ordering::SeqCst) & !own;
            if wanted != 0 {
                *word = wanted & !self.notified[index].fetch_or(wanted, Ordering::SeqCst);
            }
        }
        reactors_in(newly)
    }

    /// All that watch.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> + use<> {
        reactors_in(
            self.watchers
                .each_ref()
                .map(|word| word.load(Ordering::SeqCst)),
        )
    }
}

fn reactors_in(bits: [u64; MAX_REACTORS / WORD_BITS]) -> impl Iterator<Item = usize> {
    bits.into_iter().enumerate().flat_map(|(index, word)| {
        (0..WORD_BITS)
            .filter(move |bit| word >> bit & 1 == 1)
            .map(move |bit| index * WORD_BITS + bit)
    })
}

fn place(reactor: usize) -> (usize, u64) {
    (reactor / WORD_BITS, 1 << (reactor % WORD_BITS))
}
