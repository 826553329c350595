//! The grower: the thread that makes the snapshot larger ahead of need, because the flusher may be
//! waiting for the disk. For the same reason it reports flushes that take too long.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::problems::ProblemLog;
use super::supervisor::EndGuard;
use crate::store::{ProblemKind, Store};

/// Starts the thread. It ends when the store is told to stop waiting. However the thread ends,
/// `end` tells the main thread.
pub(super) fn spawn(store: &Arc<Store>, end: EndGuard) -> io::Result<JoinHandle<()>> {
    let store = Arc::clone(store);
    thread::Builder::new()
        .name("grower".to_owned())
        .spawn(move || {
            let _end = end;
            let mut problems = ProblemLog::default();
            store.grow_until_stopped(|| {
                problems.update(&store, |it| matches!(it.kind, ProblemKind::Slow(_)));
            });
        })
}
