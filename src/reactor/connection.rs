//! One connection: an entry of 48 bytes, which is all that an idle connection needs.
//!
//! Boxes hold what a connection needs only at times, and are freed after use: the start of a
//! request or frame whose rest has not arrived, and output that the socket didn't take.

use bytes::Bytes;
use socket2::Socket;

use super::rate::Bucket;
use crate::protocol::websocket::frame::Decoder;

/// A connection of an application with members `M`.
#[derive(Debug)]
pub(super) struct Connection<M> {
    pub(super) socket: Socket,
    /// Tells this connection from earlier connections at the same key.
    pub(super) generation: u16,
    pub(super) flags: Flags,
    /// Number of invalid messages that the client has sent.
    pub(super) invalid_messages: u8,
    /// When the wait of the phase began or the last ping was sent, in milliseconds of the
    /// reactor's clock.
    pub(super) since_ms: u32,
    /// When the client may send its whole burst of messages again.
    pub(super) bucket: Bucket,
    /// Output that waits for the socket.
    pub(super) output: Option<Box<Output>>,
    pub(super) phase: Phase<M>,
}

/// The phase of a connection.
#[derive(Debug)]
pub(super) enum Phase<M> {
    /// HTTP: the reactor awaits a request. Its start is in `input`.
    Head { input: Box<[u8]> },
    /// A WebSocket with a member of the application.
    Open { decoder: Decoder, member: M },
    /// A response without an end: events for a member of the application.
    Stream { member: M },
    /// The server has sent its last bytes, and drops input until the client closes too.
    Closing,
}

/// Output that a socket did not take.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// The rest of a frame or reply whose start the socket took.
    pub(super) rest: Bytes,
    /// The newest pending pong, which answers all earlier pings (RFC 6455, section 5.5.3).
    pub(super) pong: Bytes,
}

/// Flags of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(u8);

impl Flags {
    /// The connection is on the ready queue.
    pub(super) const QUEUED: u8 = 1;
    /// The socket took no frame: the reactor must tell the application when the socket drains.
    pub(super) const LAGGING: u8 = 1 << 1;
    /// The reactor doesn't read from the connection until its output has drained.
    pub(super) const PAUSED: u8 = 1 << 2;
    /// The reactor shuts down the writing side once the output has drained.
    pub(super) const FINISHING: u8 = 1 << 3;
    /// The client sent a message, or the server sent a frame, since the last sweep.
    pub(super) const ACTIVE: u8 = 1 << 4;
    /// The server sent a ping, and the client has sent nothing since.
    pub(super) const PINGED: u8 = 1 << 5;
    /// The decoder has kept the start of a message since the last sweep.
    pub(super) const UNFINISHED: u8 = 1 << 6;
    /// The search for stalled connections has found output that waits, and the socket has taken none
    /// since.
    pub(super) const STALLED: u8 = 1 << 7;

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

    /// Sets the flag; returns whether it was clear.
    pub(super) fn put(&mut self, flag: u8) -> bool {
        let was_clear = !self.has(flag);
        self.set(flag);
        was_clear
    }

    /// Clears the flag; returns whether it was set.
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
            invalid_messages: 0,
            since_ms,
            bucket: Bucket::default(),
            output: None,
            phase: Phase::Head {
                input: Box::default(),
            },
        }
    }
}
