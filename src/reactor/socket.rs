//! Writing to a socket.

use std::io;

use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::Socket;

/// A closed peer is an error, not a signal. Elsewhere every Rust program ignores the signal.
#[cfg(target_os = "linux")]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const SEND_FLAGS: SendFlags = SendFlags::empty();

/// Sends as many of `bytes` as the socket takes; returns their number, 0 if the socket is full.
///
/// # Errors
/// The socket's error, after which the connection is of no use.
#[inline]
pub(super) fn write(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(socket, bytes, SEND_FLAGS) {
            Ok(sent) => return Ok(sent),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
