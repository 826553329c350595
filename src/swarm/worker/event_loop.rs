//! The event loop of a worker.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::super::board::{Board, RunPhase};
use super::super::connect::{Connector, ReceiveBuffer};
use super::super::flood::Flood;
use super::super::member::{Member, MemberState, WorkerContext, micros_histogram};
use super::super::plan::Workload;
use super::bystander::BystanderGap;
use crate::os::descriptors;

const EVENTS_PER_TURN: usize = 1024;
const READ_BUFFER_BYTES: usize = 64 << 10;
/// Maximum number of connections begun between two polls.
const CONNECTS_PER_TURN: u64 = 64;
/// Maximum number of reasons of failure that are counted separately.
const MAX_REASONS: usize = 16;
/// Maximum sleep of a worker, which delays how it follows the conductor.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// Maximum sleep of a worker under load with few threads, since the next phases are measured.
const LONGEST_SLEEP_UNDER_LOAD: Duration = Duration::from_millis(5);

/// The results of a worker: plain numbers without descriptors.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Time from `connect` to the first counts for each wave of connections, in microseconds.
    pub(crate) handshakes: Vec<Histogram<u32>>,
    /// Time from send to seen, in microseconds.
    pub(crate) latency: Histogram<u32>,
    /// Why connections failed or were lost, and how many did for each reason.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Longest time in which the bystander saw no change.
    pub(crate) longest_gap: Option<Duration>,
}

/// A worker thread: its members and its place in the present phase.
pub(super) struct Worker {
    pub(super) thread: u16,
    pub(super) first: u32,
    pub(super) poll: Poll,
    pub(super) members: Vec<Member>,
    pub(super) buffer: Vec<u8>,
    pub(super) connector: Connector,
    pub(super) context: WorkerContext,
    pub(super) reaction: Vec<u8>,
    pub(super) flood: Option<Flood>,
    pub(super) gap: Option<BystanderGap>,
    /// The next member to connect, send or leave.
    pub(super) turn: usize,
    pub(super) done_in_phase: u64,
    pub(super) finished: Option<RunPhase>,
    pub(crate) handshakes: Vec<Histogram<u32>>,
    pub(crate) reasons: BTreeMap<String, u64>,
}

/// How far to read a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadUntil {
    /// Until a read fills only part of the buffer, which shows that the socket is empty.
    Drained,
    /// Until the end of the stream, since the server has closed it.
    Closed,
}

/// Runs a worker until the conductor ends it.
pub(crate) fn run(board: Arc<Board>, thread: u16) -> io::Result<Tally> {
    if board.plan.has_own_tables {
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
        let sends = !matches!(plan.workload, Workload::Idle { .. } | Workload::Storm);
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
            gap: BystanderGap::new(plan, &share),
            turn: 0,
            done_in_phase: 0,
            finished: None,
            handshakes: Vec::new(),
            reasons: BTreeMap::new(),
            context: WorkerContext::new(board),
        })
    }

    fn work(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        self.connector.begin_wave();
        loop {
            let phase = self.context.board.phase();
            if phase != self.context.phase {
                self.enter(phase);
            }
            if phase == RunPhase::Done {
                return Ok(());
            }
            let sleep = self.act();
            self.context
                .board
                .post(self.thread, &self.context.figures, self.finished);
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
    fn enter(&mut self, phase: RunPhase) {
        self.context.phase = phase;
        self.turn = 0;
        self.done_in_phase = 0;
        self.finished = None;
        match phase {
            RunPhase::Load => self.begin_flood(),
            RunPhase::Judge => self.judge_all(),
            RunPhase::Resume => {
                for index in 0..self.members.len() {
                    if self.members[index].slow {
                        self.read(index, ReadUntil::Drained);
                    }
                }
            }
            RunPhase::Drop => self.drop_all(),
            RunPhase::Reconnect => {
                let fresh = micros_histogram();
                let wave = std::mem::replace(&mut self.context.handshake, fresh);
                self.handshakes.push(wave);
                self.connector.begin_wave();
            }
            _ => {}
        }
    }

    /// Does the work that is due. Returns how long the worker may sleep.
    fn act(&mut self) -> Duration {
        let plan = &self.context.board.plan;
        match (self.context.phase, plan.workload) {
            (RunPhase::Connect | RunPhase::Reconnect, _) => self.connect_due(),
            (RunPhase::Load, Workload::Fanout(pace) | Workload::Slow { pace, .. }) => {
                self.paced(pace, Self::react)
            }
            (RunPhase::Load, Workload::Churn(pace)) => self.paced(pace, Self::replace),
            (RunPhase::Load, Workload::Ingest { .. }) => self.flood_on(),
            (phase, _) => {
                self.finished = Some(phase);
                self.rest()
            }
        }
    }

    /// Returns how long to sleep when the worker only waits for events and the next phase.
    pub(super) fn rest(&self) -> Duration {
        const FEW_THREADS: u16 = 8;
        match self.context.phase {
            RunPhase::Hold => LONGEST_SLEEP,
            _ if self.context.board.plan.threads > FEW_THREADS => LONGEST_SLEEP,
            _ => LONGEST_SLEEP_UNDER_LOAD,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        let figures = &self.context.figures;
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
                self.finished = Some(self.context.phase);
            }
            self.rest()
        } else if allowed == CONNECTS_PER_TURN {
            Duration::ZERO
        } else {
            self.connector.pause()
        }
    }

    pub(super) fn connect(&mut self, index: usize) {
        self.context.figures.started += 1;
        let member = &mut self.members[index];
        let receive_buffer = if member.slow {
            ReceiveBuffer::Minimal
        } else {
            ReceiveBuffer::Default
        };
        let begun = self
            .connector
            .begin(receive_buffer)
            .and_then(|stream| member.begin(stream, &self.context))
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
            self.context.figures.failed += 1;
            self.give_reason(reason);
        }
    }

    fn drop_all(&mut self) {
        for member in &mut self.members {
            if matches!(member.state, MemberState::Upgrading | MemberState::Greeting) {
                self.context.figures.failed += 1;
            }
            member.close();
        }
    }

    /// Compares every open member's count with the reactions sent into its room.
    fn judge_all(&mut self) {
        if let Some(gap) = &mut self.gap {
            gap.end_gap();
            gap.since = None;
        }
        for member in &self.members {
            if member.state == MemberState::Open {
                *member.judged_figure(&mut self.context) += 1;
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
            let until = if event.is_read_closed() || event.is_error() {
                ReadUntil::Closed
            } else {
                ReadUntil::Drained
            };
            self.read(index, until);
        }
    }

    /// Reads from a member's socket.
    fn read(&mut self, index: usize, until: ReadUntil) {
        let load = self.context.phase >= RunPhase::Load && self.context.phase < RunPhase::Resume;
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
                    let received = member.receive(&self.buffer[..length], &mut self.context);
                    let moved = member.seen != before;
                    if let Some(gap) = &mut self.gap
                        && gap.member == index
                        && moved
                    {
                        gap.end_gap();
                    }
                    if let Err(error) = received {
                        return self.end(index, &error.to_string());
                    }
                    if length < self.buffer.len() && until == ReadUntil::Drained {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.end(index, &error.to_string()),
            }
        }
    }

    /// Ends a connection and counts the reason.
    pub(super) fn end(&mut self, index: usize, reason: &str) {
        let member = &mut self.members[index];
        match member.state {
            MemberState::Closed => return,
            MemberState::Upgrading | MemberState::Greeting => self.context.figures.failed += 1,
            MemberState::Open => {
                self.context.figures.lost += 1;
                if self.context.phase >= RunPhase::Judge {
                    *member.judged_figure(&mut self.context) -= 1;
                }
            }
        }
        let stage = match member.state {
            MemberState::Open => "open",
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
        self.handshakes.push(self.context.handshake);
        Tally {
            handshakes: self.handshakes,
            latency: self.context.latency,
            reasons: self.reasons,
            longest_gap: self.gap.map(|gap| gap.longest),
        }
    }
}
