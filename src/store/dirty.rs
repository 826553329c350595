//! Which pages have changed since they were last synced, and the signal that wakes the flusher.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::{CELL_BYTES, CellId, PAGE_CELLS, PageId};
use super::mapping::Mapping;
use super::signal::Signal;

const PAGES_IN_WORD: u32 = u64::BITS;
const WORDS_IN_CELL: u32 = CELL_BYTES as u32 / 8;

/// A bit for each page, cheap to set again and again, and the flusher's signal.
///
/// A change is made before [`DirtyPages::mark`]; [`DirtyPages::take`] comes before the sync. All
/// are sequentially consistent. So a change whose mark found its bit set was made before the bit
/// was taken, and the sync that follows covers it. Waiting for the signal clears it before the
/// bits are taken: a mark in between sets it again, and costs one flush of nothing.
#[derive(Debug)]
pub(super) struct DirtyPages {
    /// Anonymous memory. Only the part for pages in use is ever touched.
    bits: Mapping,
    /// Set when a page has changed.
    pub(super) signal: Signal,
}

impl DirtyPages {
    /// A bit for each page of a file of `max_cells` cells.
    pub(super) fn new(max_cells: u32) -> io::Result<Self> {
        let cells = max_cells / (PAGE_CELLS * PAGES_IN_WORD * WORDS_IN_CELL) + 1;
        Ok(Self {
            bits: Mapping::anonymous(cells, cells)?,
            signal: Signal::default(),
        })
    }

    /// Marks the page as changed.
    #[inline]
    pub(super) fn mark(&self, page: PageId) {
        let bit = 1 << (page.number() % PAGES_IN_WORD);
        let word = self.word(page.number() / PAGES_IN_WORD);
        if word.load(Ordering::SeqCst) & bit == 0 {
            word.fetch_or(bit, Ordering::SeqCst);
            self.signal.set();
        }
    }

    /// Returns the pages before `end` that have changed, which count as clean from now on.
    pub(super) fn take(&self, end: CellId) -> Vec<PageId> {
        let mut pages = Vec::new();
        for index in 0..=end.page().number() / PAGES_IN_WORD {
            let word = self.word(index);
            // The load spares clean words a write.
            if word.load(Ordering::SeqCst) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                pages.push(PageId::new(index * PAGES_IN_WORD + bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
        pages
    }

    fn word(&self, index: u32) -> &AtomicU64 {
        let cell = self.bits.cell(CellId::new(index / WORDS_IN_CELL));
        &cell[(index % WORDS_IN_CELL) as usize]
    }
}
