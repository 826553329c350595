//! A table of file descriptors for each reactor. One of the crate's homes of `unsafe`.
//!
//! On Linux a thread can leave the table that it shares with the other threads of its process
//! (`unshare(CLONE_FILES)`): it goes on with a copy of its own. RLIMIT_NOFILE then bounds each
//! reactor and not all of them together, and accepting and closing contend for no common lock.
//!
//! A descriptor is a number that means something in one table only, so it must be clear at every
//! time who may use which number where:
//!
//! - Before any thread leaves, the main thread makes all that is shared: standard streams, the
//!   snapshot file, the bells. Every table has a copy of these under the same number. They are
//!   dropped by the main thread alone, after it has joined the reactors, so no number is closed
//!   in a table in which it has come to mean something else.
//! - It also makes each reactor's poll and listeners, and moves them to the reactor's thread. That
//!   thread leaves ([`leave`]) and closes its copies of the other reactors' polls and listeners.
//!   A copy left open would keep a listener alive after its reactor closed it: the kernel would go
//!   on queueing connections that nobody accepts.
//! - When all have left, the main thread closes its own copies of what it moved away
//!   ([`close_copies`]), and only then do the reactors begin. One that could not leave goes on in
//!   the main thread's table, of which nobody takes a copy any more.
//! - The signal handler's pair of sockets and the statistics of TCP are among what is shared.
//! - Everything else of a reactor (sockets, the spare descriptors) is made after it has left, and
//!   is dropped on its thread. When the thread ends, the kernel closes its table and all in it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

/// Gives the calling thread its own table, without `foreign`: what was moved to other threads.
///
/// # Errors
/// What the operating system says; the table is then shared as before, with nothing closed.
#[cfg(target_os = "linux")]
pub(crate) fn leave(foreign: &[RawFd]) -> io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: leaving the table must not make a descriptor that this thread uses mean something
    // else. It doesn't: the copy has the same numbers, and what this thread shares with others is
    // not closed or replaced by any of them before this thread has ended (see the module's text).
    unsafe { unshare_unsafe(UnshareFlags::FILES)? };
    close_copies(foreign);
    Ok(())
}

/// Elsewhere there is one table for all.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn leave(_foreign: &[RawFd]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Closes numbers in the table of the calling thread whose owners live on threads that have left
/// it.
pub(crate) fn close_copies(numbers: &[RawFd]) {
    for number in numbers {
        // SAFETY: the owner of this number was moved to a thread that uses another table, so
        // nothing in this table owns or uses it; and it is open here, since this table has had it
        // from before the threads parted, and nobody else closes it.
        unsafe { rustix::io::close(*number) };
    }
}
