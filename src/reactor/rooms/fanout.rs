//! When a room's counts are sent to its members, and how.
//!
//! A quiet room's first change is sent at once. After that a room has at most one broadcast per
//! tick; what changes in between is conflated. A pass over many members is cut into chunks,
//! between which the reactor reads and accepts, and each chunk is sent the newest counts. If a
//! pass takes longer than a tick, the next begins when it ends: load stretches the tick, it never
//! builds a backlog. While the kernel holds too much that nobody has read, passes pause.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::local::{Broadcast, LocalRoom, Pass};
use super::{Connections, Membership, Next};
use crate::reactor::Sent;
use crate::reactor::pressure::{CHECK_INTERVAL, MAX_PAUSE, Pressure};
use crate::room::Counts;

/// Members served in one turn of the loop.
const MAX_SENDS_PER_TURN: usize = 512;

/// The broadcasts of one reactor.
#[derive(Debug)]
pub(super) struct Fanout {
    tick: Duration,
    /// Rooms that have changed and wait for their tick.
    due: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Rooms with a pass under way.
    passes: VecDeque<u32>,
    /// What this turn may still send.
    budget: usize,
    /// Since when passes are put off because too much is in flight.
    paused: Option<Instant>,
}

impl Fanout {
    pub(super) fn new(tick: Duration) -> Self {
        Self {
            tick,
            due: BinaryHeap::new(),
            passes: VecDeque::new(),
            budget: 0,
            paused: None,
        }
    }

    /// The counts of a room have changed: a broadcast begins now, or when the tick allows.
    pub(super) fn room_changed(&mut self, index: u32, local: &mut LocalRoom, now: Instant) {
        let Broadcast::Idle { not_before } = local.broadcast else {
            return;
        };
        local.broadcast = Broadcast::Due;
        match not_before.filter(|at| *at > now) {
            Some(at) => self.due.push(Reverse((at, index))),
            None => self.passes.push_back(index),
        }
    }

    /// Begins a turn: rooms whose tick has come are ready for their pass, and passes either go on
    /// or, if too much is in flight, wait.
    pub(super) fn begin_turn(&mut self, now: Instant, pressure: &Pressure) {
        while let Some(Reverse((at, index))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            self.passes.push_back(index);
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
    pub(super) fn next_pass(&mut self) -> Option<u32> {
        if self.budget == 0 {
            return None;
        }
        self.passes.pop_front()
    }

    /// Sends to as many members as the turn allows. Gives whether the room has nothing under way.
    pub(super) fn run(
        &mut self,
        index: u32,
        local: &mut LocalRoom,
        reactor: usize,
        now: Instant,
        connections: &mut Connections<Membership>,
    ) -> bool {
        let mut pass = match local.broadcast {
            Broadcast::Pass(pass) => pass,
            Broadcast::Due | Broadcast::Idle { .. } => {
                // From here on another change is told again.
                local.handle.attend(reactor);
                Pass {
                    began: now,
                    version: local.handle.version(),
                    cursor: local.members.len(),
                }
            }
        };
        let counts = local.handle.counts();
        let start = pass.cursor.min(local.members.len());
        let end = start.saturating_sub(self.budget);
        for key in local.members[end..start].iter().rev() {
            send(*key, &counts, connections);
        }
        self.budget -= start - end;
        pass.cursor = end;
        local.broadcast = Broadcast::Pass(pass);
        if end > 0 {
            self.passes.push_back(index);
            return false;
        }
        local.broadcast = Broadcast::Idle {
            not_before: Some(pass.began + self.tick),
        };
        if local.handle.version() != pass.version {
            self.room_changed(index, local, now);
        }
        matches!(local.broadcast, Broadcast::Idle { .. })
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
            Some(Reverse((at, _))) => Next::At(*at),
            None => Next::Never,
        }
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
    if connection.send(counts.frame()) == Sent::Yes {
        connection.member.sent = version;
    }
}
