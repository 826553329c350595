//! One thread of the swarm: an event loop over its share of the members.

use super::board::{Board, Phase};
use super::client::{Desk, Member, State};
use super::connect::Connector;
use super::flood::Flood;
use super::plan::Activity;
use crate::os::descriptors;
use hdrhistogram::Histogram;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVENTS_PER_TURN: usize = 1024;
const READ_BUFFER_BYTES: usize = 64 << 10;
/// Connections begun between two looks at what the others answered.
const CONNECTS_PER_TURN: u64 = 64;
/// Different reasons of failure that are told apart.
const MAX_REASONS: usize = 16;
/// How long a worker sleeps at most, so that it follows the conductor.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// The same under load, with few threads: what follows is measured.
const LONGEST_SLEEP_UNDER_LOAD: Duration = Duration::from_millis(5);
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// What a worker leaves behind: plain numbers, no descriptor.
#[derive(Debug)]
pub(super) struct Tally {
    /// Of each wave of connections, from `connect` to the first counts, in microseconds.
    pub(super) handshakes: Vec<Histogram<u32>>,
    /// From send to seen, in microseconds.
    pub(super) latency: Histogram<u32>,
    /// Why connections failed or were lost, and how many.
    pub(super) reasons: BTreeMap<String, u64>,
    /// Longest time without a change that the bystander saw.
    pub(super) longest_gap: Option<Duration>,
}

pub(super) struct Worker {
    thread: u16,
    first: u32,
    poll: Poll,
    members: Vec<Member>,
    buffer: Vec<u8>,
    connector: Connector,
    desk: Desk,
    reaction: Vec<u8>,
    flood: Option<Flood>,
    gap: Option<Gap>,
    /// The member whose turn it is to connect, to send, to leave.
    turn: usize,
    done_in_phase: u64,
    finished: Option<Phase>,
    handshakes: Vec<Histogram<u32>>,
    reasons: BTreeMap<String, u64>,
}

/// How often the bystander sees the count move.
#[derive(Debug)]
struct Gap {
    member: usize,
    since: Option<Instant>,
    longest: Duration,
}

impl Gap {
    fn moved(&mut self) {
        if let Some(since) = self.since {
            let now = Instant::now();
            self.longest = self.longest.max(now - since);
            self.since = Some(now);
        }
    }
}

/// Runs one worker until the conductor ends it.
pub(super) fn run(board: Arc<Board>, thread: u16) -> io::Result<Tally> {
    if board.plan.own_tables {
        descriptors::unshare_table(&[])?;
    }
    let mut worker = Worker::new(board, thread)?;
    worker.work()?;
    Ok(worker.into_tally())
}

impl Worker {
    fn new(board: Arc<Board>, thread: u16) -> io::Result<Self> {
        let plan = &board.plan;
        let share = plan.share(thread);
        let sends = !matches!(plan.activity, Activity::Idle { .. } | Activity::Storm);
        Ok(Self {
            thread,
            first: share.start,
            poll: Poll::new()?,
            members: share
                .clone()
                .map(|member| Member::new(plan.room_of(member), plan.is_slow(member)))
                .collect(),
            buffer: vec![0; READ_BUFFER_BYTES],
            connector: Connector::new(plan, thread, sends),
            reaction: plan.kind.reaction([0x37, 0xfa, 0x21, 0x3d]),
            flood: None,
            gap: plan
                .bystander()
                .filter(|member| share.contains(member))
                .map(|member| Gap {
                    member: (member - share.start) as usize,
                    since: None,
                    longest: Duration::ZERO,
                }),
            turn: 0,
            done_in_phase: 0,
            finished: None,
            handshakes: Vec::new(),
            reasons: BTreeMap::new(),
            desk: Desk::new(board),
        })
    }

    fn work(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        self.connector.begin_wave();
        loop {
            let phase = self.desk.board.phase();
            if phase != self.desk.phase {
                self.enter(phase);
            }
            if phase == Phase::Done {
                return Ok(());
            }
            let sleep = self.act();
            self.desk
                .board
                .post(self.thread, &self.desk.figures, self.finished);
            match self.poll.poll(&mut events, Some(sleep)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                self.handle(event);
            }
        }
    }

    /// Begins a phase.
    fn enter(&mut self, phase: Phase) {
        self.desk.phase = phase;
        self.turn = 0;
        self.done_in_phase = 0;
        self.finished = None;
        match phase {
            Phase::Load => self.begin_flood(),
            Phase::Judge => self.judge_all(),
            Phase::Resume => {
                for index in 0..self.members.len() {
                    if self.members[index].slow {
                        self.read(index, false);
                    }
                }
            }
            Phase::Drop => self.drop_all(),
            Phase::Reconnect => {
                let fresh = super::client::micros_histogram();
                let wave = std::mem::replace(&mut self.desk.handshake, fresh);
                self.handshakes.push(wave);
                self.connector.begin_wave();
            }
            _ => {}
        }
    }

    /// Does what is due; returns how long there is nothing to do.
    fn act(&mut self) -> Duration {
        let plan = &self.desk.board.plan;
        match (self.desk.phase, plan.activity) {
            (Phase::Connect | Phase::Reconnect, _) => self.connect_due(),
            (Phase::Load, Activity::Fanout(pace) | Activity::Slow { pace, .. }) => {
                self.paced(pace, Self::react)
            }
            (Phase::Load, Activity::Churn(pace)) => self.paced(pace, Self::replace),
            (Phase::Load, Activity::Ingest { .. }) => self.flood_on(),
            (phase, _) => {
                self.finished = Some(phase);
                self.rest()
            }
        }
    }

    /// How long to sleep when there is nothing to do but to follow.
    fn rest(&self) -> Duration {
        const FEW_THREADS: u16 = 8;
        match self.desk.phase {
            Phase::Hold => LONGEST_SLEEP,
            _ if self.desk.board.plan.threads > FEW_THREADS => LONGEST_SLEEP,
            _ => LONGEST_SLEEP_UNDER_LOAD,
        }
    }

    fn in_flight(&self) -> u64 {
        let figures = &self.desk.figures;
        figures.started - figures.opened - figures.failed
    }

    /// Begins the connections that are due.
    fn connect_due(&mut self) -> Duration {
        let in_flight = self.in_flight();
        let allowed = self.connector.allowance(in_flight).min(CONNECTS_PER_TURN);
        for _ in 0..allowed {
            if self.turn == self.members.len() {
                break;
            }
            self.connect(self.turn);
            self.turn += 1;
        }
        if self.turn == self.members.len() {
            if self.in_flight() == 0 {
                self.finished = Some(self.desk.phase);
            }
            self.rest()
        } else if allowed == CONNECTS_PER_TURN {
            Duration::ZERO
        } else {
            self.connector.pause()
        }
    }

    fn connect(&mut self, index: usize) {
        self.desk.figures.started += 1;
        let member = &mut self.members[index];
        let begun = self
            .connector
            .begin(member.slow)
            .and_then(|stream| member.begin(stream, &self.desk))
            .map_err(|error| format!("connect: {error}"));
        let watched = begun.and_then(|()| match &mut member.stream {
            Some(stream) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                let registry = self.poll.registry();
                registry
                    .register(stream, Token(index), interest)
                    .map_err(|error| format!("watch, see fs.epoll.max_user_watches: {error}"))
            }
            None => Ok(()),
        });
        if let Err(reason) = watched {
            self.members[index].close();
            self.desk.figures.failed += 1;
            self.give_reason(reason);
        }
    }

    /// Does as many of a pace's events as are due, one by `one`.
    fn paced(&mut self, pace: super::plan::Pace, one: impl Fn(&mut Self) -> bool) -> Duration {
        let (thread, threads) = (
            u64::from(self.thread),
            u64::from(self.desk.board.plan.threads),
        );
        let elapsed = self.desk.board.phase_began().elapsed();
        let due = pace.due(elapsed, thread, threads);
        while self.done_in_phase < due {
            if !one(self) {
                break;
            }
            self.done_in_phase += 1;
            self.desk.figures.done += 1;
        }
        if self.done_in_phase == pace.share(thread, threads) {
            self.finished = Some(Phase::Load);
            return self.rest();
        }
        Duration::from_secs_f64(threads as f64 / pace.per_second)
            .clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }

    /// The next member that can sends one reaction; `false` if none can.
    fn react(&mut self) -> bool {
        for _ in 0..self.members.len() {
            let index = self.turn;
            self.turn = (self.turn + 1) % self.members.len();
            let member = &mut self.members[index];
            if member.slow || !member.is_ready() {
                continue;
            }
            let board = &self.desk.board;
            board.rooms[usize::from(member.room)].claim(board.micros(Instant::now()));
            if let Err(error) = member.send(&self.reaction) {
                self.end(index, &error.to_string());
            }
            return true;
        }
        false
    }

    /// The next member leaves, and a new one takes its place; `false` if too many are on their way.
    fn replace(&mut self) -> bool {
        if self.connector.allowance(self.in_flight()) == 0 {
            return false;
        }
        let index = self.turn;
        self.turn = (self.turn + 1) % self.members.len();
        match self.members[index].state {
            State::Open => self.members[index].leave(),
            State::Closed => {}
            State::Upgrading | State::Greeting => return false,
        }
        self.connect(index);
        true
    }

    fn begin_flood(&mut self) {
        let plan = &self.desk.board.plan;
        let (Activity::Ingest { goal }, Some(bystander)) = (plan.activity, plan.bystander()) else {
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

    fn flood_on(&mut self) -> Duration {
        let board = Arc::clone(&self.desk.board);
        let (Activity::Ingest { goal }, Some(mut flood)) = (board.plan.activity, self.flood.take())
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
            self.desk.figures.done = flood.reactions();
            if flood.is_over() {
                board.rooms[0].add(flood.reactions());
                self.finished = Some(Phase::Load);
            }
        }
        let sleep = flood.pause();
        self.flood = Some(flood);
        sleep
    }

    fn drop_all(&mut self) {
        for member in &mut self.members {
            if matches!(member.state, State::Upgrading | State::Greeting) {
                self.desk.figures.failed += 1;
            }
            member.close();
        }
    }

    /// Sets every open member in relation to what its room was sent.
    fn judge_all(&mut self) {
        if let Some(gap) = &mut self.gap {
            gap.moved();
            gap.since = None;
        }
        for member in &self.members {
            if member.state == State::Open {
                *member.verdict(&mut self.desk) += 1;
            }
        }
    }

    fn handle(&mut self, event: &Event) {
        let Token(index) = event.token();
        if event.is_writable() {
            if let Some(flood) = &mut self.flood {
                flood.unblock(index);
            }
            if let Err(error) = self.members[index].flush() {
                self.end(index, &error.to_string());
                return;
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(index, event.is_read_closed() || event.is_error());
        }
    }

    /// Reads until the socket is empty, or to its end if it is `closing`.
    fn read(&mut self, index: usize, closing: bool) {
        let load = self.desk.phase >= Phase::Load && self.desk.phase < Phase::Resume;
        if self.members[index].slow && load {
            return;
        }
        loop {
            let member = &mut self.members[index];
            let Some(stream) = &mut member.stream else {
                return;
            };
            match stream.read(&mut self.buffer) {
                Ok(0) => return self.end(index, "the server closed the connection"),
                Ok(length) => {
                    let before = member.seen;
                    let taken = member.take_in(&self.buffer[..length], &mut self.desk);
                    let moved = member.seen != before;
                    if let Some(gap) = &mut self.gap
                        && gap.member == index
                        && moved
                    {
                        gap.moved();
                    }
                    if let Err(error) = taken {
                        return self.end(index, &error.to_string());
                    }
                    if length < self.buffer.len() && !closing {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.end(index, &error.to_string()),
            }
        }
    }

    /// A connection is of no use any more.
    fn end(&mut self, index: usize, reason: &str) {
        let member = &mut self.members[index];
        match member.state {
            State::Closed => return,
            State::Upgrading | State::Greeting => self.desk.figures.failed += 1,
            State::Open => {
                self.desk.figures.lost += 1;
                if self.desk.phase >= Phase::Judge {
                    *member.verdict(&mut self.desk) -= 1;
                }
            }
        }
        let stage = match member.state {
            State::Open => "open",
            _ => "handshake",
        };
        member.close();
        self.give_reason(format!("{stage}: {reason}"));
    }

    fn give_reason(&mut self, reason: String) {
        let reason = if self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&reason) {
            reason
        } else {
            "other reasons".to_owned()
        };
        *self.reasons.entry(reason).or_default() += 1;
    }

    fn into_tally(mut self) -> Tally {
        self.handshakes.push(self.desk.handshake);
        Tally {
            handshakes: self.handshakes,
            latency: self.desk.latency,
            reasons: self.reasons,
            longest_gap: self.gap.map(|gap| gap.longest),
        }
    }
}
