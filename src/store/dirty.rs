//! Which pages have changed since they were last synced, and what tells the flusher of one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::CELL_BYTES;
use super::mapping::Mapping;
use super::signal::Signal;

/// Cells in a page.
pub(super) const PAGE_CELLS: u32 = 4096 / CELL_BYTES as u32;
const WORD_PAGES: u32 = u64::BITS;
const CELL_WORDS: u32 = CELL_BYTES as u32 / 8;

/// A bit for each page, cheap to set again and again, and the flusher's signal.
///
/// A change is made before [`Dirty::mark`]; [`Dirty::take`] comes before the sync. All are
/// sequentially consistent, so a change whose mark found its bit set was made before the bit was
/// taken, and the sync that follows covers it. The wait for the signal clears it before the bits
/// are taken: a mark that comes in between sets it again, and costs a look at nothing.
#[derive(Debug)]
pub(super) struct Dirty {
    /// Anonymous memory, of which only the part for the pages in use is ever touched.
    bits: Mapping,
    pub(super) signal: Signal,
}

impl Dirty {
    /// For as many cells.
    pub(super) fn new(max_cells: u32) -> io::Result<Self> {
        let cells = max_cells / (PAGE_CELLS * WORD_PAGES * CELL_WORDS) + 1;
        Ok(Self {
            bits: Mapping::anonymous(cells, cells)?,
            signal: Signal::default(),
        })
    }

    /// Says that the cell has changed.
    #[inline]
    pub(super) fn mark(&self, cell: u32) {
        let page = cell / PAGE_CELLS;
        let bit = 1 << (page % WORD_PAGES);
        let word = self.word(page / WORD_PAGES);
        if word.load(Ordering::SeqCst) & bit == 0 {
            word.fetch_or(bit, Ordering::SeqCst);
            self.signal.set();
        }
    }

    /// The pages that have changed among those of the first `cells`, which are clean from now on.
    pub(super) fn take(&self, cells: u32) -> Vec<u32> {
        let mut pages = Vec::new();
        for index in 0..=cells / (PAGE_CELLS * WORD_PAGES) {
            let word = self.word(index);
            // The load spares the clean ones a write.
            if word.load(Ordering::SeqCst) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                pages.push(index * WORD_PAGES + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        pages
    }

    fn word(&self, index: u32) -> &AtomicU64 {
        &self.bits.cell(index / CELL_WORDS)[(index % CELL_WORDS) as usize]
    }
}
