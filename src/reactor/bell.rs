//! How one thread tells a reactor of another that something awaits it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use mio::Waker;

/// A reactor's letter box: rooms that have changed, and whether it is to stop.
#[derive(Debug)]
pub struct Bell {
    waker: Waker,
    changed_rooms: Mutex<Vec<u64>>,
    stop: AtomicBool,
}

impl Bell {
    /// A bell whose `waker` wakes the reactor that listens.
    pub fn new(waker: Waker) -> Self {
        Self {
            waker,
            changed_rooms: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Tells the reactor that a room has changed. Only the first room wakes it.
    pub fn room_changed(&self, room: u64) {
        let mut rooms = self
            .changed_rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        rooms.push(room);
        if rooms.len() == 1 {
            drop(rooms);
            self.wake();
        }
    }

    /// Moves the rooms that have changed to `rooms`.
    pub fn take_changed_rooms(&self, rooms: &mut Vec<u64>) {
        let mut changed = self
            .changed_rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        rooms.append(&mut changed);
    }

    /// Tells the reactor to stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether it is to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::error!(%error, "can't wake a reactor");
        }
    }
}
