//! One connection: an entry of 48 bytes, of which an idle one needs no more.
//!
//! What only some connections have, and only sometimes, is boxed and freed when done: the start
//! of a request or frame whose rest has not arrived, and output that the socket didn't take.

use bytes::Bytes;
use socket2::Socket;

use crate::protocol::websocket::frame::Decoder;

/// A connection of an application whose members are `M`.
#[derive(Debug)]
pub(super) struct Connection<M> {
    pub(super) socket: Socket,
    /// Tells this connection from others that had its place in the slab.
    pub(super) generation: u16,
    pub(super) flags: Flags,
    /// How many invalid messages it has sent.
    pub(super) strikes: u8,
    /// When the phase's wait began, or the last ping was sent, in milliseconds of the reactor's
    /// clock.
    pub(super) since_ms: u32,
    /// Output that is waiting for the socket.
    pub(super) output: Option<Box<Output>>,
    pub(super) phase: Phase<M>,
}

/// A connection is one of these.
#[derive(Debug)]
pub(super) enum Phase<M> {
    /// HTTP: a request is awaited, of which this much has arrived.
    Head { input: Box<[u8]> },
    /// A WebSocket, with a member of the application behind it.
    Open { decoder: Decoder, member: M },
    /// A response that has no end: events for a member of the application.
    Stream { member: M },
    /// All that matters was said: what still comes in is dropped until the peer closes too.
    Closing,
}

/// Output that a socket did not take.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// The rest of what was begun.
    pub(super) rest: Bytes,
    /// A pong that is owed: the newest, which answers all pings before it (RFC 6455, 5.5.3).
    pub(super) pong: Bytes,
}

/// What is true of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(u8);

impl Flags {
    /// It is on the ready queue.
    pub(super) const QUEUED: u8 = 1;
    /// A frame could not be sent to it: the application must be told when it drains.
    pub(super) const LAGGING: u8 = 1 << 1;
    /// It is not read from until its output has drained.
    pub(super) const PAUSED: u8 = 1 << 2;
    /// The writing side is shut down once its output has drained.
    pub(super) const FINISHING: u8 = 1 << 3;
    /// A message came from it, or a frame went to it, since the last sweep.
    pub(super) const ACTIVE: u8 = 1 << 4;
    /// A ping was sent, and nothing has come since.
    pub(super) const PINGED: u8 = 1 << 5;

    #[inline]
    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(super) fn set(&mut self, flag: u8) {
        self.0 |= flag;
    }

    #[inline]
    pub(super) fn clear(&mut self, flag: u8) {
        self.0 &= !flag;
    }

    /// Clears the flag and says whether it was set.
    #[inline]
    pub(super) fn take(&mut self, flag: u8) -> bool {
        let had = self.has(flag);
        self.clear(flag);
        had
    }
}

impl<M> Connection<M> {
    pub(super) fn new(socket: Socket, generation: u16, since_ms: u32) -> Self {
        Self {
            socket,
            generation,
            flags: Flags::default(),
            strikes: 0,
            since_ms,
            output: None,
            phase: Phase::Head {
                input: Box::default(),
            },
        }
    }
}
