//! Whether the store has changed since it was last synced, and the flusher's wait for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag that is cheap to set again and again, with one waiter.
///
/// A change is made before [`Dirty::mark`]; [`Dirty::clear`] comes before the sync. All are
/// sequentially consistent, so a change whose mark found the flag set was made before the clear,
/// and the sync that follows it covers the change.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    is_dirty: AtomicBool,
    is_stopped: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Dirty {
    #[inline]
    pub(super) fn mark(&self) {
        if !self.is_dirty.load(Ordering::SeqCst) {
            self.mark_first();
        }
    }

    #[cold]
    fn mark_first(&self) {
        if !self.is_dirty.swap(true, Ordering::SeqCst) {
            self.notify();
        }
    }

    pub(super) fn clear(&self) {
        self.is_dirty.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Waits until marked or stopped; returns whether marked.
    pub(super) fn wait(&self) -> bool {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let is_dirty = self.is_dirty.load(Ordering::SeqCst);
            if is_dirty || self.is_stopped.load(Ordering::SeqCst) {
                return is_dirty;
            }
            guard = self
                .changed
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// Waits for `time`, or until stopped. A mark made meanwhile does not end the wait.
    pub(super) fn rest(&self, time: Duration) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A poisoned lock guards nothing.
        let _ = self
            .changed
            .wait_timeout_while(guard, time, |()| !self.is_stopped());
    }

    fn notify(&self) {
        // Taking the lock puts this after the waiter's look at the flags, or before it.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}
