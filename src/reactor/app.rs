//! What a reactor serves: the [`App`], and the words in which the two speak.
//!
//! The reactor knows sockets, HTTP and frames; the application knows what a request means, who
//! is a member of what, and what is sent to whom. The rooms are one application; an echo server
//! is another.

use std::time::Instant;

use bytes::Bytes;

use super::connections::Connections;
use crate::protocol::http::Response;
use crate::protocol::http::request::Request;
use crate::protocol::websocket::close::CloseCode;

/// A whole message from a client.
#[derive(Debug, Clone, Copy)]
pub enum Message<'m> {
    /// Text.
    Text(&'m str),
    /// Binary.
    Binary(&'m [u8]),
}

/// What an application makes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Accepted,
    /// It was dropped, and the client is not to blame.
    Dropped,
    /// It was dropped; so many of these are too many.
    Invalid,
}

/// When the reactor should call [`App::turn`] again without an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At once: there is more to do than one turn allows.
    Now,
    /// At this time.
    At(Instant),
    /// When something happens.
    Never,
}

/// What is spoken to an open connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// WebSocket frames.
    Frames,
    /// Server-sent events.
    Events,
}

/// What a reactor serves.
pub trait App {
    /// What an open connection is to the application. It lies in the slab, so keep it small.
    type Member;

    /// Answers an HTTP request that is not an upgrade by appending a response to `output`. Gives
    /// what became of the message in its body, if it was to have one.
    fn respond(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<Verdict>;

    /// Answers a request for something that is the same for everyone: appends the head to `output`
    /// and gives the body, which is shared with other connections. `None` leaves it to `respond`.
    fn share(&mut self, _request: &Request<'_>, _output: &mut Vec<u8>) -> Option<Bytes> {
        None
    }

    /// Lets the connection at `key` in, whose handshake is in order. What is appended to `first`
    /// is sent right after the handshake.
    ///
    /// # Errors
    /// The response that turns it away.
    fn join(
        &mut self,
        key: u32,
        request: &Request<'_>,
        first: &mut Vec<u8>,
    ) -> Result<Self::Member, Response<'static>>;

    /// Lets the connection at `key` in as an event stream, if that is what `request` asks for and
    /// may have: appends the response's head, and the events that come first, to `first`. Otherwise
    /// it is a request like any other.
    fn stream(
        &mut self,
        _key: u32,
        _request: &Request<'_>,
        _first: &mut Vec<u8>,
    ) -> Option<Self::Member> {
        None
    }

    /// Takes a message. Frames that are appended to `reply` are sent to its sender alone.
    fn receive(
        &mut self,
        member: &mut Self::Member,
        message: Message<'_>,
        reply: &mut Vec<u8>,
    ) -> Verdict;

    /// The member's connection has closed.
    fn leave(&mut self, member: Self::Member, connections: &mut Connections<Self::Member>);

    /// The socket at `key`, to which [`super::OpenConnection::send`] could not send, has room again.
    fn drained(&mut self, key: u32, connections: &mut Connections<Self::Member>);

    /// Called once in every turn of the loop, after the events.
    fn turn(&mut self, now: Instant, connections: &mut Connections<Self::Member>) -> Next;
}

/// Why a connection ended. Each is a label of the metric that counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed, with a close frame or without.
    Client,
    /// An HTTP exchange was over.
    Done,
    /// A request that could not be read or served.
    BadRequest,
    /// A frame that breaks the RFC.
    ProtocolError,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A message over the limit.
    MessageTooBig,
    /// Too many messages that the application would not take.
    Policy,
    /// The request did not arrive in time.
    HeadTimeout,
    /// A ping was not answered.
    PingTimeout,
    /// The socket failed.
    SocketError,
    /// The limit on connections, or what the system can hold.
    Overload,
    /// The server stops.
    Shutdown,
    /// The operator closed the room.
    Operator,
}

impl CloseReason {
    /// How many there are.
    pub const COUNT: usize = 13;
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Client,
        Self::Done,
        Self::BadRequest,
        Self::ProtocolError,
        Self::InvalidUtf8,
        Self::MessageTooBig,
        Self::Policy,
        Self::HeadTimeout,
        Self::PingTimeout,
        Self::SocketError,
        Self::Overload,
        Self::Shutdown,
        Self::Operator,
    ];

    /// The metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Done => "done",
            Self::BadRequest => "bad_request",
            Self::ProtocolError => "protocol_error",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::MessageTooBig => "message_too_big",
            Self::Policy => "policy",
            Self::HeadTimeout => "head_timeout",
            Self::PingTimeout => "ping_timeout",
            Self::SocketError => "socket_error",
            Self::Overload => "overload",
            Self::Shutdown => "shutdown",
            Self::Operator => "operator",
        }
    }
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Invalid => Self::InvalidUtf8,
            CloseCode::Size => Self::MessageTooBig,
            CloseCode::Policy => Self::Policy,
            CloseCode::Away => Self::Shutdown,
            _ => Self::ProtocolError,
        }
    }
}
