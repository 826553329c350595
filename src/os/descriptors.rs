//! A table of file descriptors for each thread. Contains `unsafe` code.
//!
//! On Linux a thread can leave the table that it shares with the other threads of its process
//! (`unshare(CLONE_FILES)`) and continue with a copy of that table. RLIMIT_NOFILE then bounds each
//! thread instead of all threads together, and accepting and closing contend for no common lock.
//!
//! A descriptor is a number that has a meaning only within one table. Two kinds of threads leave
//! the common table: reactors and workers. Each kind follows rules that keep the meaning of every
//! number clear.
//!
//! # Reactors of a server
//!
//! - Before any thread leaves, the main thread creates everything that is shared: standard streams,
//!   the snapshot file, the reactors' mailboxes, the signal handler's pair of sockets, the file
//!   with the statistics of TCP. Every table has a copy of these under the same number. Only the
//!   main thread drops them, after it has joined the reactors. So no shared number is closed in a
//!   table where it has come to mean something else.
//! - The main thread also creates each reactor's poll and listeners and moves them to the reactor's
//!   thread. That thread leaves the table ([`unshare_table`]) and closes its copies of the other
//!   reactors' polls and listeners. A copy left open would keep a listener alive after its reactor
//!   closed it, and the kernel would keep queueing connections that no reactor accepts.
//! - Once all reactors have left, the main thread closes its own copies of everything it moved away
//!   ([`close_copies`]). Only then do the reactors begin. A reactor that could not leave continues
//!   in the main thread's table, which is not copied again.
//! - A reactor creates all its other descriptors (sockets, reserve descriptors) after it has left,
//!   and drops them on its own thread. When the thread ends, the kernel closes its table and
//!   everything in it.
//!
//! # Workers of a swarm
//!
//! - A worker leaves the table as the first act of its thread. It owns no descriptor before that
//!   call and receives none afterwards: it exchanges only atomics with the conductor.
//! - A worker creates and drops its poll and its sockets on its own thread. The thread returns
//!   plain numbers.
//! - A worker never uses the copies that its table starts with. The kernel closes them when the
//!   thread ends. Until then a socket that another thread closes stays open; the main thread of a
//!   swarm has no sockets.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

use clap::ValueEnum;
use serde::Serialize;

/// Which threads share a table of file descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FdTables {
    /// Each reactor has its own table.
    // The load generator has worker threads instead; its command line says `per-thread`.
    #[value(name = "per-reactor")]
    #[serde(rename = "per-reactor")]
    PerThread,
    /// All threads share one table.
    Shared,
}

/// Gives the calling thread a table of its own, without `foreign`: descriptors that were moved to
/// other threads.
///
/// # Errors
/// The error of unshare(2). The table is then still shared, and nothing has been closed.
#[cfg(target_os = "linux")]
pub(crate) fn unshare_table(foreign: &[RawFd]) -> io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    // SAFETY: every descriptor that this thread goes on using must keep its meaning in the new
    // table, and no descriptor may be used in a table in which it wasn't created. The copy has the
    // same numbers as the original. Those that this thread goes on using were moved to it, so no
    // other thread uses them, or are shared, and then no thread closes or replaces them before
    // this thread has ended. Descriptors created later, in either table, are used only by threads
    // of that table. The module's documentation shows this for reactors and for workers.
    unsafe { unshare_unsafe(UnshareFlags::FILES)? };
    close_copies(foreign);
    Ok(())
}

/// Fails: outside Linux all threads of a process share one table.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unshare_table(_foreign: &[RawFd]) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "separate descriptor tables need Linux",
    ))
}

/// Closes descriptors in the calling thread's table whose owners live on threads that have left
/// this table.
pub(crate) fn close_copies(descriptors: &[RawFd]) {
    for descriptor in descriptors {
        // SAFETY: the owner of this descriptor was moved to a thread that uses another table, so
        // nothing in this table owns or uses the number. It is open here, since this table has had
        // it from before the threads parted, and only this call closes it.
        unsafe { rustix::io::close(*descriptor) };
    }
}
