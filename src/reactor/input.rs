//! Reading a connection's socket: requests until an upgrade, then frames.

use std::io::{ErrorKind, Read};

use mio::Token;

use super::app::App;
use super::close_reason::CloseReason;
use super::connection::{Flags, Phase};
use super::event_loop::{READ_BUFFER_BYTES, Reactor};

/// Size of a read while the reactor awaits a request, in bytes. A client that sends requests
/// without reading the responses can make the server keep this much input, a full write buffer and
/// one response.
const HEAD_READ_BYTES: usize = 8 * 1024;
/// Memory that the write buffer may keep from one use to the next, in bytes.
const MAX_IDLE_WRITE_BUFFER_BYTES: usize = 256 * 1024;

impl<A: App> Reactor<A> {
    /// Reads until the socket would block or is empty, or until the connection's share of the turn
    /// is used up.
    pub(super) fn read(&mut self, token: Token, is_closed: bool) {
        let mut share = READ_BUFFER_BYTES;
        while let Some((key, connection)) = self.connections.by_token(token) {
            // A paused connection waits for its socket, a queued one for the next turn.
            if connection.flags.has(Flags::PAUSED | Flags::QUEUED) {
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
            // A client has nothing to say on an event stream.
            Some(Phase::Stream { .. } | Phase::Closing) | None => {}
        }
    }

    /// Sends the replies in the write buffer.
    pub(super) fn send_replies(&mut self, key: u32) {
        if !self.write_buffer.is_empty() {
            let replies = self.take_write_buffer();
            self.connections.reply(key, &replies);
            self.return_write_buffer(replies);
        }
    }

    pub(super) fn take_write_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.write_buffer)
    }

    pub(super) fn return_write_buffer(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.shrink_to(MAX_IDLE_WRITE_BUFFER_BYTES);
        self.write_buffer = buffer;
    }
}
