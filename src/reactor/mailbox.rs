//! How other threads notify a reactor.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::Waker;

/// A reactor's mailbox: notices `N` for its application, and the request to stop.
#[derive(Debug)]
pub struct Mailbox<N> {
    waker: Waker,
    notices: Mutex<Vec<N>>,
    stop: AtomicBool,
}

impl<N> Mailbox<N> {
    /// Creates an empty mailbox. `waker` wakes the reactor that reads it.
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            waker,
            notices: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Leaves a notice. Only the first notice since the reactor last read its mailbox wakes it.
    pub fn post(&self, notice: N) {
        let mut notices = self.notices();
        notices.push(notice);
        let is_first = notices.len() == 1;
        drop(notices);
        if is_first {
            self.wake();
        }
    }

    /// Moves all notices to `target`.
    pub(super) fn take_into(&self, target: &mut Vec<N>) {
        target.append(&mut self.notices());
    }

    /// Tells the reactor to stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether the reactor was told to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn notices(&self) -> MutexGuard<'_, Vec<N>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::error!(%error, "could not wake a reactor");
        }
    }
}
