//! When a room's counts are sent to its members, and how.
//!
//! A quiet room's first change is sent at once. After that a room has at most one broadcast per
//! tick; what changes in between is conflated. A pass over many members is cut into chunks,
//! between which the reactor reads and accepts, and each chunk is sent the newest counts. If a
//! pass takes longer than a tick, the next begins when it ends: load stretches the tick, it never
//! builds a backlog. While the kernel holds too much that nobody has read, passes pause.
//!
//! How many members there are goes the same way, to those who want to know, and a closed room's
//! goodbye to all. The number waits for its interval: who reloads a page neither leaves nor comes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Membership;
use super::encoded::Encoded;
use super::local::{Broadcast, LocalRoom, Pass, Topic};
use super::members::Cursor;
use super::pressure::{CHECK_INTERVAL, MAX_PAUSE, Pressure};
use super::room::Counts;
use crate::reactor::{Connections, Next, Sent, Wire};

/// Members served in one turn of the loop.
const MAX_SENDS_PER_TURN: usize = 512;

/// The broadcasts of one reactor.
#[derive(Debug)]
pub(super) struct Fanout {
    tick: Duration,
    presence_interval: Duration,
    /// Rooms that have changed and wait for their tick.
    due: BinaryHeap<Reverse<(Instant, u32, Topic)>>,
    /// Rooms with a pass under way.
    passes: VecDeque<(u32, Topic)>,
    /// What this turn may still send.
    budget: usize,
    /// Since when passes are put off because too much is in flight.
    paused: Option<Instant>,
}

impl Fanout {
    pub(super) fn new(tick: Duration, presence_interval: Duration) -> Self {
        Self {
            tick,
            presence_interval,
            due: BinaryHeap::new(),
            passes: VecDeque::new(),
            budget: 0,
            paused: None,
        }
    }

    /// There is something new to tell: a broadcast begins now, or when its time comes.
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
            Topic::Members => Some(now + self.presence_interval),
            Topic::Closing => None,
        };
        match at {
            Some(at) => self.due.push(Reverse((at, index, topic))),
            None => self.passes.push_back((index, topic)),
        }
    }

    /// Begins a turn: rooms whose tick has come are ready for their pass, and passes either go on
    /// or, if too much is in flight, wait.
    pub(super) fn begin_turn(&mut self, now: Instant, pressure: &Pressure) {
        while let Some(Reverse((at, index, topic))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            self.passes.push_back((index, topic));
        }
        let is_over = !self.passes.is_empty() && pressure.is_high(now);
        let (paused, may_send) = match self.paused {
            _ if !is_over => (None, true),
            None => (Some(now), false),
            Some(since) if now.duration_since(since) < MAX_PAUSE => (Some(since), false),
            // One chunk, and the next waits again.
            Some(_) => {
                pressure.say_held_back(now);
                (Some(now), true)
            }
        };
        self.paused = paused;
        self.budget = if may_send { MAX_SENDS_PER_TURN } else { 0 };
    }

    /// The next room whose pass may go on in this turn.
    pub(super) fn next_pass(&mut self) -> Option<(u32, Topic)> {
        if self.budget == 0 {
            return None;
        }
        self.passes.pop_front()
    }

    /// Sends to as many members as the turn allows. Gives whether the pass has ended.
    pub(super) fn run(
        &mut self,
        topic: Topic,
        index: u32,
        local: &mut LocalRoom,
        reactor: usize,
        now: Instant,
        connections: &mut Connections<Membership>,
    ) -> bool {
        let mut pass = match local.broadcasts[topic as usize] {
            Broadcast::Pass(pass) => pass,
            Broadcast::Due | Broadcast::Idle { .. } => begin(topic, local, reactor, now),
        };
        while self.budget > 0 && !pass.cursor.is_done() {
            let keys = local.roll.step(&mut pass.cursor, self.budget);
            self.budget -= keys.len().min(self.budget);
            match topic {
                Topic::Counts => {
                    let counts = local.handle.counts();
                    keys.for_each(|key| send(key, &counts, connections));
                }
                Topic::Members => {
                    let (members, here) = local.handle.here();
                    keys.for_each(|key| send_here(key, &here, connections));
                    local.told_one(members);
                }
                Topic::Closing => keys.for_each(|key| connections.dismiss(key)),
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
            self.changed(topic, index, local, now);
        }
        true
    }

    /// What is to be done next, at the end of a turn.
    pub(super) fn next(&self, now: Instant) -> Next {
        if self.paused.is_some() {
            return Next::At(now + CHECK_INTERVAL);
        }
        if !self.passes.is_empty() {
            return Next::Now;
        }
        match self.due.peek() {
            Some(Reverse((at, ..))) => Next::At(*at),
            None => Next::Never,
        }
    }
}

/// Begins a pass. From here on another change is told again.
fn begin(topic: Topic, local: &mut LocalRoom, reactor: usize, now: Instant) -> Pass {
    let cursor = match topic {
        Topic::Counts => {
            local.handle.attend(reactor);
            local.roll.all()
        }
        Topic::Members => {
            local.handle.attend_members(reactor);
            let members = Some(local.handle.members());
            // If the number is what all know already, there is nobody to tell.
            match std::mem::replace(&mut local.here, members) == members {
                true => Cursor::default(),
                false => local.roll.curious(),
            }
        }
        Topic::Closing => local.roll.all(),
    };
    Pass {
        began: now,
        cursor,
        again: false,
    }
}

/// Sends counts to a member, unless it has these or newer ones.
#[inline]
pub(super) fn send(key: u32, counts: &Counts, connections: &mut Connections<Membership>) {
    let version = counts.version as u32;
    let Some(mut connection) = connections.open_mut(key) else {
        return;
    };
    if (version.wrapping_sub(connection.member.sent) as i32) <= 0 {
        return;
    }
    // What is not sent now is sent when the socket drains, in its newest form.
    let message = form(&counts.message, connection.wire);
    if connection.send(message) == Sent::Yes {
        connection.member.sent = version;
    }
}

/// Tells a member how many are here.
pub(super) fn send_here(key: u32, here: &Encoded, connections: &mut Connections<Membership>) {
    if let Some(mut connection) = connections.open_mut(key) {
        // As with counts.
        connection.send(form(here, connection.wire));
    }
}

/// A message in the form that goes over `wire`.
#[inline]
pub(super) fn form(message: &Encoded, wire: Wire) -> &Bytes {
    match wire {
        Wire::Frames => message.frame(),
        Wire::Events => message.event(),
    }
}
