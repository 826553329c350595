//! A global allocator that counts the bytes in use. It contains `unsafe` code.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The heap that one part of the program uses, measured around each of its calls.
#[derive(Debug, Default)]
pub struct Meter {
    /// Number of bytes that the calls have allocated and not freed.
    pub held: isize,
    /// Maximum number of bytes that one call has used beyond what was held before it.
    pub peak: usize,
}

impl Meter {
    /// Runs `call` and adds what it allocates and frees.
    pub fn measure<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let result = call();
        self.held += LIVE.load(Ordering::Relaxed) as isize - before as isize;
        self.peak = self.peak.max(PEAK.load(Ordering::Relaxed) - before);
        result
    }
}
