//! The application of this server: members of rooms, their reactions, and the counts they see.
//!
//! - This file: joining, leaving, HTTP, and a reaction's way into the room's counter.
//! - `local`: what a reactor keeps of each room that it has members in.
//! - `fanout`: when a room's counts are sent, and to whom.
//!
//! A reaction first goes into the reactor's own pending delta: no cache line that another
//! reactor uses is touched. At the end of the turn each delta is added to its counter, once.

mod fanout;
mod local;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::app::{App, Message, Next, Verdict};
use super::bell::Bell;
use super::connections::Connections;
use super::pressure::Pressure;
use crate::http::{Origins, Response, Route, Router};
use crate::protocol::head::Request;
use crate::protocol::message::parse_reaction;
use crate::room::{Room, RoomError, RoomTable};
use fanout::Fanout;
use local::LocalRoom;

/// The default of the time between two broadcasts of a room.
pub const DEFAULT_TICK: Duration = Duration::from_millis(50);

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
    /// The longest kind, in bytes.
    pub max_kind_bytes: usize,
    /// The least time between two broadcasts of a room.
    pub tick: Duration,
    /// Whether too much is in flight.
    pub pressure: Pressure,
}

/// A place in a room.
#[derive(Debug)]
pub struct Membership {
    /// The room, by its place among the reactor's.
    room: u32,
    /// The place in its list of members.
    position: u32,
    /// The version of the counts that were last sent; it wraps.
    sent: u32,
}

const _: () = assert!(size_of::<super::connection::Connection<Membership>>() == 48);
const _: () = assert!(size_of::<Option<super::connection::Connection<Membership>>>() == 48);

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
    changed: Vec<u64>,
    fanout: Fanout,
}

impl Rooms {
    /// The rooms of reactor `number`.
    pub fn new(number: usize, shared: Arc<Shared>) -> Self {
        Self {
            number,
            fanout: Fanout::new(shared.tick),
            shared,
            rooms: Slab::new(),
            by_name: HashMap::new(),
            by_id: HashMap::new(),
            touched: Vec::new(),
            changed: Vec::new(),
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
            self.fanout.room_changed(index, local, now);
            self.release_if_unused(index);
        }
    }

    /// Takes note of the rooms that others have changed.
    fn read_bell(&mut self, now: Instant) {
        let mut changed = std::mem::take(&mut self.changed);
        self.shared.bells[self.number].take_changed_rooms(&mut changed);
        for id in changed.drain(..) {
            if let Some(index) = self.by_id.get(&id)
                && let Some(local) = self.rooms.get_mut(*index as usize)
            {
                self.fanout.room_changed(*index, local, now);
            }
        }
        self.changed = changed;
    }

    /// Counts a reaction that came by HTTP, at once, and gives the counts with it.
    fn react(&mut self, party: &str, name: &str, kind: &str) -> Result<Vec<u8>, RoomError> {
        let handle = self.shared.table.enter(party, name, None);
        handle.counter(kind)?.add(1);
        announce(&self.shared, &handle, None);
        Ok(handle.counts().json().to_vec())
    }

    fn response(&mut self, request: &Request<'_>, body: &[u8]) -> Response<'static> {
        if !self.shared.origins.allow(request.origin) {
            return Response::text(403, &b"This origin is not allowed"[..]);
        }
        let shared = Arc::clone(&self.shared);
        let route = shared.router.route(request.target);
        let Route::Room { party, room } = &route else {
            return route.refusal();
        };
        match request.method {
            "GET" | "HEAD" => {
                let handle = shared.table.enter(party, room, None);
                Response::json(200, handle.counts().json().to_vec())
            }
            "POST" => match parse_body(body, shared.max_kind_bytes) {
                Ok(kind) => match self.react(party, room, &kind) {
                    Ok(counts) => Response::json(200, counts),
                    Err(error @ RoomError::Store(_)) => {
                        Response::text(507, error.to_string().into_bytes())
                    }
                    Err(error) => Response::text(422, error.to_string().into_bytes()),
                },
                Err(why) => Response::text(400, why.into_bytes()),
            },
            "OPTIONS" => Response::empty(204),
            _ => Response::text(405, &b"GET, POST and OPTIONS are what a room knows"[..]),
        }
    }
}

/// Publishes a change of the room and rings for the reactors that must know.
fn announce(shared: &Shared, room: &Room, by: Option<usize>) {
    for reactor in room.publish(by) {
        shared.bells[reactor].room_changed(room.id());
    }
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

    fn respond(&mut self, request: &Request<'_>, body: &[u8], output: &mut Vec<u8>) {
        let response = self.response(request, body);
        response.encode(request, &self.shared.origins, output);
    }

    fn join(
        &mut self,
        key: u32,
        request: &Request<'_>,
        first: &mut Vec<u8>,
    ) -> Result<Membership, Response<'static>> {
        if !self.shared.origins.allow(request.origin) {
            return Err(Response::text(403, &b"This origin is not allowed"[..]));
        }
        let shared = Arc::clone(&self.shared);
        let route = shared.router.route(request.target);
        let Route::Room { party, room } = &route else {
            return Err(route.refusal());
        };
        let index = self.local(party, room);
        let local = &mut self.rooms[index as usize];
        let counts = local.handle.counts();
        first.extend_from_slice(counts.frame());
        Ok(Membership {
            room: index,
            position: local.add_member(key),
            sent: counts.version as u32,
        })
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
        if let Some(moved) = local.remove_member(member.position)
            && let Some(other) = connections.open_mut(moved)
        {
            other.member.position = member.position;
        }
        self.release_if_unused(member.room);
    }

    fn drained(&mut self, key: u32, connections: &mut Connections<Membership>) {
        let Some(connection) = connections.open_mut(key) else {
            return;
        };
        let counts = self.rooms[connection.member.room as usize].handle.counts();
        fanout::send(key, &counts, connections);
    }

    fn turn(&mut self, now: Instant, connections: &mut Connections<Membership>) -> Next {
        self.flush(now);
        self.read_bell(now);
        self.fanout.begin_turn(now, &self.shared.pressure);
        while let Some(index) = self.fanout.next_pass() {
            let Some(local) = self.rooms.get_mut(index as usize) else {
                continue;
            };
            let has_ended = self.fanout.run(index, local, self.number, now, connections);
            if has_ended {
                self.release_if_unused(index);
            }
        }
        self.fanout.next(now)
    }
}
