//! A connection's way out: at once, with last bytes, when a deadline passes, or when the server
//! stops.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Token};

use super::app::App;
use super::close_reason::CloseReason;
use super::connection::Phase;
use super::event_loop::{MAX_EVENTS, Reactor};
use super::open_connection::Transport;
use super::token::token;
use crate::protocol::http::{Response, sse};
use crate::protocol::websocket::close::CloseCode;
use crate::protocol::websocket::frame;

/// Time that a stopping reactor waits for sockets without room for the close frame: longer than a
/// client may delay the acknowledgement that makes room (RFC 9293, section 3.8.6.3).
const STOP_GRACE: Duration = Duration::from_millis(600);

impl<A: App> Reactor<A> {
    /// Closes a connection at once.
    pub(super) fn close(&mut self, key: u32, reason: CloseReason) {
        if self.connections.get_mut(key).is_none() {
            return;
        }
        self.gate.release(key);
        self.offenders.forget(key);
        self.bodies.take(key);
        if let Some(member) = self.connections.remove(key, reason) {
            self.app.leave(member, &mut self.connections);
        }
    }

    /// Sends a connection its last bytes and waits for the client to close.
    pub(super) fn finish(&mut self, key: u32, reason: CloseReason, last: &[u8]) {
        let now_ms = self.clock.ms(self.now);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let token = token(key, connection.generation);
        self.closings.push(token, now_ms);
        self.bodies.take(key);
        if let Some(member) = self.connections.begin_closing(key, reason, now_ms) {
            self.app.leave(member, &mut self.connections);
        }
        self.connections.reply(key, last);
    }

    /// Closes connections whose deadline has passed, and pings some of the silent ones.
    pub(super) fn expire(&mut self) {
        let now_ms = self.clock.ms(self.now);
        while let Some(token) = self.closings.pop_due(now_ms) {
            if let Some((key, connection)) = self.connections.by_token(token)
                && matches!(connection.phase, Phase::Closing)
            {
                self.close(key, CloseReason::Client);
            }
        }
        while let Some(token) = self.heads.pop_due(now_ms) {
            self.expire_head(token, now_ms);
        }
        if let Some(sweep) = &mut self.sweep {
            let patience_ms = sweep.interval().as_millis() as u32 / 2;
            for key in sweep.step(self.now, self.connections.end()) {
                self.connections.sweep(key, now_ms, patience_ms);
            }
        }
    }

    fn expire_head(&mut self, token: Token, now_ms: u32) {
        let Some((key, connection)) = self.connections.by_token(token) else {
            return;
        };
        let Phase::Head { input } = &connection.phase else {
            return;
        };
        if now_ms.wrapping_sub(connection.since_ms) < self.heads.timeout_ms() {
            // The connection is kept alive after a response. It needs only one deadline.
            self.heads.push(token, now_ms);
        } else if input.is_empty() && !self.bodies.has(key) {
            self.close(key, CloseReason::HeadTimeout);
        } else {
            let mut last = Vec::new();
            Response::text(408, &b"The request took too long"[..]).encode_final(&mut last);
            self.finish(key, CloseReason::HeadTimeout, &last);
        }
    }

    /// Marks or ends some of the stalled connections, if memory is scarce.
    pub(super) fn end_stalled(&mut self) {
        if !self.stalled.is_due(self.now) {
            return;
        }
        if self.connections.is_empty() || !self.app.is_memory_scarce(self.now) {
            return self.stalled.rest(self.now);
        }
        for key in self.stalled.step(self.now, self.connections.end()) {
            self.connections.end_if_stalled(key);
        }
    }

    /// Closes the connections that the application has dismissed.
    pub(super) fn close_dismissed(&mut self) {
        while let Some((key, index)) = self.connections.next_dismissed() {
            let dismissal = A::DISMISSALS.get(usize::from(index));
            if let Some(dismissal) = dismissal
                && let Some(transport) = self.connections.transport(key)
            {
                let goodbye = goodbye(transport, dismissal.code, dismissal.text);
                self.finish(key, CloseReason::Dismissed(index), &goodbye);
            }
        }
    }

    /// Closes the connections that have failed.
    pub(super) fn close_failed(&mut self) {
        while let Some((token, reason)) = self.connections.next_failed() {
            if let Some((key, _)) = self.connections.by_token(token) {
                self.close(key, reason);
            }
        }
    }

    /// Lets the application count what has arrived, then tells every client that the server stops.
    pub(super) fn stop(&mut self) {
        self.listeners.clear();
        self.now = Instant::now();
        self.run_app();
        for key in 0..self.connections.end() {
            if let Some(transport) = self.connections.transport(key) {
                let goodbye = goodbye(transport, CloseCode::Away, "server stops");
                self.connections.reply(key, &goodbye);
            }
            self.close_if_drained(key);
        }
        self.drain_until(self.now + STOP_GRACE);
        for key in 0..self.connections.end() {
            self.close(key, CloseReason::Shutdown);
        }
    }

    /// Sends what the sockets did not take before, and nothing else.
    fn drain_until(&mut self, deadline: Instant) {
        let mut events = Events::with_capacity(MAX_EVENTS);
        while !self.connections.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(left)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ if left.is_zero() => return,
                _ => {}
            }
            for event in &events {
                if let Some((key, _)) = self.connections.by_token(event.token()) {
                    self.connections.drain(key);
                    self.close_if_drained(key);
                }
            }
            self.close_failed();
        }
    }

    fn close_if_drained(&mut self, key: u32) {
        let connection = self.connections.get_mut(key);
        if connection.is_some_and(|connection| connection.output.is_none()) {
            self.close(key, CloseReason::Shutdown);
        }
    }
}

/// The last bytes for an open connection: a close frame, or an event that says the same.
fn goodbye(transport: Transport, code: CloseCode, text: &str) -> Vec<u8> {
    let mut goodbye = Vec::new();
    match transport {
        Transport::WebSocket => frame::encode_close(Some(code), text, &mut goodbye),
        Transport::EventStream => sse::encode_close(code, &mut goodbye),
    }
    goodbye
}
