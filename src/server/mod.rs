//! The server, in stages: [`opened`] (the store), [`bound`] (the addresses), [`running`] (the
//! threads), stopped.
//!
//! Threads:
//! - `main` starts the others and waits for a reason to stop.
//! - `log` writes the log, and `banner` prints the addresses at the start: what reads them may be
//!   stuck.
//! - `signals` waits for signals.
//! - `reactor-N` serves connections; one thread per reactor.
//! - `flusher` writes the store to the disk, hibernates idle rooms and removes expired ones.
//! - `grower` makes the snapshot file larger ahead of need, and reports flushes that take too long.
//! - `admin` serves the admin side.
//! - `reset` runs while the operator resets a room.
//!
//! SIGINT and SIGTERM count what has been read, tell the clients (close code 1001), sync the store
//! and end with 0. A second signal ends the process at once, which the store survives like SIGKILL.

mod bound;
mod error;
mod flusher;
mod grower;
mod handover;
mod opened;
mod problems;
mod reactors;
mod report;
mod running;
mod sessions;
mod supervisor;

use crate::config::ServeArgs;
use crate::reactor::ListenAddress;
use bound::Bound;
pub(crate) use error::ServeError;
use opened::Opened;
use running::Running;
use supervisor::Supervisor;

/// Serves until a signal comes. Calls `ready` with the addresses of the rooms and those of the
/// admin side, once the server listens on all of them.
///
/// # Errors
/// [`ServeError`], before anything was served or when a thread failed.
pub(crate) fn serve(
    args: &ServeArgs,
    ready: impl FnOnce(&[ListenAddress], &[ListenAddress]),
) -> Result<(), ServeError> {
    // The supervisor comes first, so that a signal at any time ends the server in order.
    let supervisor = Supervisor::start().map_err(ServeError::system("watch signals"))?;
    let access = args.access.access()?;
    let opened = Opened::open(args)?;
    let bound = Bound::bind(opened, args)?;
    let running = Running::start(bound, args, access, supervisor)?;
    ready(&running.addresses, &running.admin_addresses);
    let ended = running.wait();
    let closed = running.stop();
    let close_error = |source| ServeError::Close {
        path: args.snapshot.path().cloned().unwrap_or_default(),
        source,
    };
    ended.and(closed.map_err(close_error))
}
