//! What is read from a connection: HTTP requests until an upgrade, then frames.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;

use bytes::Bytes;
use mio::Token;

use super::app::{App, CloseReason, Message, Verdict};
use super::connection::{Connection, Flags, Output, Phase};
use super::{READ_BUFFER_BYTES, Reactor};
use crate::protocol::http::Response;
use crate::protocol::http::request::{self, Request};
use crate::protocol::http::upgrade;
use crate::protocol::websocket::close::{CloseCode, Violation};
use crate::protocol::websocket::frame::{self, Decoder, Event};

/// Replies to pipelined requests that are collected before they must be on their way.
const MAX_CORK_BYTES: usize = 16 * 1024;
/// What a read takes while a request is awaited. A client that sends requests without reading the
/// answers can make the server keep this much input, and answers of a cork and one response.
const HEAD_READ_BYTES: usize = 8 * 1024;
/// The largest body, whatever the largest message: a reaction needs far less, and a body that
/// arrives in pieces is looked at anew with each.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Memory that the cork may keep from one use to the next.
const MAX_IDLE_CORK_BYTES: usize = 256 * 1024;

/// How frames end.
enum Ending {
    /// The peer closes, with this code.
    Peer(Option<CloseCode>),
    /// The peer broke a rule.
    Violation(Violation),
    /// The peer sent too many messages that were none.
    Strikes,
}

impl<A: App> Reactor<A> {
    /// Reads until the socket would block, or is empty, or the connection's share of the turn
    /// is used up.
    pub(super) fn read(&mut self, token: Token, is_closed: bool) {
        let mut share = READ_BUFFER_BYTES;
        while let Some((key, connection)) = self.connections.by_token(token) {
            if connection.flags.has(Flags::PAUSED) {
                return;
            }
            if share == 0 {
                self.queue(token);
                return;
            }
            let room = match connection.phase {
                Phase::Head { .. } => HEAD_READ_BYTES,
                _ => READ_BUFFER_BYTES,
            };
            match connection.socket.read(&mut self.read_buffer[..room]) {
                Ok(0) => return self.close(key, CloseReason::Client),
                Ok(length) => {
                    self.turn_bytes += length;
                    self.metrics.received_bytes.add(length as u64);
                    share = share.saturating_sub(length);
                    self.process(key, length);
                    if length < room && !is_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(key, CloseReason::SocketError),
            }
        }
    }

    /// Processes the first `length` bytes of the read buffer.
    fn process(&mut self, key: u32, length: usize) {
        match self.connections.get_mut(key).map(|it| &mut it.phase) {
            Some(Phase::Head { input }) if input.is_empty() => {
                let buffer = std::mem::take(&mut self.read_buffer);
                self.process_requests(key, &buffer[..length]);
                self.read_buffer = buffer;
            }
            Some(Phase::Head { input }) => {
                let mut whole = std::mem::take(input).into_vec();
                whole.extend_from_slice(&self.read_buffer[..length]);
                self.process_requests(key, &whole);
            }
            Some(Phase::Open { .. }) => {
                let mut buffer = std::mem::take(&mut self.read_buffer);
                self.process_frames(key, &mut buffer[..length]);
                self.read_buffer = buffer;
            }
            // Nobody has anything to say on a stream.
            Some(Phase::Stream { .. } | Phase::Closing) | None => {}
        }
    }

    /// Answers the requests in `bytes`; keeps what is left of them.
    fn process_requests(&mut self, key: u32, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (request, head_length) = match request::parse(rest, self.limits.max_head_bytes) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break,
                Err(error) => return self.refuse_request(key, &error.into()),
            };
            let max_body_bytes = self.limits.max_message_bytes.min(MAX_BODY_BYTES) as u64;
            if request.content_length > max_body_bytes {
                let response = Response::text(413, &b"The body is too large"[..]);
                return self.refuse_request(key, &response);
            }
            let length = head_length + request.content_length as usize;
            if rest.len() < length {
                break;
            }
            self.metrics.requests.add(1);
            if request.websocket.upgrade {
                return self.open(key, &request, &rest[length..]);
            }
            if request.accepts_events
                && request.method == "GET"
                && let Some(member) = self.app.stream(key, &request, &mut self.cork)
            {
                return self.open_stream(key, member);
            }
            let body = &rest[head_length..length];
            if let Some(page) = self.app.share(&request, &mut self.cork) {
                self.flush_cork(key);
                self.connections.reply_shared(key, &page);
            } else if let Some(verdict) = self.app.respond(&request, body, &mut self.cork) {
                self.metrics.judged(verdict);
            }
            if !request.keep_alive {
                let last = self.take_cork();
                self.finish(key, CloseReason::Done, &last);
                return self.return_cork(last);
            }
            rest = &rest[length..];
            if self.cork.len() >= MAX_CORK_BYTES {
                self.flush_cork(key);
            }
            if self.cork.is_empty() && self.is_paused(key) {
                break;
            }
        }
        let has_answered = rest.len() < bytes.len();
        self.flush_cork(key);
        let now_ms = self.clock.ms(self.now);
        if let Some(Connection {
            phase: Phase::Head { input },
            since_ms,
            ..
        }) = self.connections.get_mut(key)
        {
            *input = rest.into();
            if has_answered {
                *since_ms = now_ms;
            }
        }
    }

    /// Goes on with requests that were left when their answers had filled the socket.
    pub(super) fn resume_requests(&mut self, key: u32) {
        if let Some(Phase::Head { input }) = self.connections.get_mut(key).map(|it| &mut it.phase)
            && !input.is_empty()
        {
            let input = std::mem::take(input);
            self.process_requests(key, &input);
        }
    }

    fn refuse_request(&mut self, key: u32, response: &Response<'_>) {
        let mut last = self.take_cork();
        response.encode_final(&mut last);
        self.finish(key, CloseReason::BadRequest, &last);
        self.return_cork(last);
    }

    /// Answers an upgrade. What follows the request in `rest` are frames already.
    fn open(&mut self, key: u32, request: &Request<'_>, rest: &[u8]) {
        let start = self.cork.len();
        let joined = match upgrade::accept_key(request) {
            Ok(accept) => {
                upgrade::encode_switching_protocols(&accept, &mut self.cork);
                self.app.join(key, request, &mut self.cork)
            }
            Err(error) => Err(error.into()),
        };
        let member = match joined {
            Ok(member) => member,
            Err(response) => {
                self.cork.truncate(start);
                return self.refuse_request(key, &response);
            }
        };
        if let Some(connection) = self.connections.get_mut(key) {
            let decoder = Decoder::default();
            connection.phase = Phase::Open { decoder, member };
            connection.flags.set(Flags::ACTIVE);
        }
        self.flush_cork(key);
        if !rest.is_empty() {
            self.process_frames(key, &mut rest.to_vec());
        }
    }

    /// Begins an event stream, of which the cork has the start. It has no end, so whatever else the
    /// client sends is no request.
    fn open_stream(&mut self, key: u32, member: A::Member) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.phase = Phase::Stream { member };
            connection.flags.set(Flags::ACTIVE);
            self.metrics.streams.add(1);
        }
        self.flush_cork(key);
    }

    fn process_frames(&mut self, key: u32, bytes: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Phase::Open { decoder, member } = &mut connection.phase else {
            return;
        };
        let mut sink = Sink {
            app: &mut self.app,
            member,
            cork: &mut self.cork,
            output: &mut connection.output,
            strikes: &mut connection.strikes,
            max_strikes: self.limits.max_invalid_messages,
            accepted: 0,
            dropped: 0,
            invalid: 0,
            ending: None,
        };
        let max_message_bytes = self.limits.max_message_bytes;
        let fed = decoder.feed(bytes, max_message_bytes, |event| sink.event(event));
        let (accepted, dropped, invalid) = (sink.accepted, sink.dropped, sink.invalid);
        let ending = match fed {
            Err(violation) => Some(Ending::Violation(violation)),
            Ok(_) => sink.ending,
        };
        self.metrics.messages.add(accepted);
        self.metrics.dropped_messages.add(dropped);
        self.metrics.invalid_messages.add(invalid);
        connection.flags.clear(Flags::PINGED);
        if accepted + dropped + invalid > 0 {
            connection.flags.set(Flags::ACTIVE);
        }
        match ending {
            None => self.flush_cork(key),
            Some(ending) => self.end(key, ending),
        }
    }

    /// Answers the end of the frames with a close frame, after the replies that came before it.
    fn end(&mut self, key: u32, ending: Ending) {
        let mut last = self.take_cork();
        let reason = match ending {
            Ending::Peer(code) => {
                frame::encode_close(code, "", &mut last);
                CloseReason::Client
            }
            Ending::Violation(violation) => {
                let code = violation.close_code();
                frame::encode_close(Some(code), &violation.to_string(), &mut last);
                code.into()
            }
            Ending::Strikes => {
                let why = "too many messages that are no reactions";
                frame::encode_close(Some(CloseCode::Policy), why, &mut last);
                CloseReason::Policy
            }
        };
        self.finish(key, reason, &last);
        self.return_cork(last);
    }

    fn is_paused(&mut self, key: u32) -> bool {
        let connection = self.connections.get_mut(key);
        connection.is_some_and(|connection| connection.flags.has(Flags::PAUSED))
    }

    fn flush_cork(&mut self, key: u32) {
        if !self.cork.is_empty() {
            let cork = self.take_cork();
            self.connections.reply(key, &cork);
            self.return_cork(cork);
        }
    }

    fn take_cork(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.cork)
    }

    fn return_cork(&mut self, mut cork: Vec<u8>) {
        cork.clear();
        cork.shrink_to(MAX_IDLE_CORK_BYTES);
        self.cork = cork;
    }
}

/// Where the events of one connection go.
struct Sink<'r, A: App> {
    app: &'r mut A,
    member: &'r mut A::Member,
    cork: &'r mut Vec<u8>,
    output: &'r mut Option<Box<Output>>,
    strikes: &'r mut u8,
    max_strikes: u8,
    accepted: u64,
    dropped: u64,
    invalid: u64,
    ending: Option<Ending>,
}

impl<A: App> Sink<'_, A> {
    #[inline(always)]
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Text(text) => self.message(Message::Text(text)),
            Event::Binary(bytes) => self.message(Message::Binary(bytes)),
            Event::Ping(payload) => {
                self.pong(payload);
                ControlFlow::Continue(())
            }
            Event::Pong => ControlFlow::Continue(()),
            Event::Close(code) => {
                self.ending = Some(Ending::Peer(code));
                ControlFlow::Break(())
            }
        }
    }

    #[inline(always)]
    fn message(&mut self, message: Message<'_>) -> ControlFlow<()> {
        match self.app.receive(self.member, message, self.cork) {
            Verdict::Accepted => self.accepted += 1,
            Verdict::Dropped => self.dropped += 1,
            Verdict::Invalid => return self.strike(),
        }
        ControlFlow::Continue(())
    }

    #[cold]
    fn strike(&mut self) -> ControlFlow<()> {
        self.invalid += 1;
        if *self.strikes < self.max_strikes {
            *self.strikes += 1;
            return ControlFlow::Continue(());
        }
        self.ending = Some(Ending::Strikes);
        ControlFlow::Break(())
    }

    /// Pongs go out with the other replies, or, while output waits for the socket, into the one
    /// place that is kept for the newest.
    #[cold]
    fn pong(&mut self, payload: &[u8]) {
        match self.output {
            None => frame::encode(frame::PONG, payload, self.cork),
            Some(output) => {
                let mut pong = Vec::with_capacity(payload.len() + 2);
                frame::encode(frame::PONG, payload, &mut pong);
                output.pong = Bytes::from(pong);
            }
        }
    }
}
