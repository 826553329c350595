//! HTTP requests: answering them, and opening WebSockets and event streams.

use std::ops::ControlFlow;

use super::app::{App, Refused};
use super::client::Client;
use super::close_reason::CloseReason;
use super::connection::{Connection, Flags, Phase};
use super::event_loop::Reactor;
use super::message::Verdict;
use crate::protocol::http::request::{self, Request};
use crate::protocol::http::{Response, upgrade};
use crate::protocol::websocket::frame::{self, Decoder};

/// Size of the replies to pipelined requests after which the reactor sends them, in bytes.
const MAX_WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Maximum number of requests that one connection is answered at a time. A request may load a room
/// from the store, which takes about as long as decoding a thousand reactions.
const MAX_REQUESTS_AT_A_TIME: u32 = 8;
/// Maximum size of a request body, in bytes, however large a message may be. A reaction needs far
/// less, and the reactor reads a body that arrives in pieces anew with each piece.
const MAX_BODY_BYTES: usize = 64 * 1024;

impl<A: App> Reactor<A> {
    /// Answers the requests in `bytes`, as far as the connection's share goes, and keeps the rest.
    pub(super) fn process_requests(&mut self, key: u32, bytes: &[u8]) {
        if let Some(bytes) = self.strip_proxy_header(key, bytes) {
            self.answer_requests(key, bytes);
        }
    }

    fn answer_requests(&mut self, key: u32, bytes: &[u8]) {
        let mut rest = bytes;
        let mut share = MAX_REQUESTS_AT_A_TIME;
        while !rest.is_empty() {
            let (request, head_length) = match request::parse(rest, self.limits.max_head_bytes) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break,
                Err(error) => {
                    return self.refuse_request(key, &error.into(), CloseReason::BadRequest);
                }
            };
            let max_body_bytes = self.limits.max_message_bytes.min(MAX_BODY_BYTES) as u64;
            if request.content_length > max_body_bytes {
                let response = Response::text(413, &b"The body is too large"[..]);
                return self.refuse_request(key, &response, CloseReason::BadRequest);
            }
            let length = head_length + request.content_length as usize;
            if rest.len() < length {
                break;
            }
            self.metrics.requests.add(1);
            if !self.admit_client(key, &request) {
                return;
            }
            if request.websocket.upgrade {
                return self.open(key, &request, &rest[length..]);
            }
            let body = &rest[head_length..length];
            if self.answer(key, &request, body).is_break() {
                return;
            }
            rest = &rest[length..];
            share -= 1;
            self.turn_requests += 1;
            if self.write_buffer.len() >= MAX_WRITE_BUFFER_BYTES {
                self.send_replies(key);
            }
            if self.write_buffer.is_empty() && self.is_paused(key) {
                break;
            }
            if share == 0 && !rest.is_empty() {
                self.queue_key(key);
                break;
            }
        }
        let has_answered = rest.len() < bytes.len();
        self.send_replies(key);
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
