//! The connections of a reactor, and everything that writes to their sockets.
//!
//! No connection has a queue. What a socket doesn't take is either the rest of one frame, or a
//! reply to the connection's own input; the reactor then doesn't read from the connection until
//! the reply has drained.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

use super::close_reason::CloseReason;
use super::connection::{Connection, Flags, Phase};
use super::metrics::ReactorMetrics;
use super::open_connection::{OpenConnection, Transport};
use super::slab::ChunkedSlab;
use super::socket::write;
use super::token::{parts, token};
use crate::protocol::http::sse;
use crate::protocol::websocket::frame;

/// The connections of a reactor whose application has members `M`.
#[derive(Debug)]
pub struct Connections<M> {
    slab: ChunkedSlab<Connection<M>>,
    registry: Registry,
    next_generation: u16,
    /// Connections that failed where they could not be closed at once. Held by token: before the
    /// reactor reads this list, a connection may close otherwise and another may take its key.
    failed: Vec<(Token, CloseReason)>,
    /// Keys of connections that the application dismisses, each with the index of its dismissal.
    dismissed: Vec<(u32, u8)>,
    metrics: Arc<ReactorMetrics>,
}

/// What a writable socket brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    /// The connection lagged: the application must be told.
    pub(super) was_lagging: bool,
    /// The connection was paused: the reactor must read from it again.
    pub(super) was_paused: bool,
}

impl Drained {
    const NOT_YET: Self = Self {
        was_lagging: false,
        was_paused: false,
    };
}

impl<M> Connections<M> {
    pub(super) fn new(registry: Registry, metrics: Arc<ReactorMetrics>) -> Self {
        Self {
            slab: ChunkedSlab::default(),
            registry,
            next_generation: 0,
            failed: Vec::new(),
            dismissed: Vec::new(),
            metrics,
        }
    }

    /// The number of connections.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connection at `key`, if it is open.
    #[inline]
    pub fn open_mut(&mut self, key: u32) -> Option<OpenConnection<'_, M>> {
        let connection = self.slab.get_mut(key)?;
        let (member, transport) = match &mut connection.phase {
            Phase::Open { member, .. } => (member, Transport::WebSocket),
            Phase::Stream { member } => (member, Transport::EventStream),
            Phase::Head { .. } | Phase::Closing => return None,
        };
        Some(OpenConnection {
            transport,
            token: token(key, connection.generation),
            member,
            socket: &connection.socket,
            output: &mut connection.output,
            flags: &mut connection.flags,
            failed: &mut self.failed,
            metrics: &self.metrics,
        })
    }

    /// Adds a socket and registers it with the poll; returns its token.
    ///
    /// # Errors
    /// The socket, and why the poll can't watch it: no more epoll watches, or no memory.
    pub(super) fn insert(
        &mut self,
        socket: Socket,
        now_ms: u32,
    ) -> Result<Token, (Socket, io::Error)> {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let fd = socket.as_raw_fd();
        let key = self
            .slab
            .insert(Connection::new(socket, generation, now_ms));
        let token = token(key, generation);
        // Both interests at once: changing them later would be a system call each time.
        let interests = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), token, interests)
            && let Some(connection) = self.slab.remove(key)
        {
            return Err((connection.socket, error));
        }
        self.metrics.connections.add(1);
        Ok(token)
    }

    /// The connection of a token, unless it has closed.
    #[inline]
    pub(super) fn by_token(&mut self, token: Token) -> Option<(u32, &mut Connection<M>)> {
        let (key, generation) = parts(token);
        let connection = self.slab.get_mut(key)?;
        (connection.generation == generation).then_some((key, connection))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Connection<M>> {
        self.slab.get_mut(key)
    }

    /// An upper bound of the keys in use.
    pub(super) fn end(&self) -> u32 {
        self.slab.end()
    }

    /// Closes a connection at once and returns its member. Dropping the socket also ends its
    /// registration.
    pub(super) fn remove(&mut self, key: u32, reason: CloseReason) -> Option<M> {
        let connection = self.slab.remove(key)?;
        self.metrics.connections.subtract(1);
        // A closing connection was counted when it began to close.
        if !matches!(connection.phase, Phase::Closing) {
            self.metrics.closed(reason).add(1);
        }
        self.member_of(connection.phase)
    }

    /// The member behind a connection that is no longer open.
    fn member_of(&self, phase: Phase<M>) -> Option<M> {
        match phase {
            Phase::Open { member, .. } => Some(member),
            Phase::Stream { member } => {
                self.metrics.streams.subtract(1);
                Some(member)
            }
            Phase::Head { .. } | Phase::Closing => None,
        }
    }

    /// Moves a connection to its last phase, in which the reactor drops what the client sends;
    /// returns its member.
    pub(super) fn begin_closing(
        &mut self,
        key: u32,
        reason: CloseReason,
        now_ms: u32,
    ) -> Option<M> {
        let connection = self.slab.get_mut(key)?;
        connection.since_ms = now_ms;
        connection.flags.set(Flags::FINISHING);
        connection.flags.clear(Flags::LAGGING);
        if !matches!(connection.phase, Phase::Closing) {
            self.metrics.closed(reason).add(1);
        }
        let phase = std::mem::replace(&mut connection.phase, Phase::Closing);
        self.member_of(phase)
    }

    /// What the server speaks on the connection at `key`, if it is open.
    pub(super) fn transport(&mut self, key: u32) -> Option<Transport> {
        self.open_mut(key).map(|connection| connection.transport)
    }

    /// Closes the connection at `key` with a close frame, or a last event, at the end of this
    /// turn. `index` names the reason in [`super::App::DISMISSALS`].
    pub fn dismiss(&mut self, key: u32, index: u8) {
        self.dismissed.push((key, index));
    }

    pub(super) fn next_dismissed(&mut self) -> Option<(u32, u8)> {
        self.dismissed.pop()
    }

    /// Sends replies to what the client itself sent. What the socket doesn't take is kept, and
    /// the reactor doesn't read from the connection until that has drained.
    pub(super) fn reply(&mut self, key: u32, bytes: &[u8]) {
        self.reply_with(key, bytes, |start| Bytes::copy_from_slice(&bytes[start..]));
    }

    /// Sends a reply that connections share. What the socket doesn't take is kept without a copy,
    /// and the reactor doesn't read from the connection until that has drained.
    pub(super) fn reply_shared(&mut self, key: u32, bytes: &Bytes) {
        self.reply_with(key, bytes, |start| bytes.slice(start..));
    }

    /// Sends `bytes`. `rest_from` makes the rest from the offset at which the socket stopped.
    fn reply_with(&mut self, key: u32, bytes: &[u8], rest_from: impl FnOnce(usize) -> Bytes) {
        let Some(connection) = self.slab.get_mut(key) else {
            return;
        };
        let waiting = connection.output.is_some();
        let sent = if waiting || bytes.is_empty() {
            Ok(0)
        } else {
            write(&connection.socket, bytes)
        };
        match sent {
            Ok(sent) if sent < bytes.len() => {
                let output = connection.output.get_or_insert_default();
                // A pending pong goes first: nothing may follow a close frame.
                let pong = std::mem::take(&mut output.pong);
                output.rest = if output.rest.is_empty() && pong.is_empty() {
                    rest_from(sent)
                } else {
                    [&output.rest, &pong, &bytes[sent..]].concat().into()
                };
                connection.flags.set(Flags::PAUSED);
            }
            Ok(_) => {}
            Err(_) => {
                self.failed
                    .push((token(key, connection.generation), CloseReason::SocketError));
                return;
            }
        }
        self.finish_if_drained(key);
    }

    /// Sends what a socket did not take before.
    pub(super) fn drain(&mut self, key: u32) -> Drained {
        let Some(connection) = self.slab.get_mut(key) else {
            return Drained::NOT_YET;
        };
        while let Some(output) = &mut connection.output {
            if output.rest.is_empty() {
                output.rest = std::mem::take(&mut output.pong);
            }
            if output.rest.is_empty() {
                connection.output = None;
                break;
            }
            match write(&connection.socket, &output.rest) {
                Ok(0) => return Drained::NOT_YET,
                Ok(sent) => {
                    connection.flags.clear(Flags::STALLED);
                    drop(output.rest.split_to(sent));
                }
                Err(_) => {
                    self.failed
                        .push((token(key, connection.generation), CloseReason::SocketError));
                    return Drained::NOT_YET;
                }
            }
        }
        connection.flags.clear(Flags::STALLED);
        let drained = Drained {
            was_lagging: connection.flags.take(Flags::LAGGING),
            was_paused: connection.flags.take(Flags::PAUSED),
        };
        self.finish_if_drained(key);
        drained
    }

    /// Shuts down the writing side of a finishing connection whose output has drained.
    fn finish_if_drained(&mut self, key: u32) {
        if let Some(connection) = self.slab.get_mut(key)
            && connection.output.is_none()
            && connection.flags.take(Flags::FINISHING)
        {
            // This fails only if the peer has gone, which an event of its own reports.
            let _ = connection.socket.shutdown(Shutdown::Write);
        }
    }

    /// Visits one key in a sweep: pings a silent connection, and fails a connection that has not
    /// answered its last ping for `patience_ms`, or that has an unfinished message since the last
    /// sweep, which costs memory. An event stream can't answer, so TCP's own timeout
    /// watches over it.
    pub(super) fn sweep(&mut self, key: u32, now_ms: u32, patience_ms: u32) {
        let Some(connection) = self.slab.get_mut(key) else {
            return;
        };
        let ping: &'static [u8] = match connection.phase {
            Phase::Open { .. } => &frame::EMPTY_PING,
            Phase::Stream { .. } => sse::KEEP_ALIVE,
            Phase::Head { .. } | Phase::Closing => return,
        };
        if let Phase::Open { decoder, .. } = &connection.phase
            && !decoder.is_idle()
            && !connection.flags.put(Flags::UNFINISHED)
        {
            let token = token(key, connection.generation);
            self.failed.push((token, CloseReason::MessageTimeout));
            return;
        }
        if connection.flags.has(Flags::PINGED) {
            // A sweep can visit a key early when the slab has shrunk.
            if now_ms.wrapping_sub(connection.since_ms) < patience_ms {
                return;
            }
            self.failed
                .push((token(key, connection.generation), CloseReason::PingTimeout));
            return;
        }
        if connection.flags.take(Flags::ACTIVE) || connection.output.is_some() {
            return;
        }
        match write(&connection.socket, ping) {
            // TCP's own timeout watches over a full socket.
            Ok(0) => {}
            Ok(sent) => {
                if matches!(connection.phase, Phase::Open { .. }) {
                    connection.flags.set(Flags::PINGED);
                    connection.since_ms = now_ms;
                }
                if sent < ping.len() {
                    let rest = Bytes::from_static(&ping[sent..]);
                    connection.output.get_or_insert_default().rest = rest;
                }
            }
            Err(_) => self
                .failed
                .push((token(key, connection.generation), CloseReason::SocketError)),
        }
    }

    /// Visits one key in the search for stalled connections: marks a connection whose socket takes no
    /// output, and fails it if it is marked already.
    pub(super) fn end_if_stalled(&mut self, key: u32) {
        let Some(connection) = self.slab.get_mut(key) else {
            return;
        };
        if connection.output.is_none() && !connection.flags.has(Flags::LAGGING) {
            return;
        }
        if connection.flags.put(Flags::STALLED) {
            return;
        }
        // Without this, the kernel would keep the unsent data and wait for the peer. If it fails,
        // the memory is only freed later.
        let _ = connection.socket.set_linger(Some(Duration::ZERO));
        self.failed
            .push((token(key, connection.generation), CloseReason::TcpMemory));
    }

    pub(super) fn next_failed(&mut self) -> Option<(Token, CloseReason)> {
        self.failed.pop()
    }
}
