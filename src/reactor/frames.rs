//! WebSocket frames: handing messages to the application, and answering control frames.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::app::App;
use super::close_reason::CloseReason;
use super::connection::{Flags, Output, Phase};
use super::event_loop::Reactor;
use super::message::{Message, Verdict};
use crate::protocol::websocket::close::{CloseCode, Violation};
use crate::protocol::websocket::frame::{self, Event};

/// Why the frames of a connection end.
enum End {
    /// The client closes, with this code.
    Client(Option<CloseCode>),
    /// The client broke a rule of RFC 6455.
    Violation(Violation),
    /// The client sent too many messages that the application refused as invalid.
    TooManyInvalid,
}

impl<A: App> Reactor<A> {
    /// Processes the frames in `bytes`, in place.
    pub(super) fn process_frames(&mut self, key: u32, bytes: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Phase::Open { decoder, member } = &mut connection.phase else {
            return;
        };
        let mut sink = Sink {
            app: &mut self.app,
            member,
            write_buffer: &mut self.write_buffer,
            output: &mut connection.output,
            invalid_messages: &mut connection.invalid_messages,
            max_invalid_messages: self.limits.max_invalid_messages,
            accepted: 0,
            dropped: 0,
            invalid: 0,
            end: None,
        };
        let max_message_bytes = self.limits.max_message_bytes;
        let fed = decoder.feed(bytes, max_message_bytes, |event| sink.event(event));
        let (accepted, dropped, invalid) = (sink.accepted, sink.dropped, sink.invalid);
        let end = match fed {
            Err(violation) => Some(End::Violation(violation)),
            Ok(_) => sink.end,
        };
        self.metrics.messages.add(accepted);
        self.metrics.dropped_messages.add(dropped);
        self.metrics.invalid_messages.add(invalid);
        connection.flags.clear(Flags::PINGED);
        if accepted + dropped + invalid > 0 {
            connection.flags.set(Flags::ACTIVE);
        }
        match end {
            None => self.send_replies(key),
            Some(end) => self.end_frames(key, end),
        }
    }

    /// Answers the end of the frames with a close frame, after the replies before it.
    fn end_frames(&mut self, key: u32, end: End) {
        let mut last = self.take_write_buffer();
        let reason = match end {
            End::Client(code) => {
                frame::encode_close(code, "", &mut last);
                CloseReason::Client
            }
            End::Violation(violation) => {
                let code = violation.close_code();
                frame::encode_close(Some(code), &violation.to_string(), &mut last);
                code.into()
            }
            End::TooManyInvalid => {
                frame::encode_close(Some(CloseCode::Policy), A::TOO_MANY_INVALID, &mut last);
                CloseReason::Policy
            }
        };
        self.finish(key, reason, &last);
        self.return_write_buffer(last);
    }
}

/// Where the decoder's events of one connection go.
struct Sink<'r, A: App> {
    app: &'r mut A,
    member: &'r mut A::Member,
    write_buffer: &'r mut Vec<u8>,
    output: &'r mut Option<Box<Output>>,
    invalid_messages: &'r mut u8,
    max_invalid_messages: u8,
    accepted: u64,
    dropped: u64,
    invalid: u64,
    end: Option<End>,
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
                self.end = Some(End::Client(code));
                ControlFlow::Break(())
            }
        }
    }

    #[inline(always)]
    fn message(&mut self, message: Message<'_>) -> ControlFlow<()> {
        match self.app.receive(self.member, message, self.write_buffer) {
            Verdict::Accepted => self.accepted += 1,
            Verdict::Dropped => self.dropped += 1,
            Verdict::Invalid => return self.invalid(),
        }
        ControlFlow::Continue(())
    }

    #[cold]
    fn invalid(&mut self) -> ControlFlow<()> {
        self.invalid += 1;
        if *self.invalid_messages < self.max_invalid_messages {
            *self.invalid_messages += 1;
            return ControlFlow::Continue(());
        }
        self.end = Some(End::TooManyInvalid);
        ControlFlow::Break(())
    }

    /// Sends a pong with the other replies. While output waits for the socket, the connection keeps
    /// only the newest pong.
    #[cold]
    fn pong(&mut self, payload: &[u8]) {
        match self.output {
            None => frame::encode(frame::PONG, payload, self.write_buffer),
            Some(output) => {
                let mut pong = Vec::with_capacity(payload.len() + 2);
                frame::encode(frame::PONG, payload, &mut pong);
                output.pong = Bytes::from(pong);
            }
        }
    }
}
