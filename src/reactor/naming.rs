//! Learning from a trusted proxy which client a connection or a request comes from.

use super::admission::TurnAway;
use super::app::App;
use super::close_reason::CloseReason;
use super::connection::Phase;
use super::event_loop::Reactor;
use crate::protocol::http::{Forwarded, Request, Response, forwarded_client};
use crate::protocol::proxy::{self, Named};

impl<A: App> Reactor<A> {
    /// Takes the PROXY header off the first bytes of a connection, if it must begin with one.
    /// Returns what follows; `None` if the header isn't complete or the connection ends.
    pub(super) fn strip_proxy_header<'b>(&mut self, key: u32, bytes: &'b [u8]) -> Option<&'b [u8]> {
        if !self.gate.awaits_header(key) {
            return Some(bytes);
        }
        let (named, rest) = match proxy::parse(bytes) {
            Ok(Some((named, length))) => (named, &bytes[length..]),
            Ok(None) => {
                if let Some(connection) = self.connections.get_mut(key)
                    && let Phase::Head { input } = &mut connection.phase
                {
                    *input = bytes.into();
                }
                return None;
            }
            Err(error) => {
                let response = Response::text(400, error.to_string().into_bytes());
                self.refuse_request(key, &response, CloseReason::BadRequest);
                return None;
            }
        };
        let named = match named {
            Named::Client(address) => Some(address),
            Named::NoClient => None,
        };
        match self.gate.name(key, named) {
            Ok(()) => Some(rest),
            Err(reason) => {
                self.turn_away_client(key, &reason);
                None
            }
        }
    }

    /// Learns from the fields of a request which client it comes from, if a trusted proxy sent it.
    /// Returns whether the client may have the connection; otherwise the connection ends.
    pub(super) fn admit_client(&mut self, key: u32, request: &Request<'_>) -> bool {
        let Some(proxy) = self.gate.naming_proxy(key) else {
            return true;
        };
        let client = match forwarded_client(request, |address| self.gate.trusts(address)) {
            Forwarded::Client(address) => Some(address),
            Forwarded::NoClient => None,
            Forwarded::Unclear => Some(proxy),
        };
        match self.gate.name(key, client) {
            Ok(()) => true,
            Err(reason) => {
                self.turn_away_client(key, &reason);
                false
            }
        }
    }

    /// Ends a connection whose client is over a limit.
    fn turn_away_client(&mut self, key: u32, reason: &TurnAway) {
        let response = Response::text(503, &b"Too many connections; try again later"[..]);
        self.refuse_request(key, &response, CloseReason::Overload);
        self.gate.log(reason, self.now);
    }
}
