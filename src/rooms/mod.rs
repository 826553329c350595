//! The application of this server: members of rooms, their reactions, and the counts they see.
//!
//! - This file: joining, leaving, HTTP, and a reaction's way into the room's counter.
//! - `local`: what a reactor keeps of each room that it has members in; `roll`: those members.
//! - `fanout`: when a room's counts are sent, and to whom.
//!
//! A reaction first goes into the reactor's own pending delta: no cache line that another
//! reactor uses is touched. At the end of the turn each delta is added to its counter, once.

mod activity;
mod encoded;
mod fanout;
mod local;
mod members;
mod pressure;
mod room;
mod route;
mod table;
mod watchers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;

use crate::protocol::http::{Origins, Request, Response, encode_stream_head, query_has};
use crate::protocol::messages::parse_reaction;
use crate::reactor::{App, Bell, Connections, Message, News, Next, Verdict, Wire};
use crate::web::Pages;
pub use encoded::Encoded;
use fanout::Fanout;
use local::{LocalRoom, Topic};
use members::Place;
pub use pressure::{DEFAULT_IN_FLIGHT_PERCENT, Pressure};
pub use room::{Counts, DEFAULT_MAX_KINDS, MAX_KINDS, Room, RoomError, RoomLimits};
pub use route::{DEFAULT_MAX_ROOM_NAME_BYTES, MAX_ROOM_NAME_BYTES, Route, Router};
pub use table::{DEFAULT_GRACE, DEFAULT_MAX_RESTING_ROOMS, RoomHandle, RoomTable};
pub use watchers::MAX_REACTORS;

/// The default of the time between two broadcasts of a room.
pub const DEFAULT_TICK: Duration = Duration::from_millis(50);
/// The default of how long it takes at most until members that ask are told that others have come
/// or left.
pub const DEFAULT_PRESENCE_INTERVAL: Duration = Duration::from_secs(1);
/// What a member's query has to say for that.
const PRESENCE: (&str, &str) = ("presence", "1");

/// What all reactors share, and their settings.
#[derive(Debug)]
pub struct Shared {
    /// The rooms.
    pub table: Arc<RoomTable>,
    /// The bells of all reactors, in the order of their numbers.
    pub bells: Vec<Arc<Bell>>,
    /// Which targets name rooms.
    pub router: Router,
    /// Which web pages may use this server.
    pub origins: Origins,
    /// The pages, if they are served.
    pub pages: Option<Pages>,
    /// The longest kind, in bytes.
    pub max_kind_bytes: usize,
    /// The least time between two broadcasts of a room.
    pub tick: Duration,
    /// How long news of members coming and leaving are collected; nobody is told, if `None`.
    pub presence_interval: Option<Duration>,
    /// Whether too much is in flight.
    pub pressure: Pressure,
}

/// A place in a room.
#[derive(Debug)]
pub struct Membership {
    /// The room, by its place among the reactor's.
    room: u32,
    /// The place on its roll.
    place: Place,
    /// The version of the counts that were last sent; it wraps.
    sent: u32,
}

const _: () = assert!(crate::reactor::entry_bytes::<Membership>() == 48);

/// The rooms of one reactor.
#[derive(Debug)]
pub struct Rooms {
    number: usize,
    shared: Arc<Shared>,
    rooms: Slab<LocalRoom>,
    /// By party and name.
    by_name: HashMap<(Box<str>, Box<str>), u32>,
    /// By the room's number in the process.
    by_id: HashMap<u64, u32>,
    /// Rooms with pending deltas.
    touched: Vec<u32>,
    news: Vec<News>,
    fanout: Fanout,
}

impl Rooms {
    /// The rooms of reactor `number`.
    pub fn new(number: usize, shared: Arc<Shared>) -> Self {
        Self {
            number,
            fanout: Fanout::new(shared.tick, shared.presence_interval.unwrap_or_default()),
            shared,
            rooms: Slab::new(),
            by_name: HashMap::new(),
            by_id: HashMap::new(),
            touched: Vec::new(),
            news: Vec::new(),
        }
    }

    /// The room's place among those of this reactor; it enters the room if it isn't there yet.
    fn local(&mut self, party: &str, name: &str) -> u32 {
        let key = (party.into(), name.into());
        if let Some(index) = self.by_name.get(&key) {
            return *index;
        }
        let handle = self.shared.table.enter(party, name, Some(self.number));
        let id = handle.id();
        let index = self.rooms.insert(LocalRoom::new(handle, key.clone())) as u32;
        self.by_name.insert(key, index);
        self.by_id.insert(id, index);
        index
    }

    /// Lets go of a room that this reactor has no more members in.
    fn release_if_unused(&mut self, index: u32) {
        let Some(local) = self.rooms.get(index as usize) else {
            return;
        };
        if local.is_unused() {
            let local = self.rooms.remove(index as usize);
            self.by_name.remove(&local.key);
            self.by_id.remove(&local.handle.id());
        }
    }

    /// Adds the pending deltas to their counters, and tells everyone who has members there.
    fn flush(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.touched) {
            let Some(local) = self.rooms.get_mut(index as usize) else {
                continue;
            };
            local.flush();
            announce(&self.shared, &local.handle, Some(self.number));
            self.fanout.changed(Topic::Counts, index, local, now);
            self.release_if_unused(index);
        }
    }

    /// Takes note of what has happened to rooms.
    fn read_bell(&mut self, now: Instant) {
        let mut all = std::mem::take(&mut self.news);
        self.shared.bells[self.number].take_news(&mut all);
        for news in all.drain(..) {
            let (topic, id) = match news {
                News::Counts(id) => (Topic::Counts, id),
                News::Members(id) => (Topic::Members, id),
                News::Closed(id) => (Topic::Closing, id),
            };
            if let Some(index) = self.by_id.get(&id)
                && let Some(local) = self.rooms.get_mut(*index as usize)
            {
                self.fanout.changed(topic, *index, local, now);
            }
        }
        self.news = all;
    }

    /// Lets the connection at `key` into a room. The messages that it gets first are appended to
    /// `first`.
    fn enter(
        &mut self,
        (party, name): (&str, &str),
        key: u32,
        (target, wire): (&str, Wire),
        first: &mut Vec<u8>,
    ) -> Membership {
        let is_curious = self.shared.presence_interval.is_some() && query_has(target, PRESENCE);
        let index = self.local(party, name);
        let local = &mut self.rooms[index as usize];
        tell(
            &self.shared,
            local.handle.member_came(),
            News::Members(local.handle.id()),
        );
        let place = local.add_member(key, is_curious, self.number);
        let counts = local.handle.counts();
        first.extend_from_slice(fanout::form(&counts.message, wire));
        if is_curious {
            let (members, here) = local.handle.here();
            first.extend_from_slice(fanout::form(&here, wire));
            local.told_one(members);
        }
        Membership {
            room: index,
            place,
            sent: counts.version as u32,
        }
    }

    /// Counts a reaction that came by HTTP, at once, and gives the counts with it.
    fn react(&mut self, party: &str, name: &str, kind: &str) -> Result<Vec<u8>, RoomError> {
        let handle = self.shared.table.enter(party, name, None);
        handle.counter(kind)?.add(1);
        announce(&self.shared, &handle, None);
        Ok(handle.counts().message.json().to_vec())
    }

    fn response(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
    ) -> (Response<'static>, Option<Verdict>) {
        if !self.shared.origins.allow(request) {
            return (
                Response::text(403, &b"This origin is not allowed"[..]),
                None,
            );
        }
        let shared = Arc::clone(&self.shared);
        let route = shared.router.route(request.target);
        let Route::Room { party, room } = &route else {
            return (route.refusal(), None);
        };
        let response = match request.method {
            "GET" | "HEAD" => {
                let handle = shared.table.enter(party, room, None);
                Response::json(200, handle.counts().message.json().to_vec())
            }
            "POST" => {
                let (response, verdict) = self.post(party, room, body);
                return (response, Some(verdict));
            }
            "OPTIONS" => Response::empty(204),
            _ => Response::text(405, &b"GET, POST and OPTIONS are what a room knows"[..]),
        };
        (response, None)
    }

    fn post(&mut self, party: &str, room: &str, body: &[u8]) -> (Response<'static>, Verdict) {
        let kind = match parse_body(body, self.shared.max_kind_bytes) {
            Ok(kind) => kind,
            Err(why) => return (Response::text(400, why.into_bytes()), Verdict::Invalid),
        };
        match self.react(party, room, &kind) {
            Ok(counts) => (Response::json(200, counts), Verdict::Accepted),
            Err(error) => {
                let (status, verdict) = match error {
                    RoomError::Store(_) => (507, Verdict::Dropped),
                    RoomError::TooManyKinds(_) => (422, Verdict::Dropped),
                    RoomError::KindNotAllowed => (422, Verdict::Invalid),
                };
                (
                    Response::text(status, error.to_string().into_bytes()),
                    verdict,
                )
            }
        }
    }
}

/// Publishes a change of the room and rings for the reactors that must know.
fn announce(shared: &Shared, room: &Room, by: Option<usize>) {
    tell(shared, room.publish(by), News::Counts(room.id()));
}

fn tell(shared: &Shared, reactors: impl Iterator<Item = usize>, news: News) {
    reactors.for_each(|reactor| shared.bells[reactor].tell(news));
}

fn parse_body(body: &[u8], max_kind_bytes: usize) -> Result<String, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    match parse_reaction(text, max_kind_bytes) {
        Ok(kind) => Ok(kind.into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl App for Rooms {
    type Member = Membership;

    fn respond(
        &mut self,
        request: &Request<'_>,
        body: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<Verdict> {
        let (response, verdict) = self.response(request, body);
        response.encode(request, &self.shared.origins, output);
        verdict
    }

    fn share(&mut self, request: &Request<'_>, output: &mut Vec<u8>) -> Option<Bytes> {
        self.shared.pages.as_ref()?.answer(request, output)
    }

    fn join(
        &mut self,
        key: u32,
        request: &Request<'_>,
        first: &mut Vec<u8>,
    ) -> Result<Membership, Response<'static>> {
        if !self.shared.origins.allow(request) {
            return Err(Response::text(403, &b"This origin is not allowed"[..]));
        }
        let shared = Arc::clone(&self.shared);
        let route = shared.router.route(request.target);
        let Route::Room { party, room } = &route else {
            return Err(route.refusal());
        };
        let wire = (request.target, Wire::Frames);
        Ok(self.enter((party, room), key, wire, first))
    }

    fn stream(
        &mut self,
        key: u32,
        request: &Request<'_>,
        first: &mut Vec<u8>,
    ) -> Option<Membership> {
        let shared = Arc::clone(&self.shared);
        let Route::Room { party, room } = &shared.router.route(request.target) else {
            return None;
        };
        if !shared.origins.allow(request) {
            return None;
        }
        encode_stream_head(request, &shared.origins, first);
        let wire = (request.target, Wire::Events);
        Some(self.enter((party, room), key, wire, first))
    }

    #[inline]
    fn receive(
        &mut self,
        member: &mut Membership,
        message: Message<'_>,
        _reply: &mut Vec<u8>,
    ) -> Verdict {
        let Message::Text(text) = message else {
            return Verdict::Invalid;
        };
        let Ok(kind) = parse_reaction(text, self.shared.max_kind_bytes) else {
            return Verdict::Invalid;
        };
        let local = &mut self.rooms[member.room as usize];
        let is_first = !local.has_pending;
        match local.react(&kind) {
            Ok(()) => {
                if is_first {
                    self.touched.push(member.room);
                }
                Verdict::Accepted
            }
            Err(RoomError::KindNotAllowed) => Verdict::Invalid,
            Err(error) => {
                local.warn(&error);
                Verdict::Dropped
            }
        }
    }

    fn leave(&mut self, member: Membership, connections: &mut Connections<Membership>) {
        let local = &mut self.rooms[member.room as usize];
        if let Some(moved) = local.remove_member(member.place, self.number)
            && let Some(other) = connections.open_mut(moved)
        {
            other.member.place = member.place;
        }
        tell(
            &self.shared,
            local.handle.member_left(),
            News::Members(local.handle.id()),
        );
        self.release_if_unused(member.room);
    }

    fn drained(&mut self, key: u32, connections: &mut Connections<Membership>) {
        let Some(connection) = connections.open_mut(key) else {
            return;
        };
        let is_curious = connection.member.place.is_curious();
        let local = &mut self.rooms[connection.member.room as usize];
        fanout::send(key, &local.handle.counts(), connections);
        if is_curious {
            let (members, here) = local.handle.here();
            fanout::send_here(key, &here, connections);
            local.told_one(members);
        }
    }

    fn turn(&mut self, now: Instant, connections: &mut Connections<Membership>) -> Next {
        self.flush(now);
        self.read_bell(now);
        self.fanout.begin_turn(now, &self.shared.pressure);
        while let Some((index, topic)) = self.fanout.next_pass() {
            let Some(local) = self.rooms.get_mut(index as usize) else {
                continue;
            };
            let fanout = &mut self.fanout;
            if fanout.run(topic, index, local, self.number, now, connections) {
                self.release_if_unused(index);
            }
        }
        self.fanout.next(now)
    }
}

#[cfg(test)]
mod tests;
