//! Messages of members with a session, and what such members are told.

use std::time::Instant;

use super::app::RoomsApp;
use super::fanout;
use super::members::Membership;
use super::session::{self, Claim};
use crate::protocol::taps::{encode_refused, parse_tap};
use crate::protocol::websocket::frame;
use crate::reactor::{Client, Connections, Verdict};

impl RoomsApp {
    /// Takes a message from a member that may have a session. `None` if it has none.
    pub(super) fn receive_tap(
        &mut self,
        client: &Client<'_>,
        member: &Membership,
        text: &str,
        reply: &mut Vec<u8>,
    ) -> Option<Verdict> {
        let key = client.key();
        let session = self.sessions.session(key)?;
        let Ok(tap) = parse_tap(text, self.shared.max_kind_bytes) else {
            return Some(Verdict::Invalid);
        };
        if let Some(number) = tap.number {
            let claim = session.claim(number);
            self.sessions.owe(key);
            if claim != Claim::Granted {
                return Some(Verdict::Repeated);
            }
        }
        let Err(error) = self.count(client, member, &tap.kind, tap.taps) else {
            return Some(Verdict::Batch(tap.taps));
        };
        if let Some(number) = tap.number {
            let mut json = Vec::new();
            encode_refused(number, error.label(), &mut json);
            frame::encode(frame::TEXT, &json, reply);
        }
        Some(error.verdict())
    }

    /// Acknowledges what has been counted in this turn. It has been added to the counters, and the
    /// counts that include it are sent later: a client that is told both never counts a tap twice.
    pub(super) fn acknowledge(&mut self, connections: &mut Connections<Membership>) {
        for key in self.sessions.take_owed() {
            self.tell_counted(key, connections);
        }
    }

    /// Sends heartbeats to the members that are due one.
    pub(super) fn beat(&mut self, now: Instant, connections: &mut Connections<Membership>) {
        for key in self.sessions.due(now) {
            self.tell_counted(key, connections);
        }
    }

    /// Tells the member at `key` what is counted, if it has a session. A member whose socket is full
    /// is told when the socket drains.
    pub(super) fn tell_counted(&mut self, key: u32, connections: &mut Connections<Membership>) {
        if let Some(counted) = self.sessions.counted(key) {
            fanout::send_unversioned(key, &session::ack(counted), connections);
        }
    }
}
