//! Which pages have changed since they were last synced, and the flusher's wait for one.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::format::CELL_BYTES;
use super::mapping::Mapping;

/// Cells in a page.
pub(super) const PAGE_CELLS: u32 = 4096 / CELL_BYTES as u32;
const WORD_PAGES: u32 = u64::BITS;
const CELL_WORDS: u32 = CELL_BYTES as u32 / 8;

/// A bit for each page, cheap to set again and again, and one waiter.
///
/// A change is made before [`Dirty::mark`]; [`Dirty::take`] comes before the sync. All are
/// sequentially consistent, so a change whose mark found its bit set was made before the bit was
/// taken, and the sync that follows covers it. [`Dirty::wait`] clears the flag before the bits
/// are taken: a mark that comes in between sets the flag again, and costs a look at nothing.
#[derive(Debug)]
pub(super) struct Dirty {
    /// Anonymous memory, of which only the part for the pages in use is ever touched.
    bits: Mapping,
    is_dirty: AtomicBool,
    is_stopped: AtomicBool,
    is_urgent: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Dirty {
    /// For as many cells.
    pub(super) fn new(max_cells: u32) -> io::Result<Self> {
        let cells = max_cells / (PAGE_CELLS * WORD_PAGES * CELL_WORDS) + 1;
        Ok(Self {
            bits: Mapping::anonymous(cells, cells)?,
            is_dirty: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            is_urgent: AtomicBool::new(false),
            lock: Mutex::default(),
            changed: Condvar::new(),
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
            self.wake();
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

    /// Ends the wait, as if something had changed.
    #[cold]
    pub(super) fn wake(&self) {
        if !self.is_dirty.swap(true, Ordering::SeqCst) {
            self.notify();
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Waits until something is marked, or it is stopped, or `longest` has passed; returns
    /// whether something was marked since the last wait.
    pub(super) fn wait(&self, longest: Option<Duration>) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |_: &mut ()| !self.is_dirty.load(Ordering::SeqCst) && !self.is_stopped();
        match longest {
            Some(longest) => drop(self.changed.wait_timeout_while(guard, longest, is_idle)),
            None => drop(self.changed.wait_while(guard, is_idle)),
        }
        self.is_dirty.swap(false, Ordering::SeqCst)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// Ends the wait and the rest: what is needed can't wait for the next flush.
    pub(super) fn urge(&self) {
        if !self.is_urgent.swap(true, Ordering::SeqCst) {
            self.wake();
            self.notify();
        }
    }

    /// Waits for `time`, or until urged or stopped. A mark made meanwhile does not end the wait.
    pub(super) fn rest(&self, time: Duration) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A poisoned lock guards nothing.
        let _ = self.changed.wait_timeout_while(guard, time, |()| {
            !self.is_stopped() && !self.is_urgent.load(Ordering::SeqCst)
        });
        self.is_urgent.store(false, Ordering::SeqCst);
    }

    fn notify(&self) {
        // Taking the lock puts this after the waiter's look at the flags, or before it.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}
