//! HTTP requests: answering them, and opening WebSockets and event streams.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::app::{App, Refused};
use super::bodies::PartialBody;
use super::client::Client;
use super::close_reason::CloseReason;
use super::connection::{Connection, Flags, Phase};
use super::event_loop::Reactor;
use super::message::Verdict;
use crate::protocol::http::chunked::ChunkedError;
use crate::protocol::http::request::{self, Request};
use crate::protocol::http::{Response, upgrade};
use crate::protocol::websocket::frame::{self, Decoder};

/// Size of the replies to pipelined requests after which the reactor sends them, in bytes.
const MAX_WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Maximum number of requests that one connection is answered at a time. A request may load a room
/// from the store, which takes about as long as decoding a thousand reactions.
const MAX_REQUESTS_AT_A_TIME: u32 = 8;
/// Maximum size of a request body, in bytes, however large a message may be. A reaction needs far
/// less.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The body of a request, as far as it has arrived.
enum Body<'b> {
    /// The content of the whole body, which takes `length` bytes of the connection.
    Whole {
        content: Cow<'b, [u8]>,
        length: usize,
    },
    Partial(PartialBody),
}

impl<A: App> Reactor<A> {
    /// Answers the requests in `bytes`, as far as the connection's share goes, and keeps the rest.
    pub(super) fn process_requests(&mut self, key: u32, bytes: &[u8]) {
        let Some(bytes) = self.strip_proxy_header(key, bytes) else {
            return;
        };
        match self.bodies.take(key) {
            None => self.answer_requests(key, bytes, 0),
            Some(body) => self.continue_body(key, body, bytes),
        }
    }

    /// Continues with a request whose body had arrived in part.
    fn continue_body(&mut self, key: u32, mut body: PartialBody, bytes: &[u8]) {
        let taken = match body.feed(bytes, self.max_body_bytes()) {
            Ok(taken) => taken,
            Err(error) => {
                return self.refuse_request(key, &error.into(), CloseReason::BadRequest);
            }
        };
        if !body.is_complete() {
            return self.bodies.keep(key, body);
        }
        let (head, content) = body.into_parts();
        let rest = &bytes[taken..];
        match request::parse(&head, self.limits.max_head_bytes) {
            Ok(Some((request, _))) => {
                if self.serve(key, &request, &content, rest).is_continue() {
                    self.answer_requests(key, rest, 1);
                }
            }
            // The head was read when it arrived, so this can't happen.
            Ok(None) | Err(_) => self.close(key, CloseReason::BadRequest),
        }
    }

    /// Answers the requests in `bytes`, after `answered` others in this turn.
    fn answer_requests(&mut self, key: u32, bytes: &[u8], mut answered: u32) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if answered > 0 && self.write_buffer.is_empty() && self.is_paused(key) {
                break;
            }
            if answered >= MAX_REQUESTS_AT_A_TIME {
                self.queue_key(key);
                break;
            }
            let (request, head_length) = match request::parse(rest, self.limits.max_head_bytes) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break,
                Err(error) => {
                    return self.refuse_request(key, &error.into(), CloseReason::BadRequest);
                }
            };
            let (head, following) = rest.split_at(head_length);
            let (content, length) = match self.read_body(&request, head, following) {
                Ok(Body::Whole { content, length }) => (content, length),
                Ok(Body::Partial(body)) => {
                    self.bodies.keep(key, body);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    return self.refuse_request(key, &error.into(), CloseReason::BadRequest);
                }
            };
            rest = &following[length..];
            if self.serve(key, &request, &content, rest).is_break() {
                return;
            }
            answered += 1;
        }
        self.send_replies(key);
        let now_ms = self.clock.ms(self.now);
        if let Some(Connection {
            phase: Phase::Head { input },
            since_ms,
            ..
        }) = self.connections.get_mut(key)
        {
            *input = rest.into();
            if answered > 0 {
                *since_ms = now_ms;
            }
        }
    }

    /// Reads the body of a request from `following`, the bytes after its head.
    fn read_body<'b>(
        &self,
        request: &Request<'_>,
        head: &[u8],
        following: &'b [u8],
    ) -> Result<Body<'b>, ChunkedError> {
        let max_body_bytes = self.max_body_bytes();
        if request.content_length > max_body_bytes as u64 {
            return Err(ChunkedError::TooLarge);
        }
        let length = request.content_length as usize;
        if !request.is_chunked && length <= following.len() {
            let content = Cow::Borrowed(&following[..length]);
            return Ok(Body::Whole { content, length });
        }
        let mut body = PartialBody::new(request, head);
        let length = body.feed(following, max_body_bytes)?;
        if !body.is_complete() {
            return Ok(Body::Partial(body));
        }
        let content = Cow::Owned(body.into_parts().1);
        Ok(Body::Whole { content, length })
    }

    /// Answers one request, which `rest` follows. Breaks if it is the connection's last.
    fn serve(
        &mut self,
        key: u32,
        request: &Request<'_>,
        body: &[u8],
        rest: &[u8],
    ) -> ControlFlow<()> {
        self.metrics.requests.add(1);
        self.turn_requests += self.app.price(request);
        if !self.limits.hosts.allow(request) {
            let response = Response::text(421, &b"This server does not have this name"[..]);
            self.refuse_request(key, &response, CloseReason::Misdirected);
            return ControlFlow::Break(());
        }
        if !self.admit_client(key, request) {
            return ControlFlow::Break(());
        }
        if !self.allows_request(key) {
            let text = &b"Too many requests from this address; try again later"[..];
            self.refuse_request(key, &Response::text(429, text), CloseReason::RateLimit);
            return ControlFlow::Break(());
        }
        if request.websocket.upgrade {
            self.open(key, request, rest);
            return ControlFlow::Break(());
        }
        self.answer(key, request, body)?;
        if self.write_buffer.len() >= MAX_WRITE_BUFFER_BYTES {
            self.send_replies(key);
        }
        ControlFlow::Continue(())
    }

    fn allows_request(&mut self, key: u32) -> bool {
        let connection = self.connections.get_mut(key);
        connection.is_none_or(|it| self.gate.allows_request(key, &it.socket, self.now))
    }

    fn max_body_bytes(&self) -> usize {
        self.limits.max_message_bytes.min(MAX_BODY_BYTES)
    }

    /// Continues with requests that the reactor left when their responses had filled the socket.
    pub(super) fn resume_requests(&mut self, key: u32) {
        if let Some(Phase::Head { input }) = self.connections.get_mut(key).map(|it| &mut it.phase)
            && !input.is_empty()
        {
            let input = std::mem::take(input);
            self.process_requests(key, &input);
        }
    }

    /// Answers one request that is not an upgrade. Breaks if it is the connection's last.
    fn answer(&mut self, key: u32, request: &Request<'_>, body: &[u8]) -> ControlFlow<()> {
        if request.accepts_events
            && request.method == "GET"
            && let Some(member) = self.app.join_stream(key, request, &mut self.write_buffer)
        {
            self.open_stream(key, member);
            return ControlFlow::Break(());
        }
        if let Some(body) = self.app.respond_shared(request, &mut self.write_buffer) {
            self.send_replies(key);
            self.connections.reply_shared(key, &body);
        } else if request.method == "POST" && !self.takes_message(key) {
            self.app.respond_over_rate(request, &mut self.write_buffer);
        } else if let Some(connection) = self.connections.get_mut(key) {
            let client = Client::new(key, &connection.socket, &self.gate);
            let output = &mut self.write_buffer;
            if let Some(verdict) = self.app.respond(client, request, body, output) {
                self.metrics.count_message(verdict);
                self.charge(key, verdict);
            }
        }
        if request.keep_alive {
            return ControlFlow::Continue(());
        }
        let last = self.take_write_buffer();
        self.finish(key, CloseReason::Done, &last);
        self.return_write_buffer(last);
        ControlFlow::Break(())
    }

    /// Takes one message out of the connection's bucket. Returns whether the rate allows it.
    fn takes_message(&mut self, key: u32) -> bool {
        let Some(rate) = self.limits.message_rate else {
            return true;
        };
        let now_ms = self.clock.ms(self.now);
        let Some(connection) = self.connections.get_mut(key) else {
            return true;
        };
        if rate.allowed(connection.bucket, now_ms) > 0 {
            rate.take(&mut connection.bucket, 1, now_ms);
            return true;
        }
        self.metrics.limited_messages.add(1);
        self.limits.is_dry_run
    }

    /// Charges the connection's bucket with what a batch counts more than one message.
    fn charge(&mut self, key: u32, verdict: Verdict) {
        let now_ms = self.clock.ms(self.now);
        if let Verdict::Batch(number) = verdict
            && let Some(rate) = self.limits.message_rate
            && let Some(connection) = self.connections.get_mut(key)
        {
            let more = number.saturating_sub(1).into();
            rate.take(&mut connection.bucket, more, now_ms);
        }
    }

    /// Refuses a request and ends its connection.
    pub(super) fn refuse_request(
        &mut self,
        key: u32,
        response: &Response<'_>,
        reason: CloseReason,
    ) {
        let mut last = self.take_write_buffer();
        response.encode_final(&mut last);
        self.finish(key, reason, &last);
        self.return_write_buffer(last);
    }

    /// Answers an upgrade. `rest` follows the request and holds frames already.
    fn open(&mut self, key: u32, request: &Request<'_>, rest: &[u8]) {
        let accept = match upgrade::accept_key(request) {
            Ok(accept) => accept,
            Err(error) => {
                return self.refuse_request(key, &error.into(), CloseReason::BadRequest);
            }
        };
        let start = self.write_buffer.len();
        upgrade::encode_switching_protocols(request, &accept, &mut self.write_buffer);
        let opened = self.write_buffer.len();
        let member = match self.app.join(key, request, &mut self.write_buffer) {
            Ok(member) => member,
            Err(Refused::Response(response)) => {
                self.write_buffer.truncate(start);
                return self.refuse_request(key, &response, CloseReason::BadRequest);
            }
            Err(Refused::Close(index)) => {
                self.write_buffer.truncate(opened);
                return self.refuse_websocket(key, index);
            }
        };
        if let Some(connection) = self.connections.get_mut(key) {
            let decoder = Decoder::default();
            connection.phase = Phase::Open { decoder, member };
            connection.flags.set(Flags::ACTIVE);
        }
        self.send_replies(key);
        if !rest.is_empty() {
            self.process_frames(key, &mut rest.to_vec());
        }
    }

    /// Closes a WebSocket whose handshake is in the write buffer, for the application's reason at
    /// `index`.
    fn refuse_websocket(&mut self, key: u32, index: u8) {
        let mut last = self.take_write_buffer();
        if let Some(dismissal) = A::DISMISSALS.get(usize::from(index)) {
            frame::encode_close(Some(dismissal.code), dismissal.text, &mut last);
        }
        self.finish(key, CloseReason::Dismissed(index), &last);
        self.return_write_buffer(last);
    }

    /// Opens an event stream, whose start is in the write buffer. The stream has no end, so
    /// whatever else the client sends isn't a request.
    fn open_stream(&mut self, key: u32, member: A::Member) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.phase = Phase::Stream { member };
            connection.flags.set(Flags::ACTIVE);
            self.metrics.streams.add(1);
        }
        self.send_replies(key);
    }

    fn is_paused(&mut self, key: u32) -> bool {
        let connection = self.connections.get_mut(key);
        connection.is_some_and(|connection| connection.flags.has(Flags::PAUSED))
    }
}
