//! What the load generator asks of the kernel beyond the crates' safe calls; its only home of `unsafe`.
//!
//! # Why an own table of file descriptors is sound here
//!
//! A file descriptor is a number that means something in one table only, so a thread that leaves the
//! common table must neither use nor close a number that was made in another. [`own_fd_table`] is
//! called as the first act of a worker thread, and
//!
//! * everything a worker owns that holds a descriptor (its `Poll`, its sockets) is created after the
//!   call, on that thread, and is dropped on that thread: none of it is `Arc`ed, sent through a
//!   channel or returned from the thread, what the thread returns is plain numbers;
//! * a worker uses no descriptor made elsewhere: it talks to the conductor through atomics only;
//! * the copy of the common table that it starts with holds the standard streams and whatever the
//!   process had open at that moment. The copies are never used, and the kernel closes them when the
//!   thread ends and its table with it. The price is that a socket which another thread closes in the
//!   meantime stays open that long; the load generator's main thread holds no sockets.
#![allow(unsafe_code)]

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;
use std::io;

/// Gives the calling thread a table of file descriptors of its own, so that `RLIMIT_NOFILE` bounds
/// this thread alone.
#[cfg(target_os = "linux")]
pub(super) fn own_fd_table() -> io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: descriptors of this thread's table must never be seen by another thread, nor the
    // other way round. The only caller is the start of a worker thread, which owns no descriptor
    // yet, is handed none, and hands none out; see the module's head.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }.map_err(io::Error::from)
}

/// Own tables exist on Linux alone.
#[cfg(not(target_os = "linux"))]
pub(super) fn own_fd_table() -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "an own fd table per thread needs Linux",
    ))
}

/// Leaves the choice of the local port to `connect`, which may then use a port again for another
/// destination or source address, instead of reserving one at `bind`.
#[cfg(target_os = "linux")]
pub(super) fn choose_port_at_connect(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, since `socket` is borrowed for the whole call, and the option
    // value is a live `c_int` whose size is the length passed. The kernel only reads it.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Elsewhere `bind` chooses the port, which costs speed and nothing else.
#[cfg(not(target_os = "linux"))]
pub(super) fn choose_port_at_connect(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// Raises the soft limit of open files to the hard one and returns what holds from then on.
pub(super) fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    match raised {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}
