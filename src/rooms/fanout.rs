//! Fan-out: when a room's members are sent something, and how.
//!
//! A quiet room's first change is sent at once. After that a room has at most one broadcast per
//! tick, and changes in between are conflated. A pass over many members is cut into chunks, between
//! which the reactor reads and accepts, and each chunk is sent the newest counts. If a pass takes
//! longer than a tick, the next pass begins when it ends: load stretches the tick and never builds
//! a backlog. While TCP holds too much memory, passes pause.
//!
//! Presence and the room's mode go to the members that want them in the same way, and the closing of
//! a room to all members.
//! Presence waits for its interval first, so that a page reload isn't reported as a leave and a
//! join.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::broadcast::{Broadcast, Pass, Topic};
use super::encoded::Encoded;
use super::local_room::LocalRoom;
use super::members::{Cursor, Interest, Membership};
use super::room::Counts;
use super::tcp_memory::{CHECK_INTERVAL, MAX_PAUSE, TcpMemory};
use crate::reactor::{Connections, NextTurn, Sent, Transport};

/// Maximum number of members served in one turn of the loop.
const MAX_SENDS_PER_TURN: usize = 512;

/// The broadcasts of one reactor.
#[derive(Debug)]
pub(super) struct FanOut {
    /// The number of the reactor.
    reactor: usize,
    tick: Duration,
    presence_interval: Duration,
    /// Rooms that have changed and wait for their tick.
    due: BinaryHeap<Reverse<(Instant, u32, Topic)>>,
    /// Rooms with a pass under way.
    passes: VecDeque<(u32, Topic)>,
    /// When this turn began.
    now: Instant,
    /// Number of members that this turn may still serve.
    budget: usize,
    /// Since when passes pause because TCP holds too much memory.
    paused: Option<Instant>,
}

impl FanOut {
    pub(super) fn new(reactor: usize, tick: Duration, presence_interval: Duration) -> Self {
        Self {
            reactor,
            tick,
            presence_interval,
            due: BinaryHeap::new(),
            passes: VecDeque::new(),
            now: Instant::now(),
            budget: 0,
            paused: None,
        }
    }

    /// Schedules a broadcast of a change in the room at `index`: now, or when its time comes.
    pub(super) fn changed(
        &mut self,
        topic: Topic,
        index: u32,
        local: &mut LocalRoom,
        now: Instant,
    ) {
        let broadcast = &mut local.broadcasts[topic as usize];
        let not_before = match broadcast {
            Broadcast::Idle { not_before } => *not_before,
            Broadcast::Due => return,
            Broadcast::Pass(pass) => {
                pass.again = true;
                return;
            }
        };
        *broadcast = Broadcast::Due;
        let at = match topic {
            Topic::Counts => not_before.filter(|at| *at > now),
            Topic::Presence => Some(now + self.presence_interval),
            Topic::Mode | Topic::Reset | Topic::Closing => None,
        };
        match at {
            Some(at) => self.due.push(Reverse((at, index, topic))),
            None => self.passes.push_back((index, topic)),
        }
    }

    /// Begins a turn: rooms whose tick has come get their pass. Passes continue, or pause if TCP
    /// holds too much memory.
    pub(super) fn begin_turn(&mut self, now: Instant, tcp_memory: &TcpMemory) {
        self.now = now;
        while let Some(Reverse((at, index, topic))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            self.passes.push_back((index, topic));
        }
        let is_over = !self.passes.is_empty() && tcp_memory.is_high(now);
        let (paused, may_send) = match self.paused {
            _ if !is_over => (None, true),
            None => (Some(now), false),
            Some(since) if now.duration_since(since) < MAX_PAUSE => (Some(since), false),
            // One chunk goes out, and the next pauses again.
            Some(_) => {
                tcp_memory.log_paused(now);
                (Some(now), true)
            }
        };
        self.paused = paused;
        self.budget = if may_send { MAX_SENDS_PER_TURN } else { 0 };
    }

    /// The next room whose pass may continue in this turn.
    pub(super) fn next_pass(&mut self) -> Option<(u32, Topic)> {
        if self.budget == 0 {
            return None;
        }
        self.passes.pop_front()
    }

    /// Continues the pass over the room at `index`, or begins it, and serves as many members as the
    /// turn allows. Returns whether the pass has ended.
    pub(super) fn run(
        &mut self,
        topic: Topic,
        index: u32,
        local: &mut LocalRoom,
        connections: &mut Connections<Membership>,
    ) -> bool {
        let mut pass = match local.broadcasts[topic as usize] {
            Broadcast::Pass(pass) => pass,
            Broadcast::Due | Broadcast::Idle { .. } => self.begin(topic, local),
        };
        while self.budget > 0 && !pass.cursor.is_done() {
            let keys = local.members.step(&mut pass.cursor, self.budget);
            self.budget -= keys.len().min(self.budget);
            match topic {
                Topic::Counts => {
                    let counts = local.handle.counts();
                    keys.for_each(|key| send_counts(key, &counts, connections));
                }
                Topic::Presence => {
                    let (members, presence) = local.handle.presence();
                    keys.for_each(|key| send_unversioned(key, &presence, connections));
                    local.note_presence_sent(members);
                }
                Topic::Mode => {
                    let mode = local.handle.mode_message();
                    keys.for_each(|key| send_unversioned(key, &mode, connections));
                }
                Topic::Reset => {
                    let reset = local.handle.reset_message();
                    keys.for_each(|key| send_unversioned(key, &reset, connections));
                }
                Topic::Closing => {
                    // The room may have been opened again meanwhile.
                    if let Some(refusal) = local.handle.refusal() {
                        keys.for_each(|key| connections.dismiss(key, refusal.index()));
                    }
                }
            }
        }
        if !pass.cursor.is_done() {
            local.broadcasts[topic as usize] = Broadcast::Pass(pass);
            self.passes.push_back((index, topic));
            return false;
        }
        local.broadcasts[topic as usize] = Broadcast::Idle {
            not_before: Some(pass.began + self.tick),
        };
        if pass.again {
            self.changed(topic, index, local, self.now);
        }
        true
    }

    /// Begins a pass. A change after this is notified again.
    fn begin(&self, topic: Topic, local: &mut LocalRoom) -> Pass {
        let cursor = match topic {
            Topic::Counts => {
                local.handle.acknowledge_counts(self.reactor);
                local.members.with(Interest::Counts)
            }
            Topic::Presence => {
                local.handle.acknowledge_presence(self.reactor);
                let members = Some(local.handle.members());
                let sent = std::mem::replace(&mut local.presence_sent, members);
                if sent == members {
                    // Every presence subscriber has this number already.
                    Cursor::default()
                } else {
                    local.members.with(Interest::Presence)
                }
            }
            Topic::Mode | Topic::Reset => local.members.with(Interest::Mode),
            Topic::Closing => local.members.with(Interest::Counts),
        };
        Pass {
            began: self.now,
            cursor,
            again: false,
        }
    }

    /// When the reactor must call again.
    pub(super) fn next_turn(&self) -> NextTurn {
        if self.paused.is_some() {
            return NextTurn::At(self.now + CHECK_INTERVAL);
        }
        if !self.passes.is_empty() {
            return NextTurn::Now;
        }
        match self.due.peek() {
            Some(Reverse((at, ..))) => NextTurn::At(*at),
            None => NextTurn::OnEvent,
        }
    }
}

/// Sends counts to a member, unless the member has these or newer counts.
#[inline]
pub(super) fn send_counts(key: u32, counts: &Counts, connections: &mut Connections<Membership>) {
    let version = counts.version as u32;
    let Some(mut connection) = connections.open_mut(key) else {
        return;
    };
    if (version.wrapping_sub(connection.member.sent) as i32) <= 0 {
        return;
    }
    // A member whose socket is full gets the newest counts when the socket drains.
    let message = form(&counts.message, connection.transport);
    if connection.send(message) == Sent::Yes {
        connection.member.sent = version;
    }
}

/// Sends the number of members or the mode to a member that wants it.
pub(super) fn send_unversioned(
    key: u32,
    message: &Encoded,
    connections: &mut Connections<Membership>,
) {
    if let Some(mut connection) = connections.open_mut(key) {
        // A member whose socket is full gets the newest message when the socket drains.
        connection.send(form(message, connection.transport));
    }
}

/// The form of a message for this transport.
#[inline]
pub(super) fn form(message: &Encoded, transport: Transport) -> &Bytes {
    match transport {
        Transport::WebSocket => message.frame(),
        Transport::EventStream => message.event(),
    }
}
