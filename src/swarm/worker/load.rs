//! The load that a worker sends: paced reactions, replaced members, and floods.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::board::RunPhase;
use super::super::flood::Flood;
use super::super::member::MemberState;
use super::super::plan::{Pace, Workload};
use super::event_loop::{LONGEST_SLEEP, Worker};

/// Minimum sleep of a worker between two events of a pace.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

impl Worker {
    /// Calls `one` for each event of a pace that is due, until it returns false.
    pub(super) fn paced(&mut self, pace: Pace, one: impl Fn(&mut Self) -> bool) -> Duration {
        let (thread, threads) = (
            u64::from(self.thread),
            u64::from(self.context.board.plan.threads),
        );
        let elapsed = self.context.board.phase_began().elapsed();
        let due = pace.due(elapsed, thread, threads);
        while self.done_in_phase < due {
            if !one(self) {
                break;
            }
            self.done_in_phase += 1;
            self.context.figures.done += 1;
        }
        if self.done_in_phase == pace.share(thread, threads) {
            self.finished = Some(RunPhase::Load);
            return self.rest();
        }
        Duration::from_secs_f64(threads as f64 / pace.per_second)
            .clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }

    /// Sends one reaction from the next member that can send. Returns whether a member could.
    pub(super) fn react(&mut self) -> bool {
        for _ in 0..self.members.len() {
            let index = self.turn;
            self.turn = (self.turn + 1) % self.members.len();
            let member = &mut self.members[index];
            if member.slow || !member.is_ready() {
                continue;
            }
            let board = &self.context.board;
            board.rooms[usize::from(member.room)].claim(board.micros(Instant::now()));
            if let Err(error) = member.send(&self.reaction) {
                self.end(index, &error.to_string());
            }
            return true;
        }
        false
    }

    /// Replaces the next member by a new one. Returns whether it could be replaced now.
    pub(super) fn replace(&mut self) -> bool {
        if self.connector.allowance(self.in_flight()) == 0 {
            return false;
        }
        let index = self.turn;
        self.turn = (self.turn + 1) % self.members.len();
        match self.members[index].state {
            MemberState::Open => self.members[index].leave(),
            MemberState::Closed => {}
            MemberState::Upgrading | MemberState::Greeting => return false,
        }
        self.connect(index);
        true
    }

    pub(super) fn begin_flood(&mut self) {
        let plan = &self.context.board.plan;
        let (Workload::Ingest { goal }, Some(bystander)) = (plan.workload, plan.bystander()) else {
            return;
        };
        let senders = plan
            .share(self.thread)
            .filter(|&member| member != bystander);
        let owed = senders.map(|member| {
            let share = Flood::share(goal, member.into(), bystander.into());
            ((member - self.first) as usize, share)
        });
        self.flood = Some(Flood::new(&plan.kind, owed));
        if let Some(gap) = &mut self.gap {
            gap.since = Some(Instant::now());
        }
    }

    pub(super) fn flood_on(&mut self) -> Duration {
        let board = Arc::clone(&self.context.board);
        let (Workload::Ingest { goal }, Some(mut flood)) = (board.plan.workload, self.flood.take())
        else {
            return self.rest();
        };
        if self.finished.is_none() {
            let mut broken = Vec::new();
            flood.turn(
                goal,
                board.phase_began(),
                &mut self.members,
                |index, error| broken.push((index, error)),
            );
            for (index, error) in broken {
                self.end(index, &error.to_string());
            }
            self.context.figures.done = flood.reactions();
            if flood.is_over() {
                board.rooms[0].add(flood.reactions());
                self.finished = Some(RunPhase::Load);
            }
        }
        let sleep = flood.pause();
        self.flood = Some(flood);
        sleep
    }
}
