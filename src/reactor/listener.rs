//! Listening sockets: bound once for each reactor with SO_REUSEPORT, so that the kernel spreads
//! connections over the reactors and no two share a queue.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use crate::protocol::http::Response;

/// The default of the connections that the kernel may hold for a listener until it accepts.
pub const DEFAULT_BACKLOG: i32 = 4096;
/// The default of a connection's send buffer, in bytes. Linux doubles it, to about its minimum,
/// which holds four small frames: one more on its way than a tick at a round trip of 150 ms needs.
pub const DEFAULT_SEND_BUFFER_BYTES: usize = 2048;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and port, or a name that resolves to one.
    Tcp(String),
    /// The path of a Unix socket, written `unix:PATH`.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("unix: wants a path".to_owned()),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        match text.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(_)) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(
                "expected ADDRESS:PORT, such as 127.0.0.1:1999 or [::1]:1999, or unix:PATH"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => formatter.write_str(address),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Why an address can't be listened on.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "can't listen on {0}: address in use: another ovation? Stop it, or choose another address with --listen"
    )]
    InUse(ListenAddress),
    /// Anything else.
    #[error("can't listen on {address}: {source}; choose another address with --listen")]
    Io {
        /// The address.
        address: ListenAddress,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What accepted sockets inherit from their listener, so that it costs no call for each.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// SO_SNDBUF, in bytes; the system's own choice if `None`. Conflation belongs in front of
    /// the socket: whatever lies in its buffer is stale.
    pub send_buffer_bytes: Option<usize>,
    /// How long data may stay unacknowledged, or the peer's window shut, before the connection
    /// is given up (TCP_USER_TIMEOUT, RFC 5482).
    pub user_timeout: Option<Duration>,
    /// Connections that the kernel may hold until they are accepted.
    pub backlog: i32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            send_buffer_bytes: Some(DEFAULT_SEND_BUFFER_BYTES),
            user_timeout: Some(Duration::from_secs(60)),
            backlog: DEFAULT_BACKLOG,
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// What accepted sockets of the Unix kind don't inherit.
    send_buffer_bytes: Option<usize>,
    /// Kept so that there is a descriptor to accept with when all others are in use.
    spare: Option<File>,
}

/// What came of trying to accept.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A connection.
    Socket(Socket),
    /// Nothing is waiting.
    Nothing,
    /// One was waiting that could not be taken, and was turned away.
    TurnedAway(io::Error),
    /// Nothing can be accepted for the moment; what waits stays with the kernel.
    Stuck(io::Error),
}

/// Binds `addresses` for a number of reactors; gives each its listeners, and the addresses as
/// they came to be (a port of 0 is then the one that was chosen).
///
/// A Unix socket can't be shared by SO_REUSEPORT: each is served by one reactor, taking turns.
///
/// # Errors
/// [`BindError`] names the address that can't be had.
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

/// Binds without SO_REUSEPORT, which would let us share the port with another server without a
/// word. Gives the address with its port chosen.
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
        if let Err(error) = socket.bind(&address) {
            if error.kind() != ErrorKind::AddrInUse || !is_abandoned(path, &address) {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
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
        socket.set_nonblocking(true)?;
        socket.listen(options.backlog)?;
        Ok(Self {
            socket,
            send_buffer_bytes: None,
            spare: None,
        })
    }

    /// Watches for connections. From here on the listener belongs to the calling thread's table
    /// of descriptors, from which it takes its spare one.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.spare = Some(spare()?);
        let fd = self.socket.as_raw_fd();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// Accepts a connection that is waiting.
    pub(super) fn accept(&mut self) -> Accepted {
        if self.spare.is_none() {
            self.spare = spare().ok();
        }
        loop {
            match accept_nonblocking(&self.socket) {
                Ok(socket) => {
                    if let Some(bytes) = self.send_buffer_bytes {
                        // It works without, with more frames in store for a slow reader.
                        let _ = socket.set_send_buffer_size(bytes);
                    }
                    return Accepted::Socket(socket);
                }
                Err(Errno::AGAIN) => return Accepted::Nothing,
                // The client gave up while it waited, or its handshake failed: the next may do.
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

    /// Descriptors have run out: gives up the spare one to accept a connection and tell it so,
    /// since one that stays in the queue would hang.
    fn turn_away(&mut self, errno: Errno) -> Accepted {
        if self.spare.take().is_none() {
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
        self.spare = spare().ok();
        outcome
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Tells a connection that the server is full, as far as its socket takes it.
pub(super) fn refuse(socket: &Socket) {
    let mut output = Vec::new();
    Response::text(503, &b"This server is full; try again later"[..]).encode_final(&mut output);
    // A best effort: the connection is dropped in any case. Closing with input unread would make
    // the kernel reset it, and the answer could be lost.
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

fn spare() -> io::Result<File> {
    File::open("/dev/null")
}

/// Whether the file is a Unix socket on which nobody listens any more.
fn is_abandoned(path: &Path, address: &SockAddr) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let refused = Socket::new(Domain::UNIX, Type::STREAM, None)
        .and_then(|socket| socket.connect(address))
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    is_socket && refused
}
