//! WebSocket frames: handing messages to the application, and answering control frames.

use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use super::app::App;
use super::client::Client;
use super::close_reason::CloseReason;
use super::connection::{Flags, Output, Phase};
use super::event_loop::Reactor;
use super::message::{Message, Verdict};
use super::rate::MessageRate;
use crate::protocol::websocket::close::{CloseCode, Violation};
use crate::protocol::websocket::frame::{self, Event};

/// Size of the pongs of one read after which each pong replaces the one before, in bytes.
const MAX_PONG_BYTES: usize = 128;

/// Why the frames of a connection end.
enum End {
    /// The client closes, with this code.
    Client(Option<CloseCode>),
    /// The client broke a rule of RFC 6455.
    Violation(Violation),
    /// The client sent too many messages that the application refused as invalid.
    TooManyInvalid,
    /// The client sent far more messages than the rate allows.
    RateLimit,
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
        let limits = &self.limits;
        let now_ms = self.clock.ms(self.now);
        let allowed = match limits.message_rate {
            Some(rate) => rate.allowed(connection.bucket, now_ms),
            None => u32::MAX,
        };
        let mut sink = Sink {
            app: &mut self.app,
            client: Client::new(key, &connection.socket, &self.gate),
            member,
            write_buffer: &mut self.write_buffer,
            pong: 0..0,
            pong_bytes: 0,
            output: &mut connection.output,
            invalid_messages: &mut connection.invalid_messages,
            max_invalid_messages: limits.max_invalid_messages,
            allowed,
            is_dry_run: limits.is_dry_run,
            tally: Tally::default(),
            end: None,
        };
        let max_message_bytes = limits.max_message_bytes;
        let fed = decoder.feed(bytes, max_message_bytes, |event| sink.event(event));
        let (left, tally, mut end) = (sink.allowed, sink.tally, sink.end);
        if let Err(violation) = fed {
            end = Some(End::Violation(violation));
        }
        let taken = allowed - left;
        let charged = taken.saturating_add(tally.owed);
        connection.flags.clear(Flags::PINGED);
        if decoder.is_idle() {
            connection.flags.clear(Flags::UNFINISHED);
        }
        if u64::from(taken) + tally.limited > 0 {
            connection.flags.set(Flags::ACTIVE);
        }
        if let Some(rate) = limits.message_rate {
            rate.take(&mut connection.bucket, charged, now_ms);
            if self.offends(key, &tally, rate, now_ms) {
                end.get_or_insert(End::RateLimit);
            }
        }
        self.count_messages(charged, &tally);
        match end {
            None => self.send_replies(key),
            Some(end) => self.end_frames(key, end),
        }
    }

    /// Counts the messages of one read. What the rate was charged with and the application did not
    /// refuse was accepted, so that the loop over the messages counts each only once.
    fn count_messages(&self, charged: u32, tally: &Tally) {
        let over_rate = if self.limits.is_dry_run {
            tally.limited
        } else {
            0
        };
        let refused = tally.dropped + tally.invalid + tally.repeated;
        self.metrics.repeated_messages.add(tally.repeated);
        let accepted = u64::from(charged) + over_rate - refused;
        self.metrics.messages.add(accepted);
        self.metrics.dropped_messages.add(tally.dropped);
        self.metrics.invalid_messages.add(tally.invalid);
        self.metrics.limited_messages.add(tally.limited);
    }

    /// Notes the messages that were dropped over the rate. Returns whether they are so many that
    /// the connection must close.
    fn offends(&mut self, key: u32, tally: &Tally, rate: MessageRate, now_ms: u32) -> bool {
        if tally.limited == 0 || self.limits.is_dry_run {
            return false;
        }
        let dropped = u32::try_from(tally.limited).unwrap_or(u32::MAX);
        self.offenders
            .count(key, dropped, rate.per_second(), now_ms)
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
            End::RateLimit => {
                frame::encode_close(Some(CloseCode::Policy), "too many messages", &mut last);
                CloseReason::RateLimit
            }
        };
        self.finish(key, reason, &last);
        self.return_write_buffer(last);
    }
}

/// Where the decoder's events of one connection go.
struct Sink<'r, A: App> {
    app: &'r mut A,
    client: Client<'r>,
    member: &'r mut A::Member,
    write_buffer: &'r mut Vec<u8>,
    /// Where the newest pong of this read is in the write buffer.
    pong: Range<usize>,
    /// Number of bytes of the pongs of this read, replaced ones included.
    pong_bytes: usize,
    output: &'r mut Option<Box<Output>>,
    invalid_messages: &'r mut u8,
    max_invalid_messages: u8,
    /// Number of messages that the rate still allows.
    allowed: u32,
    is_dry_run: bool,
    tally: Tally,
    end: Option<End>,
}

/// The number of messages in one read that were not accepted, or count as several.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    dropped: u64,
    invalid: u64,
    repeated: u64,
    /// By how many messages batches count more than the rate allowed. The bucket owes them.
    owed: u32,
    /// Messages over the rate; in a dry run the application still takes them.
    limited: u64,
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
        if self.allowed == 0 {
            return self.over_rate(message);
        }
        self.allowed -= 1;
        self.judge(message)
    }

    #[inline(always)]
    fn judge(&mut self, message: Message<'_>) -> ControlFlow<()> {
        let (client, reply) = (&self.client, &mut *self.write_buffer);
        match self.app.receive(client, self.member, message, reply) {
            Verdict::Accepted => {}
            Verdict::Batch(number) => self.batch(number),
            Verdict::Repeated => self.tally.repeated += 1,
            Verdict::Dropped => self.tally.dropped += 1,
            Verdict::Invalid => return self.invalid(),
        }
        ControlFlow::Continue(())
    }

    /// Charges a batch, of which one message is charged already.
    #[cold]
    fn batch(&mut self, number: u16) {
        let more = u32::from(number.saturating_sub(1));
        let allowed = more.min(self.allowed);
        self.allowed -= allowed;
        self.tally.owed += more - allowed;
    }

    #[cold]
    fn over_rate(&mut self, message: Message<'_>) -> ControlFlow<()> {
        self.tally.limited += 1;
        if self.is_dry_run {
            return self.judge(message);
        }
        ControlFlow::Continue(())
    }

    #[cold]
    fn invalid(&mut self) -> ControlFlow<()> {
        self.tally.invalid += 1;
        if *self.invalid_messages < self.max_invalid_messages {
            *self.invalid_messages += 1;
            return ControlFlow::Continue(());
        }
        self.end = Some(End::TooManyInvalid);
        ControlFlow::Break(())
    }

    /// Sends a pong with the other replies. A client that sends more pings at once than fit into
    /// [`MAX_PONG_BYTES`] gets a pong for the newest of the rest (RFC 6455, section 5.5.3), so that
    /// pings without reading cost no memory. While output waits for the socket, the connection keeps
    /// only the newest pong.
    #[cold]
    fn pong(&mut self, payload: &[u8]) {
        match self.output {
            None => {
                if self.pong_bytes > MAX_PONG_BYTES {
                    self.write_buffer.drain(self.pong.clone());
                }
                let start = self.write_buffer.len();
                frame::encode(frame::PONG, payload, self.write_buffer);
                self.pong = start..self.write_buffer.len();
                self.pong_bytes += self.pong.len();
            }
            Some(output) => {
                let mut pong = Vec::with_capacity(payload.len() + 2);
                frame::encode(frame::PONG, payload, &mut pong);
                output.pong = Bytes::from(pong);
            }
        }
    }
}
