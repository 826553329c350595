//! The flusher: the thread that waits for the disk, so that no reactor does. It flushes the store,
//! lets idle rooms leave memory, and removes rooms that have been quiet for longer than the
//! operator wants to keep them.

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
            self.expire();
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

    fn expire(&mut self) {
        let Some(ttl) = self.settings.room_ttl else {
            return;
        };
        if Instant::now() < self.next_expiry {
            return;
        }
        self.next_expiry = Instant::now() + EXPIRY_INTERVAL;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let oldest = now.unwrap_or_default().saturating_sub(ttl);
        let oldest = u32::try_from(oldest.as_secs()).unwrap_or(u32::MAX);
        let removed = self.table.remove_inactive_since(oldest);
        match self.store.reclaim() {
            Ok(_) if removed == 0 => {}
            Ok(freed_cells) => tracing::info!(removed, freed_cells, "expired rooms removed"),
            Err(error) => {
                let error = advice::snapshot::store_error(&error);
                tracing::error!(error, "could not free the space of removed rooms");
            }
        }
    }
}
