//! The application: the members of one reactor in their rooms, and their reactions.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::admit::{self, NotAdmitted};
use super::broadcast::Topic;
use super::encoded::Encoded;
use super::error::RoomError;
use super::expiry::Expiries;
use super::fanout::{self, FanOut};
use super::http;
use super::local_rooms::LocalRooms;
use super::members::{Interest, Membership};
use super::refusal::{DISMISSALS, Refusal};
use super::route::RoomName;
use super::session::{self, LocalSessions};
use super::shared::{RoomNotice, Shared};
use crate::access::{Cap, Grant};
use crate::protocol::http::{Request, Response, encode_stream_head, query_has};
use crate::protocol::messages::parse_reaction;
use crate::reactor::{
    App, Client, Connections, Dismissal, Message, NextTurn, Refused, Transport, Verdict,
};

/// The query parameter of presence subscribers.
const PRESENCE: (&str, &str) = ("presence", "1");
/// The query parameter of members that want the room's mode.
const STATE: (&str, &str) = ("state", "1");

/// The rooms of one reactor.
#[derive(Debug)]
pub(crate) struct RoomsApp {
    /// The number of the reactor.
    reactor: usize,
    pub(super) shared: Arc<Shared>,
    rooms: LocalRooms,
    /// Indexes of the rooms with pending deltas.
    touched: Vec<u32>,
    fanout: FanOut,
    pub(super) sessions: LocalSessions,
    expiries: Expiries,
}

/// A client that joins a room.
struct Arrival<'r> {
    key: u32,
    name: RoomName<'r>,
    grant: Grant,
    interest: Interest,
    session: Option<u128>,
    transport: Transport,
}

impl RoomsApp {
    /// Creates the rooms of the reactor with the number `reactor`.
    pub(crate) fn new(reactor: usize, shared: Arc<Shared>) -> Self {
        let presence_interval = shared.presence_interval.unwrap_or_default();
        Self {
            reactor,
            rooms: LocalRooms::new(reactor, Arc::clone(&shared.table)),
            touched: Vec::new(),
            fanout: FanOut::new(reactor, shared.tick, presence_interval),
            expiries: Expiries::new(),
            sessions: LocalSessions::new(Arc::clone(&shared.sessions), shared.heartbeat_interval),
            shared,
        }
    }

    /// Adds taps of `member` to the pending delta of their kind in its room.
    ///
    /// # Errors
    /// [`RoomError`] if they can't be counted.
    #[inline]
    pub(super) fn count(
        &mut self,
        client: &Client<'_>,
        member: &Membership,
        kind: &str,
        taps: u16,
    ) -> Result<(), RoomError> {
        if member.slot.is_mute() {
            return Err(RoomError::NotPermitted);
        }
        let local = self.rooms.of_member(member.room);
        let is_first = !local.has_pending;
        let may_create = || self.shared.may_create_room(*client);
        if let Err(error) = local.react(kind, taps, may_create) {
            local.warn(&error, &self.shared);
            return Err(error);
        }
        if is_first {
            self.touched.push(member.room);
        }
        Ok(())
    }

    /// Adds the pending deltas to their counters, and schedules and announces broadcasts.
    fn flush(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.touched) {
            let Some(local) = self.rooms.get_mut(index) else {
                continue;
            };
            if let Err(error) = local.flush() {
                local.warn(&error, &self.shared);
            }
            self.shared.publish(&local.handle, Some(self.reactor));
            self.fanout.changed(Topic::Counts, index, local, now);
            self.rooms.release_if_unused(index);
        }
    }

    /// The client that asks to join by `request`.
    ///
    /// # Errors
    /// [`NotAdmitted`] if it may not.
    fn arrival<'r>(
        &self,
        key: u32,
        request: &Request<'r>,
        transport: Transport,
    ) -> Result<Arrival<'r>, NotAdmitted> {
        let (name, grant) = admit::admit(&self.shared, request, Cap::Watch)?;
        let session = admit::session(request)?;
        let interest = self.interest(request);
        Ok(Arrival {
            key,
            name,
            grant,
            // A member with a session is told the mode too.
            interest: session.map_or(interest, |_| interest.max(Interest::Mode)),
            session,
            transport,
        })
    }

    /// What a request asks for, as far as the server has it.
    fn interest(&self, request: &Request<'_>) -> Interest {
        if self.shared.presence_interval.is_some() && query_has(request.target, PRESENCE) {
            Interest::Presence
        } else if query_has(request.target, STATE) {
            Interest::Mode
        } else {
            Interest::Counts
        }
    }

    /// Adds a member to its room. Appends the messages that the member gets first to `first`.
    ///
    /// # Errors
    /// [`Refusal`] if nobody may be in the room.
    fn enter(&mut self, arrival: &Arrival<'_>, first: &mut Vec<u8>) -> Result<Membership, Refusal> {
        let index = self.rooms.enter(&arrival.name.party, &arrival.name.room);
        let local = self.rooms.of_member(index);
        if let Some(refusal) = local.handle.refusal() {
            self.rooms.release_if_unused(index);
            return Err(refusal);
        }
        self.shared.member_joined(&local.handle);
        let mut slot = local.add_member(arrival.key, arrival.interest, self.reactor);
        if !arrival.grant.caps.has(Cap::React) {
            slot = slot.muted();
        }
        if let Some(at) = arrival.grant.expires_at {
            self.expiries.set(arrival.key, at);
        }
        let counts = local.handle.counts();
        let mut tell =
            |message: &Encoded| first.extend_from_slice(fanout::form(message, arrival.transport));
        if let Some(session) = arrival.session {
            // Before the counts, which may include taps of the session.
            tell(&session::hello(&self.sessions.join(arrival.key, session)));
        }
        tell(&counts.message);
        if arrival.interest >= Interest::Mode && !local.handle.mode().is_open() {
            tell(&local.handle.mode_message());
        }
        if arrival.interest >= Interest::Presence {
            let (members, presence) = local.handle.presence();
            tell(&presence);
            local.note_presence_sent(members);
        }
        Ok(Membership {
            room: index,
            slot,
            sent: counts.version as u32,
        })
    }
}

impl App for RoomsApp {
    type Member = Membership;
    type Notice = RoomNotice;

    const DISMISSALS: &'static [Dismissal] = &DISMISSALS;
    const TOO_MANY_INVALID: &'static str = "too many messages that are not reactions";

    fn price(&self, _request: &Request<'_>) -> u32 {
        // To verify a token takes longer than most answers.
        if self.shared.permissions.has_tokens() {
            4
        } else {
            1
        }
    }

    fn respond(
        &mut self,
        client: Client<'_>,
        request: &Request<'_>,
        body: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<Verdict> {
        let (response, verdict) = http::answer(&self.shared, client, request, body);
        response.encode(request, &self.shared.origins, output);
        verdict
    }

    fn respond_over_rate(&mut self, request: &Request<'_>, output: &mut Vec<u8>) {
        let response = Response::text(429, &b"Too many reactions; try again later"[..]);
        response.encode(request, &self.shared.origins, output);
    }

    fn respond_shared(&mut self, request: &Request<'_>, output: &mut Vec<u8>) -> Option<Bytes> {
        self.shared.pages.as_ref()?.answer(request, output)
    }

    fn join(
        &mut self,
        key: u32,
        request: &Request<'_>,
        first: &mut Vec<u8>,
    ) -> Result<Membership, Refused> {
        let arrival = self.arrival(key, request, Transport::WebSocket);
        let admitted = arrival.and_then(|arrival| Ok(self.enter(&arrival, first)?));
        admitted.map_err(|not_admitted| match not_admitted.counted(&self.shared) {
            // Only a browser sends an origin.
            NotAdmitted::Refused(refusal) if request.origin.is_some() => {
                Refused::Close(refusal.index())
            }
            not_admitted => Response::from(not_admitted).into(),
        })
    }

    fn join_stream(
        &mut self,
        key: u32,
        request: &Request<'_>,
        first: &mut Vec<u8>,
    ) -> Option<Membership> {
        let arrival = self.arrival(key, request, Transport::EventStream).ok()?;
        let start = first.len();
        encode_stream_head(request, &self.shared.origins, first);
        let member = self.enter(&arrival, first);
        if member.is_err() {
            // `respond` tells the client why.
            first.truncate(start);
        }
        member.ok()
    }

    #[inline]
    fn receive(
        &mut self,
        client: &Client<'_>,
        member: &mut Membership,
        message: Message<'_>,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        let Message::Text(text) = message else {
            return Verdict::Invalid;
        };
        if member.slot.interest() != Interest::Counts
            && let Some(verdict) = self.receive_tap(client, member, text, reply)
        {
            return verdict;
        }
        let Ok(kind) = parse_reaction(text, self.shared.max_kind_bytes) else {
            return Verdict::Invalid;
        };
        match self.count(client, member, &kind, 1) {
            Ok(()) => Verdict::Accepted,
            Err(error) => error.verdict(),
        }
    }

    fn leave(&mut self, member: Membership, connections: &mut Connections<Membership>) {
        let local = self.rooms.of_member(member.room);
        let may_have_more = member.slot.interest() != Interest::Counts || !self.expiries.is_empty();
        if may_have_more && let Some(key) = local.members.key(member.slot) {
            self.sessions.leave(key);
            self.expiries.clear(key);
        }
        if let Some(moved) = local.remove_member(member.slot, self.reactor)
            && let Some(other) = connections.open_mut(moved)
        {
            other.member.slot = other.member.slot.moved_to(member.slot);
        }
        self.shared.member_left(&local.handle);
        self.rooms.release_if_unused(member.room);
    }

    fn drained(&mut self, key: u32, connections: &mut Connections<Membership>) {
        let Some(connection) = connections.open_mut(key) else {
            return;
        };
        let interest = connection.member.slot.interest();
        let (room, sent) = (connection.member.room, connection.member.sent);
        if interest >= Interest::Mode {
            self.tell_counted(key, connections);
        }
        let local = self.rooms.of_member(room);
        if interest >= Interest::Mode && local.handle.was_reset_since(sent) {
            fanout::send_unversioned(key, &local.handle.reset_message(), connections);
        }
        fanout::send_counts(key, &local.handle.counts(), connections);
        if interest >= Interest::Mode {
            fanout::send_unversioned(key, &local.handle.mode_message(), connections);
        }
        if interest >= Interest::Presence {
            let (members, presence) = local.handle.presence();
            fanout::send_unversioned(key, &presence, connections);
            local.note_presence_sent(members);
        }
    }

    fn is_memory_scarce(&self, now: Instant) -> bool {
        self.shared.tcp_memory.is_scarce(now)
    }

    fn notice(&mut self, notice: RoomNotice, now: Instant) {
        let Some((index, local)) = self.rooms.by_id(notice.room_id) else {
            return;
        };
        if let Err(error) = local.renew() {
            local.warn(&error, &self.shared);
        }
        local.handle.renewed(self.reactor);
        self.fanout.changed(notice.topic, index, local, now);
        if notice.topic == Topic::Closing && local.handle.refusal() == Some(Refusal::Removed) {
            self.rooms.forget_name(index);
        }
    }

    fn turn(&mut self, now: Instant, connections: &mut Connections<Membership>) -> NextTurn {
        self.flush(now);
        self.acknowledge(connections);
        self.beat(now, connections);
        for key in self.expiries.due(now) {
            self.expiries.clear(key);
            connections.dismiss(key, Refusal::TokenExpired.index());
        }
        self.fanout.begin_turn(now, &self.shared.tcp_memory);
        while let Some((index, topic)) = self.fanout.next_pass() {
            let Some(local) = self.rooms.get_mut(index) else {
                continue;
            };
            if self.fanout.run(topic, index, local, connections) {
                self.rooms.release_if_unused(index);
            }
        }
        let others = [self.sessions.next(now), self.expiries.next(now)];
        let others = others.into_iter().flatten();
        others.fold(self.fanout.next_turn(), NextTurn::or_at)
    }
}
