//! A signal that one thread waits for, and any thread can set.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag with one waiter, cheap to set again and again.
#[derive(Debug, Default)]
pub(super) struct Signal {
    is_set: AtomicBool,
    is_stopped: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Signal {
    /// Ends the wait.
    #[cold]
    pub(super) fn set(&self) {
        if !self.is_set.swap(true, Ordering::SeqCst) {
            self.notify();
        }
    }

    /// Whether the signal was set since the last wait.
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// Ends this wait and all later ones.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Whether [`Signal::stop`] was called.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// Waits until the signal is set or stopped, or `longest` has passed. Returns whether it was
    /// set since the last wait.
    pub(super) fn wait(&self, longest: Option<Duration>) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |(): &mut ()| !self.is_set() && !self.is_stopped();
        match longest {
            Some(longest) => drop(self.changed.wait_timeout_while(guard, longest, is_idle)),
            None => drop(self.changed.wait_while(guard, is_idle)),
        }
        self.is_set.swap(false, Ordering::SeqCst)
    }

    /// Waits until `time` has passed or the signal is stopped. Setting it does not end this wait.
    pub(super) fn rest(&self, time: Duration) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A poisoned lock guards nothing.
        let _ = self
            .changed
            .wait_timeout_while(guard, time, |()| !self.is_stopped());
    }

    fn notify(&self) {
        // Taking the lock orders this before or after the waiter's check of the flags.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}
