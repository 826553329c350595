//! Listening sockets. Each reactor binds its own with SO_REUSEPORT, so that the kernel spreads
//! connections over the reactors and no two reactors share a queue.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::listen_address::ListenAddress;
use crate::protocol::http::Response;

/// Default number of connections that the kernel queues for a listener.
pub(crate) const DEFAULT_BACKLOG: i32 = 4096;
/// Default size of a connection's send buffer, in bytes. Linux doubles it to about its own minimum,
/// which holds four small frames: one more than a round trip of 150 ms needs at the default tick.
pub(crate) const DEFAULT_SEND_BUFFER_BYTES: usize = 2048;

/// Why a socket can't listen on an address.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another process listens on the address.
    #[error("can't listen on {0}: address in use")]
    InUse(ListenAddress),
    /// The operating system refused for another reason.
    #[error("can't listen on {address}: {source}")]
    Io {
        /// The address.
        address: ListenAddress,
        /// The operating system's error.
        source: io::Error,
    },
}

/// Default size of a connection's receive buffer, in bytes. Linux doubles it.
pub(crate) const DEFAULT_RECEIVE_BUFFER_BYTES: usize = 16 * 1024;

/// Options that accepted sockets inherit from their listener, which saves a call for each.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// SO_SNDBUF, in bytes; the system's choice if `None`. A small buffer makes conflation work:
    /// what lies in the buffer is already stale.
    pub send_buffer_bytes: Option<usize>,
    /// SO_RCVBUF, in bytes; the system's choice if `None`. It bounds what a client can make the
    /// kernel hold while the reactor doesn't read from the connection.
    pub receive_buffer_bytes: Option<usize>,
    /// Time after which the kernel fails a connection whose peer acknowledges no data or keeps its
    /// window shut (TCP_USER_TIMEOUT, RFC 5482).
    pub user_timeout: Option<Duration>,
    /// Number of connections that the kernel queues until a reactor accepts them.
    pub backlog: i32,
    /// Permission bits of a Unix socket's file, which say who may connect; `None` for what the
    /// umask leaves of all.
    pub unix_mode: Option<u32>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            send_buffer_bytes: Some(DEFAULT_SEND_BUFFER_BYTES),
            receive_buffer_bytes: Some(DEFAULT_RECEIVE_BUFFER_BYTES),
            user_timeout: Some(Duration::from_secs(60)),
            backlog: DEFAULT_BACKLOG,
            unix_mode: None,
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// The send buffer for accepted Unix sockets, which don't inherit it.
    send_buffer_bytes: Option<usize>,
    /// The reserve descriptor: given up to accept and refuse a connection when all others are used.
    reserve: Option<File>,
}

/// The outcome of accepting.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A connection was accepted.
    Socket(Socket),
    /// No connection is waiting.
    Nothing,
    /// Descriptors have run out: a waiting connection was accepted and refused.
    TurnedAway(io::Error),
    /// No connection can be accepted for the moment. Waiting connections stay with the kernel.
    Stuck(io::Error),
}

/// Binds `addresses` for `reactors` reactors. Returns the listeners of each reactor, and the bound
/// addresses, in which the kernel has replaced a port of 0.
///
/// Reactors can't share a Unix socket by SO_REUSEPORT: each Unix socket belongs to one reactor.
///
/// # Errors
/// [`BindError`] names the address that can't be bound.
pub fn bind(
    addresses: &[ListenAddress],
    reactors: usize,
    options: &SocketOptions,
) -> Result<(Vec<Vec<Listener>>, Vec<ListenAddress>), BindError> {
    let mut listeners: Vec<Vec<Listener>> = (0..reactors).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => BindError::InUse(address.clone()),
            _ => BindError::Io {
                address: address.clone(),
                source,
            },
        };
        match address {
            ListenAddress::Unix(path) => {
                let listener = Listener::unix(path, options).map_err(failed)?;
                listeners[index % reactors].push(listener);
                bound.push(address.clone());
            }
            ListenAddress::Tcp(text) => {
                for socket_address in text.to_socket_addrs().map_err(failed)? {
                    let socket_address = probe(socket_address).map_err(failed)?;
                    for of_reactor in &mut listeners {
                        let listener = Listener::tcp(socket_address, options).map_err(failed)?;
                        of_reactor.push(listener);
                    }
                    bound.push(ListenAddress::Tcp(socket_address.to_string()));
                }
            }
        }
    }
    Ok((listeners, bound))
}

/// Binds once without SO_REUSEPORT, which would silently share the port with another server.
/// Returns the address with the port that the kernel chose.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = tcp_socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    let chosen = socket.local_addr()?.as_socket();
    Ok(chosen.unwrap_or(address))
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

impl Listener {
    fn tcp(address: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        let socket = tcp_socket(address)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(options.user_timeout)?;
        socket.bind(&address.into())?;
        Self::listen(socket, options)
    }

    fn unix(path: &Path, options: &SocketOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let address = SockAddr::unix(path)?;
        // Linux makes the file with the mode of the socket, so that it never has another.
        #[cfg(target_os = "linux")]
        if let Some(mode) = options.unix_mode {
            rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode))?;
        }
        if let Err(error) = socket.bind(&address) {
            if error.kind() != ErrorKind::AddrInUse || !is_abandoned(path, &address) {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        #[cfg(not(target_os = "linux"))]
        if let Some(mode) = options.unix_mode {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(Self {
            send_buffer_bytes: options.send_buffer_bytes,
            ..Self::listen(socket, options)?
        })
    }

    fn listen(socket: Socket, options: &SocketOptions) -> io::Result<Self> {
        if let Some(bytes) = options.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = options.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.set_nonblocking(true)?;
        socket.listen(options.backlog)?;
        Ok(Self {
            socket,
            send_buffer_bytes: None,
            reserve: None,
        })
    }

    /// Registers the listener with the poll. From here on it belongs to the calling thread's table
    /// of descriptors, from which it takes its reserve descriptor.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.reserve = Some(reserve()?);
        let fd = self.socket.as_raw_fd();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// Accepts one waiting connection.
    pub(super) fn accept(&mut self) -> Accepted {
        if self.reserve.is_none() {
            self.reserve = reserve().ok();
        }
        loop {
            match accept_nonblocking(&self.socket) {
                Ok(socket) => {
                    if let Some(bytes) = self.send_buffer_bytes {
                        // A failure only means more stale frames for a slow reader.
                        let _ = socket.set_send_buffer_size(bytes);
                    }
                    return Accepted::Socket(socket);
                }
                Err(Errno::AGAIN) => return Accepted::Nothing,
                // The client gave up while it waited; the next connection may be fine.
                Err(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTUNREACH
                    | Errno::TIMEDOUT,
                ) => {}
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => return self.turn_away(errno),
                Err(errno) => return Accepted::Stuck(errno.into()),
            }
        }
    }

    /// Gives up the reserve descriptor to accept a connection and refuse it. In the queue it would
    /// hang.
    fn turn_away(&mut self, errno: Errno) -> Accepted {
        if self.reserve.take().is_none() {
            return Accepted::Stuck(errno.into());
        }
        let outcome = match accept_nonblocking(&self.socket) {
            Ok(socket) => {
                refuse(&socket);
                Accepted::TurnedAway(errno.into())
            }
            Err(Errno::AGAIN) => Accepted::Nothing,
            Err(_) => Accepted::Stuck(errno.into()),
        };
        self.reserve = reserve().ok();
        outcome
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Answers a connection with 503, as far as its socket takes the answer.
pub(super) fn refuse(socket: &Socket) {
    let mut output = Vec::new();
    Response::text(503, &b"The server is full; try again later"[..]).encode_final(&mut output);
    // A best effort: the connection closes in any case. With unread input the kernel would reset
    // it, and the client could lose the answer.
    let _ = socket.send(&output);
    let _ = socket.recv(&mut [MaybeUninit::uninit(); 1024]);
    let _ = socket.shutdown(Shutdown::Write);
}

fn accept_nonblocking(listener: &Socket) -> Result<Socket, Errno> {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
        Ok(rustix::net::accept_with(listener, flags)?.into())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let socket = rustix::net::accept(listener)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket.into())
    }
}

fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}

/// Whether the file is a Unix socket that no process listens on any more.
fn is_abandoned(path: &Path, address: &SockAddr) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let refused = Socket::new(Domain::UNIX, Type::STREAM, None)
        .and_then(|socket| socket.connect(address))
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    is_socket && refused
}
