//! The flusher: the thread that waits for the disk, so that no reactor does. It flushes the store,
//! lets idle rooms leave memory, removes rooms that have been quiet for longer than the operator
//! wants to keep them, and frees the space of what was removed.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::problems::ProblemLog;
use super::supervisor::EndGuard;
use crate::config::advice;
use crate::rooms::RoomTable;
use crate::store::{Problem, ProblemKind, Store};

/// Time between two searches for rooms to remove.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum time after a failed attempt to free the space of removed rooms and kinds.
const RECLAIM_RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum time before a store with problems is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Settings of the flusher.
#[derive(Debug, Clone)]
pub(super) struct FlusherSettings {
    /// Minimum time between two flushes.
    pub(super) flush_interval: Duration,
    /// Time after which a quiet room is removed, if rooms are removed.
    pub(super) room_ttl: Option<Duration>,
}

/// Starts the thread. It ends when the store is told to stop waiting; closing the store then
/// flushes what is left. However the thread ends, `end` tells the main thread: a server that
/// can't flush must not go on.
pub(super) fn spawn(
    store: &Arc<Store>,
    table: &Arc<RoomTable>,
    settings: FlusherSettings,
    end: EndGuard,
) -> io::Result<JoinHandle<()>> {
    let flusher = Flusher {
        store: Arc::clone(store),
        table: Arc::clone(table),
        settings,
        problems: ProblemLog::default(),
        next_expiry: Instant::now(),
        next_reclaim: Instant::now(),
    };
    thread::Builder::new()
        .name("flusher".to_owned())
        .spawn(move || {
            let _end = end;
            flusher.run();
        })
}

struct Flusher {
    store: Arc<Store>,
    table: Arc<RoomTable>,
    settings: FlusherSettings,
    problems: ProblemLog,
    next_expiry: Instant,
    next_reclaim: Instant,
}

impl Flusher {
    fn run(mut self) {
        loop {
            let is_dirty = self.store.wait_until_dirty(self.time_to_next_task());
            if self.store.is_stopped() {
                return;
            }
            if is_dirty || !self.problems.is_empty() {
                // The status reports errors: what has no space is counted in memory, and what
                // can't be flushed is flushed later.
                let _ = self.store.grow_ahead();
                let _ = self.store.flush();
            }
            // The grower reports slow flushes, because the flusher waits for them.
            let is_reported = |problem: &Problem| !matches!(problem.kind, ProblemKind::Slow(_));
            self.problems.update(&self.store, is_reported);
            self.table.hibernate();
            let expired = self.expire();
            self.reclaim(expired);
            if is_dirty {
                self.store.rest(self.settings.flush_interval);
            }
        }
    }

    /// Time until there is something to do if nothing changes; `None` if there never is.
    fn time_to_next_task(&self) -> Option<Duration> {
        let now = Instant::now();
        let until = |at: Instant| at.saturating_duration_since(now);
        let retry = (!self.problems.is_empty()).then_some(RETRY_INTERVAL);
        let expiry = self.settings.room_ttl.map(|_| until(self.next_expiry));
        let hibernation = self.table.next_hibernation().map(until);
        [retry, expiry, hibernation].into_iter().flatten().min()
    }

    /// Removes the rooms that have been quiet for too long, and returns their number.
    fn expire(&mut self) -> usize {
        let Some(ttl) = self.settings.room_ttl else {
            return 0;
        };
        if Instant::now() < self.next_expiry {
            return 0;
        }
        self.next_expiry = Instant::now() + EXPIRY_INTERVAL;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let oldest = now.unwrap_or_default().saturating_sub(ttl);
        let oldest = u32::try_from(oldest.as_secs()).unwrap_or(u32::MAX);
        self.table.remove_inactive_since(oldest)
    }

    /// Frees the space of what was removed, if nothing uses it any more. Nothing wakes the flusher
    /// for that: the space is needed only when there are changes, and these wake it.
    fn reclaim(&mut self, expired: usize) {
        if Instant::now() < self.next_reclaim {
            return;
        }
        match self.store.reclaim() {
            Ok(freed_cells) if expired > 0 => {
                tracing::info!(removed = expired, freed_cells, "expired rooms removed");
            }
            Ok(_) => {}
            Err(error) => {
                self.next_reclaim = Instant::now() + RECLAIM_RETRY_INTERVAL;
                let error = advice::snapshot::store_error(&error);
                tracing::error!(error, "could not free the space of removed rooms");
            }
        }
    }
}
