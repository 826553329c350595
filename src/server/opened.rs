//! The first stage: the process is prepared and the store is open.

use std::path::Path;
use std::sync::Arc;

use crate::config::ServeArgs;
use crate::doctor;
use crate::os::{allocator, descriptor_limit};
use crate::store::{OpenError, OpenReport, Store};

/// A server with an open store.
pub(super) struct Opened {
    pub(super) store: Arc<Store>,
}

impl Opened {
    /// Prepares the process and opens the store.
    ///
    /// # Errors
    /// [`OpenError`] if the snapshot can't be opened.
    pub(super) fn open(args: &ServeArgs) -> Result<Self, OpenError> {
        // Every connection is a descriptor.
        if let Err(error) = descriptor_limit::raise() {
            tracing::warn!(%error, "could not raise the limit on open files");
        }
        allocator::keep_little_free_memory();
        warn_of_bounds(args);
        let store = Arc::new(open_store(args)?);
        Ok(Self { store })
    }

    /// Closes the store of a server that won't run. Nothing was counted.
    pub(super) fn abandon(&self) {
        // A store that can't be closed is as after a crash.
        let _ = self.store.close();
    }
}

/// Warns of what keeps the machine from the number of connections that the operator asked for.
fn warn_of_bounds(args: &ServeArgs) {
    let Some(wanted) = args.limits.max_connections else {
        return;
    };
    let listen = &args.listen;
    for bound in doctor::check(wanted, listen.reactor_count(), listen.fd_tables) {
        tracing::warn!(wanted, %bound, "--max-connections can't be reached");
    }
}

fn open_store(args: &ServeArgs) -> Result<Store, OpenError> {
    let limits = args.snapshot.store_limits();
    let Some(path) = args.snapshot.path() else {
        return Store::anonymous(&limits);
    };
    let (store, report) = if args.snapshot.salvage {
        Store::open_or_salvage(path, &limits)?
    } else {
        Store::open(path, &limits)?
    };
    log_opened(path, &report);
    if store.is_open_to_others() {
        tracing::warn!(
            snapshot = %path.display(),
            "snapshot can be locked by other users; chmod it to 600 or 640"
        );
    }
    // Makes room for the first crowd. If this fails, the flusher tries again and logs it.
    let _ = store.grow_ahead();
    Ok(store)
}

fn log_opened(path: &Path, report: &OpenReport) {
    let snapshot = path.display();
    if let Some(salvaged) = &report.salvaged {
        tracing::warn!(
            %snapshot,
            damage = %salvaged.damage,
            lost_counts = salvaged.lost_counts,
            original = %salvaged.original.display(),
            "snapshot salvaged"
        );
    }
    if report.was_empty {
        tracing::warn!(%snapshot, "snapshot was empty, and is taken for a new one");
    }
    tracing::info!(
        %snapshot,
        rooms = report.rooms,
        counters = report.counters,
        was_closed = report.was_closed,
        restored_counts = report.restored_counts,
        finished_resets = report.finished_resets,
        leftovers = report.leftovers,
        "snapshot opened"
    );
}
