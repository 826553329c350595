//! The application that a reactor serves, as a trait.
//!
//! The reactor knows sockets, HTTP and frames. The application knows what a request means, which
//! connections are members of what, and what is sent to them. The rooms, the admin side and an
//! echo server are three applications.

use std::time::Instant;

use bytes::Bytes;

use super::client::Client;
use super::close_reason::Dismissal;
use super::connections::Connections;
use super::message::{Message, Verdict};
use crate::protocol::http::{Origins, Request, Response};

/// When the reactor calls [`App::turn`] again, even without an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTurn {
    /// At once: the application has more to do than one turn allows.
    Now,
    /// At this time.
    At(Instant),
    /// When something happens.
    OnEvent,
}

impl NextTurn {
    /// This turn, or one at `at` if that is earlier.
    pub(crate) fn or_at(self, at: Instant) -> Self {
        match self {
            Self::Now => Self::Now,
            Self::At(other) => Self::At(other.min(at)),
            Self::OnEvent => Self::At(at),
        }
    }
}

/// How an application refuses a WebSocket handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// With a response.
    Response(Response<'static>),
    /// With a WebSocket that closes at once, for the reason at this index of [`App::DISMISSALS`]: a
    /// browser shows a page the code of a close frame, but not the status of a response.
    Close(u8),
}

impl From<Response<'static>> for Refused {
    fn from(response: Response<'static>) -> Self {
        Self::Response(response)
    }
}

/// An application that a reactor serves.
pub trait App {
    /// What the application keeps of an open connection. The slab holds it, so keep it small.
    type Member;
    /// What other threads tell the application through [`super::Mailbox::post`].
    type Notice: Send;

    /// The application's own reasons for closing connections, at most 8.
    const DISMISSALS: &'static [Dismissal] = &[];
    /// The text of the close frame for a client that sent too many invalid messages.
    const TOO_MANY_INVALID: &'static str = "too many invalid messages";

    /// How much of a turn a request takes, at least 1: the price of an ordinary request. A turn
    /// answers requests for a price of 64, and the next turn continues with the rest.
    fn price(&self, _request: &Request<'_>) -> u32 {
        1
    }

    /// Answers an HTTP request that is not an upgrade: appends the response to `output`. Returns
    /// the verdict on the message in `body`, if the request is of a kind that carries one.
    fn respond(
        &mut self,
        client: Client<'_>,
        request: &Request<'_>,
        body: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<Verdict>;

    /// Answers a request with a message over the client's rate: appends the response to `output`.
    fn respond_over_rate(&mut self, request: &Request<'_>, output: &mut Vec<u8>) {
        let response = Response::text(429, &b"Too many messages; try again later"[..]);
        response.encode(request, &Origins::none(), output);
    }

    /// Answers a request whose response has the same body for every client: appends the head to
    /// `output` and returns the body, which connections share. `None` leaves the request to
    /// [`App::respond`].
    fn respond_shared(&mut self, _request: &Request<'_>, _output: &mut Vec<u8>) -> Option<Bytes> {
        None
    }

    /// Admits the connection at `key` as a member, after a valid handshake. The reactor sends
    /// what the application appends to `first` right after the handshake.
    ///
    /// # Errors
    /// [`Refused`] says how the reactor refuses the client.
    fn join(
        &mut self,
        key: u32,
        request: &Request<'_>,
        first: &mut Vec<u8>,
    ) -> Result<Self::Member, Refused>;

    /// Admits the connection at `key` as a member with an event stream, if `request` may have
    /// one: appends the head of the response and the first events to `first`. `None` leaves the
    /// request to [`App::respond`].
    fn join_stream(
        &mut self,
        _key: u32,
        _request: &Request<'_>,
        _first: &mut Vec<u8>,
    ) -> Option<Self::Member> {
        None
    }

    /// Takes a message from a member. The reactor sends the frames that the application appends
    /// to `reply` to this member alone.
    fn receive(
        &mut self,
        client: &Client<'_>,
        member: &mut Self::Member,
        message: Message<'_>,
        reply: &mut Vec<u8>,
    ) -> Verdict;

    /// Notes that the member's connection has closed.
    fn leave(&mut self, member: Self::Member, connections: &mut Connections<Self::Member>);

    /// Notes that the socket at `key`, which was too full for
    /// [`super::OpenConnection::send`], has room again.
    fn drained(&mut self, key: u32, connections: &mut Connections<Self::Member>);

    /// Whether the kernel's memory for connections is scarce. The reactor then ends connections that
    /// hold some without any progress. It asks at most once a turn.
    fn is_memory_scarce(&self, _now: Instant) -> bool {
        false
    }

    /// Takes a notice from the reactor's mailbox.
    fn notice(&mut self, notice: Self::Notice, now: Instant);

    /// Does what is due. The reactor calls this once in every turn of its loop, after the events
    /// and the notices.
    fn turn(&mut self, now: Instant, connections: &mut Connections<Self::Member>) -> NextTurn;
}
