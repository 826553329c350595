//! A connection's way in: accepting it, and admitting it or turning it away.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::Socket;

use super::admission::TurnAway;
use super::app::App;
use super::close_reason::CloseReason;
use super::connection::Phase;
use super::event_loop::Reactor;
use super::gate::Permit;
use super::listener::{Accepted, refuse};
use super::token::parts;

/// Maximum number of connections accepted from one listener in one turn.
const MAX_ACCEPTS_PER_TURN: usize = 256;
/// Time that the listeners rest when no connection can be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Whether a listener may have more connections to accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    MayHaveMore,
    Empty,
}

impl<A: App> Reactor<A> {
    /// Adopts a connected stream socket as if a listener had accepted it: admission may turn it
    /// away.
    ///
    /// # Errors
    /// The operating system's error if the socket can't be made non-blocking.
    pub fn adopt(&mut self, socket: impl Into<OwnedFd>) -> io::Result<()> {
        let socket = Socket::from(socket.into());
        socket.set_nonblocking(true)?;
        self.admit(socket);
        Ok(())
    }

    /// Accepts from the listeners that may have connections.
    pub(super) fn accept(&mut self) {
        if self.accept_retry.is_some_and(|at| at <= self.now) {
            self.accept_retry = None;
            self.accepting = (0..self.listeners.len()).collect();
        }
        let mut accepting = std::mem::take(&mut self.accepting);
        accepting.retain(|index| self.accept_from(*index) == Queue::MayHaveMore);
        self.accepting = accepting;
    }

    /// Accepts as many connections as one turn allows.
    fn accept_from(&mut self, index: usize) -> Queue {
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            match self.listeners[index].accept() {
                Accepted::Socket(socket) => self.admit(socket),
                Accepted::Nothing => return Queue::Empty,
                Accepted::TurnedAway(error) => self.turned_away(&TurnAway::Accept(error)),
                Accepted::Stuck(error) => {
                    self.turned_away(&TurnAway::Accept(error));
                    self.accept_retry = Some(self.now + ACCEPT_RETRY);
                    return Queue::Empty;
                }
            }
        }
        Queue::MayHaveMore
    }

    fn admit(&mut self, socket: Socket) {
        self.metrics.accepted.add(1);
        let permit = match self.permit(&socket) {
            Ok(permit) => permit,
            Err(reason) => {
                refuse(&socket);
                return self.turned_away(&reason);
            }
        };
        match self.connections.insert(socket, self.clock.ms(self.now)) {
            Ok(token) => {
                self.gate.hold(parts(token).0, permit);
                self.forget_stale_heads();
                self.heads.push(token, self.clock.ms(self.now));
            }
            Err((socket, error)) => {
                refuse(&socket);
                self.turned_away(&TurnAway::Watch(error));
            }
        }
    }

    fn permit(&mut self, socket: &Socket) -> Result<Permit, TurnAway> {
        match self.gate.admit(socket, self.now) {
            Err(TurnAway::ConnectionLimit(_)) if self.gate.makes_room() && self.make_room() => {
                self.gate.admit(socket, self.now)
            }
            result => result,
        }
    }

    /// Closes the connection that has waited longest for a request, or for the client to close.
    /// Returns whether there is one; newcomers of this turn don't count.
    fn make_room(&mut self) -> bool {
        let now_ms = self.clock.ms(self.now);
        let mut longest = None;
        for key in 0..self.connections.end() {
            if let Some(connection) = self.connections.get_mut(key)
                && matches!(connection.phase, Phase::Head { .. } | Phase::Closing)
            {
                let waited_ms = now_ms.wrapping_sub(connection.since_ms);
                longest = longest.max(Some((waited_ms, key)));
            }
        }
        let Some((1.., key)) = longest else {
            return false;
        };
        self.close(key, CloseReason::Overload);
        true
    }

    /// Drops deadlines of connections that have moved on, faster than new ones come.
    fn forget_stale_heads(&mut self) {
        for _ in 0..2 {
            let Some(token) = self.heads.front() else {
                return;
            };
            if let Some((_, connection)) = self.connections.by_token(token)
                && matches!(connection.phase, Phase::Head { .. })
            {
                return;
            }
            self.heads.pop();
        }
    }

    /// Counts and logs a connection that was turned away.
    fn turned_away(&mut self, reason: &TurnAway) {
        self.metrics.closed(CloseReason::Overload).add(1);
        self.gate.log(reason, self.now);
    }
}
