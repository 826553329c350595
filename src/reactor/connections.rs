//! All connections of a reactor, and everything that writes to their sockets.
//!
//! Nobody has a queue: what a socket doesn't take is the rest of one frame, or a reply to the
//! connection's own input, which is then not read from until that has drained.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::Socket;

use super::app::{CloseReason, Wire};
use super::connection::{Connection, Flags, Output, Phase};
use super::metrics::ReactorMetrics;
use super::slab::ChunkedSlab;
use crate::protocol::http::sse;
use crate::protocol::websocket::frame;

/// The connections of a reactor whose application has members `M`.
#[derive(Debug)]
pub struct Connections<M> {
    slab: ChunkedSlab<Connection<M>>,
    registry: Registry,
    next_generation: u16,
    /// Connections that failed where they could not be closed at once. By token, since one may
    /// be closed in another way, and its place be taken, before this is read.
    failed: Vec<(Token, CloseReason)>,
    /// Connections that the application sends away.
    dismissed: Vec<u32>,
    metrics: Arc<ReactorMetrics>,
}

/// What became of a frame that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, if need be with its rest kept until the socket drains.
    Yes,
    /// The socket is full, and the frame is not kept. [`super::App::drained`] will be called.
    Full,
    /// The connection has failed and will be closed.
    Failed,
}

/// What became of a writable socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    /// The application must be told.
    pub(super) was_lagging: bool,
    /// It was not read from, and must be now.
    pub(super) was_paused: bool,
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

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The open connection at `key`, if it is one.
    #[inline]
    pub fn open_mut(&mut self, key: u32) -> Option<OpenConnection<'_, M>> {
        let connection = self.slab.get_mut(key)?;
        let (member, wire) = match &mut connection.phase {
            Phase::Open { member, .. } => (member, Wire::Frames),
            Phase::Stream { member } => (member, Wire::Events),
            Phase::Head { .. } | Phase::Closing => return None,
        };
        Some(OpenConnection {
            wire,
            token: token(key, connection.generation),
            member,
            socket: &connection.socket,
            output: &mut connection.output,
            flags: &mut connection.flags,
            failed: &mut self.failed,
            metrics: &self.metrics,
        })
    }

    /// Takes a socket in and watches it; gives its token.
    ///
    /// # Errors
    /// The socket, and why it can't be watched: no more epoll watches, or no memory.
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
        // Both interests at once: registered again, each change of mind would be a system call.
        let interests = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), token, interests)
            && let Some(connection) = self.slab.remove(key)
        {
            return Err((connection.socket, error));
        }
        self.metrics.connections.add(1);
        Ok(token)
    }

    /// The connection that a token means, unless it has closed.
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

    /// A bound on the keys in use.
    pub(super) fn end(&self) -> u32 {
        self.slab.end()
    }

    /// Closes a connection at once. Dropping its socket ends its registration with it.
    pub(super) fn remove(&mut self, key: u32, reason: CloseReason) -> Option<M> {
        let connection = self.slab.remove(key)?;
        self.metrics.connections.subtract(1);
        // A connection that is closing was counted when that began.
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

    /// Turns a connection to its last phase: nothing that it sends counts any more.
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

    /// What is spoken to the connection at `key`, if it is open.
    pub(super) fn wire(&mut self, key: u32) -> Option<Wire> {
        self.open_mut(key).map(|connection| connection.wire)
    }

    /// Sends the member at `key` away, with a goodbye, at the end of this turn.
    pub fn dismiss(&mut self, key: u32) {
        self.dismissed.push(key);
    }

    pub(super) fn next_dismissed(&mut self) -> Option<u32> {
        self.dismissed.pop()
    }

    /// Sends replies to what the connection itself sent. What the socket doesn't take is kept,
    /// and the connection is not read from until it has drained.
    pub(super) fn reply(&mut self, key: u32, bytes: &[u8]) {
        self.reply_with(key, bytes, |start| Bytes::copy_from_slice(&bytes[start..]));
    }

    /// The same of a reply that is shared with other connections: what is kept is not a copy.
    pub(super) fn reply_shared(&mut self, key: u32, bytes: &Bytes) {
        self.reply_with(key, bytes, |start| bytes.slice(start..));
    }

    /// Sends `bytes`; keeps `rest_from` where the socket stopped.
    fn reply_with(&mut self, key: u32, bytes: &[u8], rest_from: impl FnOnce(usize) -> Bytes) {
        let Some(connection) = self.slab.get_mut(key) else {
            return;
        };
        let waiting = connection.output.is_some();
        let sent = match waiting || bytes.is_empty() {
            true => Ok(0),
            false => write(&connection.socket, bytes),
        };
        match sent {
            Ok(sent) if sent < bytes.len() => {
                let output = connection.output.get_or_insert_default();
                // A pong that is owed goes first: after a close frame nothing may be sent.
                let pong = std::mem::take(&mut output.pong);
                output.rest = match output.rest.is_empty() && pong.is_empty() {
                    true => rest_from(sent),
                    false => [&output.rest, &pong, &bytes[sent..]].concat().into(),
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

    /// Goes on with what a socket did not take before.
    pub(super) fn drain(&mut self, key: u32) -> Drained {
        let nothing = Drained {
            was_lagging: false,
            was_paused: false,
        };
        let Some(connection) = self.slab.get_mut(key) else {
            return nothing;
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
                Ok(0) => return nothing,
                Ok(sent) => drop(output.rest.split_to(sent)),
                Err(_) => {
                    self.failed
                        .push((token(key, connection.generation), CloseReason::SocketError));
                    return nothing;
                }
            }
        }
        let drained = Drained {
            was_lagging: connection.flags.take(Flags::LAGGING),
            was_paused: connection.flags.take(Flags::PAUSED),
        };
        self.finish_if_drained(key);
        drained
    }

    /// Shuts down the writing side of a connection that has said all it had to say.
    fn finish_if_drained(&mut self, key: u32) {
        if let Some(connection) = self.slab.get_mut(key)
            && connection.output.is_none()
            && connection.flags.take(Flags::FINISHING)
        {
            // Fails only where the peer has gone, which its own event tells.
            let _ = connection.socket.shutdown(Shutdown::Write);
        }
    }

    /// What the sweep does to one place in the slab: pings a silent connection, and gives up on
    /// one that left the last ping unanswered for `patience_ms`. A stream can't answer: TCP does.
    pub(super) fn sweep(&mut self, key: u32, now_ms: u32, patience_ms: u32) {
        let Some(connection) = self.slab.get_mut(key) else {
            return;
        };
        let ping: &'static [u8] = match connection.phase {
            Phase::Open { .. } => &frame::EMPTY_PING,
            Phase::Stream { .. } => sse::KEEP_ALIVE,
            Phase::Head { .. } | Phase::Closing => return,
        };
        if connection.flags.has(Flags::PINGED) {
            // A place can come round early when the slab has shrunk.
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
            // A full socket: TCP's own timeout watches over it.
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

    pub(super) fn next_failed(&mut self) -> Option<(Token, CloseReason)> {
        self.failed.pop()
    }
}

/// An open connection and its member.
#[derive(Debug)]
pub struct OpenConnection<'c, M> {
    /// What the application knows of it.
    pub member: &'c mut M,
    /// What is spoken to it.
    pub wire: Wire,
    token: Token,
    socket: &'c Socket,
    output: &'c mut Option<Box<Output>>,
    flags: &'c mut Flags,
    failed: &'c mut Vec<(Token, CloseReason)>,
    metrics: &'c ReactorMetrics,
}

impl<M> OpenConnection<'_, M> {
    /// Sends a frame, or an event, that is shared with others. A frame that the socket takes in part is kept
    /// until the rest is sent; one that it doesn't take at all is not.
    #[inline]
    pub fn send(&mut self, frame: &Bytes) -> Sent {
        // A full socket is not tried again before it says that it has room.
        if self.output.is_some() || self.flags.has(Flags::LAGGING) {
            return self.full();
        }
        match write(self.socket, frame) {
            Ok(0) => self.full(),
            Ok(sent) => {
                self.flags.set(Flags::ACTIVE);
                self.metrics.frames_sent.add(1);
                if sent < frame.len() {
                    self.output.get_or_insert_default().rest = frame.slice(sent..);
                }
                Sent::Yes
            }
            Err(_) => {
                self.failed.push((self.token, CloseReason::SocketError));
                Sent::Failed
            }
        }
    }

    #[cold]
    fn full(&mut self) -> Sent {
        self.flags.set(Flags::LAGGING);
        self.metrics.frames_conflated.add(1);
        Sent::Full
    }
}

/// The token of the connection at `key`.
pub(super) fn token(key: u32, generation: u16) -> Token {
    Token(key as usize | usize::from(generation) << 32)
}

/// The key and the generation that a token is made of.
pub(super) fn parts(token: Token) -> (u32, u16) {
    (token.0 as u32, (token.0 >> 32) as u16)
}

/// A peer that has gone is an error, not a signal. Elsewhere the signal is ignored already, as it
/// is in every Rust program.
#[cfg(target_os = "linux")]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const SEND_FLAGS: SendFlags = SendFlags::empty();

/// Sends what the socket takes; 0 if it takes nothing.
#[inline]
fn write(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(socket, bytes, SEND_FLAGS) {
            Ok(sent) => return Ok(sent),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
