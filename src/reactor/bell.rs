//! How one thread tells a reactor of another that something awaits it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use mio::Waker;

/// What has happened to a room, which is named by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Its counts have changed.
    Counts(u64),
    /// Members have come or left.
    Members(u64),
    /// The operator closes it: its members must go.
    Closed(u64),
}

/// A reactor's letter box: news of rooms, and whether it is to stop.
#[derive(Debug)]
pub struct Bell {
    waker: Waker,
    news: Mutex<Vec<News>>,
    stop: AtomicBool,
}

impl Bell {
    /// A bell whose `waker` wakes the reactor that listens.
    pub fn new(waker: Waker) -> Self {
        Self {
            waker,
            news: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Tells the reactor what has happened. Only the first news wakes it.
    pub fn tell(&self, what: News) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.push(what);
        if news.len() == 1 {
            drop(news);
            self.wake();
        }
    }

    /// Moves the news to `all`.
    pub fn take_news(&self, all: &mut Vec<News>) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(&mut news);
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
