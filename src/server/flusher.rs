//! The two threads that wait for the disk, so that no reactor does. The flusher flushes the store,
//! lets rooms that nobody is in leave memory, and removes those that have been quiet for longer
//! than the operator wants to keep them. The watcher makes the file larger ahead of what comes, and
//! says when a flush takes too long, which the flusher can't.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::supervisor::EndGuard;
use crate::rooms::RoomTable;
use crate::store::{Problem, SLOW, Store};

/// How often the rooms are looked through for those to be removed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// How long a store that can't do what it should waits until it is tried again, at least.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How the flusher works.
#[derive(Debug, Clone)]
pub(super) struct FlusherSettings {
    /// The least time between two flushes.
    pub(super) flush_interval: Duration,
    /// After how long a quiet room is removed, if it is.
    pub(super) room_ttl: Option<Duration>,
}

/// Starts the thread. It ends when the store is told to stop waiting; whoever closes the store
/// then flushes what is left. `ended` tells that it has ended, whatever the reason: a server that
/// can't flush must not go on as if it could.
pub(super) fn spawn(
    store: &Arc<Store>,
    table: &Arc<RoomTable>,
    settings: FlusherSettings,
    ended: EndGuard,
) -> io::Result<JoinHandle<()>> {
    let flusher = Flusher {
        store: Arc::clone(store),
        table: Arc::clone(table),
        settings,
        problems: Vec::new(),
        next_expiry: Instant::now(),
    };
    thread::Builder::new()
        .name("flusher".to_owned())
        .spawn(move || {
            let _ended = ended;
            flusher.run();
        })
}

/// Starts the watcher, which ends likewise.
pub(super) fn spawn_watcher(store: &Arc<Store>, ended: EndGuard) -> io::Result<JoinHandle<()>> {
    let store = Arc::clone(store);
    thread::Builder::new()
        .name("watcher".to_owned())
        .spawn(move || {
            let _ended = ended;
            let mut logged = Vec::new();
            store.watch(|| {
                let mut problems = store.status().problems;
                problems.retain(|problem| problem.label == SLOW);
                log_changes(&mut logged, problems);
            });
        })
}

/// Logs what has begun and what has ended since the last time.
fn log_changes(logged: &mut Vec<Problem>, problems: Vec<Problem>) {
    let is_in =
        |list: &[Problem], problem: &Problem| list.iter().any(|other| other.label == problem.label);
    for problem in &problems {
        if !is_in(logged, problem) {
            tracing::error!(problem = problem.label, "{}; trying again", problem.message);
        }
    }
    for problem in &*logged {
        if !is_in(&problems, problem) {
            tracing::info!(problem = problem.label, "the snapshot is well again");
        }
    }
    *logged = problems;
}

struct Flusher {
    store: Arc<Store>,
    table: Arc<RoomTable>,
    settings: FlusherSettings,
    /// What was wrong when it was last looked at, and has been logged.
    problems: Vec<Problem>,
    next_expiry: Instant,
}

impl Flusher {
    fn run(mut self) {
        loop {
            let is_dirty = self.store.wait_until_dirty(self.next_task());
            if self.store.is_stopped() {
                return;
            }
            if is_dirty || !self.problems.is_empty() {
                // What can't grow is counted in memory, and what can't be flushed is flushed
                // later: the status says so.
                let _ = self.store.grow_ahead();
                let _ = self.store.flush();
            }
            self.log_problems();
            self.table.hibernate();
            self.expire();
            if is_dirty {
                self.store.rest(self.settings.flush_interval);
            }
        }
    }

    /// How long there will be nothing to do if nothing changes; forever, if `None`.
    fn next_task(&self) -> Option<Duration> {
        let now = Instant::now();
        let until = |at: Instant| at.saturating_duration_since(now);
        let retry = (!self.problems.is_empty()).then_some(RETRY_INTERVAL);
        let expiry = self.settings.room_ttl.map(|_| until(self.next_expiry));
        let hibernation = self.table.next_hibernation().map(until);
        [retry, expiry, hibernation].into_iter().flatten().min()
    }

    fn log_problems(&mut self) {
        let mut problems = self.store.status().problems;
        problems.retain(|problem| problem.label != SLOW);
        log_changes(&mut self.problems, problems);
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
            Ok(freed_cells) => tracing::info!(removed, freed_cells, "removed quiet rooms"),
            Err(error) => tracing::error!(%error, "can't free the space of removed rooms yet"),
        }
    }
}
