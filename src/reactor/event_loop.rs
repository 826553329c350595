//! The event loop: turns of polling, reading, accepting, and the application's own work.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use super::admission::Admission;
use super::app::{App, NextTurn};
use super::bodies::Bodies;
use super::close_reason::MAX_DISMISSALS;
use super::connection::{Flags, Phase};
use super::connections::Connections;
use super::deadlines::{Clock, Deadlines};
use super::gate::Gate;
use super::limits::ConnectionLimits;
use super::listener::Listener;
use super::mailbox::Mailbox;
use super::metrics::ReactorMetrics;
use super::offenders::Offenders;
use super::stalled::StalledSearch;
use super::sweep::Sweep;
use super::token::token;
use crate::os::allocator;

/// Size of the read buffer, in bytes, and a connection's share of a turn.
pub(super) const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Maximum number of bytes read in one turn. After that, events only queue their connections.
const MAX_TURN_BYTES: usize = 1024 * 1024;
/// Maximum number of requests answered in one turn. After that, connections that await a request
/// only queue: a flood of requests must not delay the frames of members.
const MAX_TURN_REQUESTS: u32 = 64;
/// Maximum number of events taken in one turn.
pub(super) const MAX_EVENTS: usize = 1024;
/// Minimum peak of connections after which the reactor gives memory back.
const MIN_PEAK: usize = 1024;

/// The mailbox's token; the listeners' tokens count down from it. No connection has so high a key.
const MAILBOX: Token = Token(u32::MAX as usize);

/// The parts of a reactor that are made before its thread runs, for an application with notices
/// `N`.
#[derive(Debug)]
pub struct ReactorParts<N> {
    poll: Poll,
    listeners: Vec<Listener>,
    /// The reactor's mailbox.
    pub mailbox: Arc<Mailbox<N>>,
    /// The reactor's metrics.
    pub metrics: Arc<ReactorMetrics>,
}

impl<N> ReactorParts<N> {
    /// Makes the parts of a reactor that accepts from `listeners`.
    ///
    /// # Errors
    /// The operating system's error if it refuses a poll or a waker.
    pub fn new(listeners: Vec<Listener>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mailbox = Arc::new(Mailbox::new(Waker::new(poll.registry(), MAILBOX)?));
        Ok(Self {
            poll,
            listeners,
            mailbox,
            metrics: Arc::default(),
        })
    }

    /// The descriptors that move with the parts to the reactor's thread.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let listeners = self.listeners.iter().map(Listener::as_raw_fd);
        listeners.chain([self.poll.as_raw_fd()]).collect()
    }
}

/// A reactor. It is made on the thread that it runs on.
#[derive(Debug)]
pub struct Reactor<A: App> {
    pub(super) poll: Poll,
    mailbox: Arc<Mailbox<A::Notice>>,
    /// Notices that are being delivered; its memory is used again.
    notices: Vec<A::Notice>,
    pub(super) metrics: Arc<ReactorMetrics>,
    pub(super) limits: ConnectionLimits,
    pub(super) listeners: Vec<Listener>,
    /// Indexes of the listeners that may have more connections to accept.
    pub(super) accepting: Vec<usize>,
    /// When to try again to accept, after no connection could be accepted.
    pub(super) accept_retry: Option<Instant>,
    pub(super) gate: Gate,
    pub(super) connections: Connections<A::Member>,
    pub(super) app: A,
    /// Maximum number of connections since memory was last given back.
    peak: usize,
    /// Whether the reactor gives memory back when the last connection closes.
    owes_memory: bool,
    /// Open connections that have more to read than their share of the last turn.
    ready: VecDeque<Token>,
    /// Connections that await a request and have more to read than their share of the last turn.
    ready_requests: VecDeque<Token>,
    pub(super) read_buffer: Box<[u8]>,
    /// Replies to the input being processed, written at its end.
    pub(super) write_buffer: Vec<u8>,
    /// Bytes read in this turn.
    pub(super) turn_bytes: usize,
    /// Requests answered in this turn.
    pub(super) turn_requests: u32,
    pub(super) clock: Clock,
    pub(super) now: Instant,
    pub(super) heads: Deadlines,
    pub(super) closings: Deadlines,
    pub(super) sweep: Option<Sweep>,
    pub(super) stalled: StalledSearch,
    pub(super) offenders: Offenders,
    pub(super) bodies: Bodies,
    next_turn: NextTurn,
}

impl<A: App> Reactor<A> {
    /// Creates a reactor that serves `app` to the connections that `admission`, which all reactors
    /// share, lets in.
    ///
    /// # Errors
    /// The operating system's error if the poll can't watch a listener.
    pub fn new(
        parts: ReactorParts<A::Notice>,
        app: A,
        limits: ConnectionLimits,
        admission: Arc<Admission>,
    ) -> io::Result<Self> {
        const { assert!(A::DISMISSALS.len() <= MAX_DISMISSALS) };
        let ReactorParts {
            poll,
            mut listeners,
            mailbox,
            metrics,
        } = parts;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), listener_token(index))?;
        }
        let connections = Connections::new(poll.registry().try_clone()?, Arc::clone(&metrics));
        Ok(Self {
            poll,
            mailbox,
            notices: Vec::new(),
            metrics,
            listeners,
            accepting: Vec::new(),
            accept_retry: None,
            gate: Gate::new(admission),
            connections,
            app,
            peak: 0,
            owes_memory: false,
            ready: VecDeque::new(),
            ready_requests: VecDeque::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            write_buffer: Vec::new(),
            turn_bytes: 0,
            turn_requests: 0,
            clock: Clock::start(),
            now: Instant::now(),
            heads: Deadlines::new(limits.head_timeout),
            closings: Deadlines::new(limits.close_timeout),
            sweep: limits.ping_interval.map(Sweep::new),
            stalled: StalledSearch::new(Instant::now()),
            offenders: Offenders::default(),
            bodies: Bodies::default(),
            limits,
            // In its first turn the application says when it wants the next.
            next_turn: NextTurn::Now,
        })
    }

    /// Runs until the mailbox says stop; then tells every client and closes all connections.
    ///
    /// # Errors
    /// The operating system's error if the poll fails, which no client can cause.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        while !self.mailbox.is_stopped() {
            match self.poll.poll(&mut events, self.timeout(Instant::now)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.turn(&events, Instant::now());
        }
        self.stop();
        Ok(())
    }

    /// Runs one turn at the time `now` without waiting for an event, for a program that has a loop
    /// or a clock of its own. `now` must not go back. Returns how long the reactor would sleep
    /// after the turn: not at all if it has more to do, `None` for until an event.
    ///
    /// # Errors
    /// The operating system's error if the poll fails.
    pub fn step(&mut self, now: Instant) -> io::Result<Option<Duration>> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        self.poll.poll(&mut events, Some(Duration::ZERO))?;
        self.turn(&events, now);
        Ok(self.timeout(|| now))
    }

    /// What the reactor counts of itself.
    pub fn metrics(&self) -> &ReactorMetrics {
        &self.metrics
    }

    fn turn(&mut self, events: &Events, now: Instant) {
        self.now = now;
        self.turn_bytes = 0;
        self.turn_requests = 0;
        self.metrics.turns.add(1);
        // Connections that have waited since an earlier turn come first.
        for _ in 0..self.ready.len() {
            // Connections for which the turn has no bytes left keep their place.
            if self.turn_bytes >= MAX_TURN_BYTES {
                break;
            }
            if let Some(token) = self.ready.pop_front() {
                self.on_ready(token);
            }
        }
        for event in events {
            self.on_event(event);
        }
        // Requests come last, so that they take from the turn what the frames of members leave.
        for _ in 0..self.ready_requests.len() {
            if self.turn_requests >= MAX_TURN_REQUESTS {
                break;
            }
            if let Some(token) = self.ready_requests.pop_front() {
                self.on_ready(token);
            }
        }
        self.accept();
        self.end_stalled();
        self.run_app();
        self.close_dismissed();
        self.expire();
        self.close_failed();
        self.give_memory_back();
    }

    /// Delivers the notices of other threads to the application and gives it its turn.
    pub(super) fn run_app(&mut self) {
        self.mailbox.take_into(&mut self.notices);
        for notice in self.notices.drain(..) {
            self.app.notice(notice, self.now);
        }
        self.next_turn = self.app.turn(self.now, &mut self.connections);
    }

    /// Gives memory back after half of many connections have closed, and again when the last has.
    fn give_memory_back(&mut self) {
        let open = self.connections.len();
        self.peak = self.peak.max(open);
        let has_halved = self.peak >= MIN_PEAK && open <= self.peak / 2;
        if has_halved || (open == 0 && self.owes_memory) {
            self.peak = open;
            self.owes_memory = open > 0;
            allocator::trim();
        }
    }

    fn on_event(&mut self, event: &Event) {
        let token = event.token();
        if token == MAILBOX {
            return;
        }
        if let Some(index) = listener_index(token).filter(|index| *index < self.listeners.len()) {
            if !self.accepting.contains(&index) {
                self.accepting.push(index);
            }
            return;
        }
        if event.is_writable() {
            self.on_writable(token);
        }
        let is_closed = event.is_read_closed() || event.is_error();
        if event.is_readable() || is_closed {
            self.on_readable(token, is_closed);
        }
    }

    fn on_writable(&mut self, token: Token) {
        let Some((key, connection)) = self.connections.by_token(token) else {
            return;
        };
        if connection.output.is_none() && !connection.flags.has(Flags::LAGGING) {
            return;
        }
        let drained = self.connections.drain(key);
        if drained.was_lagging {
            self.app.drained(key, &mut self.connections);
        }
        if drained.was_paused {
            self.queue(token);
        }
    }

    fn on_readable(&mut self, token: Token, is_closed: bool) {
        let Some((_, connection)) = self.connections.by_token(token) else {
            return;
        };
        if connection.flags.has(Flags::QUEUED | Flags::PAUSED) {
            return;
        }
        let awaits_request = matches!(connection.phase, Phase::Head { .. });
        let is_too_much = awaits_request && self.turn_requests >= MAX_TURN_REQUESTS;
        if self.turn_bytes >= MAX_TURN_BYTES || is_too_much {
            self.queue(token);
        } else {
            self.read(token, is_closed);
        }
    }

    fn on_ready(&mut self, token: Token) {
        let Some((key, connection)) = self.connections.by_token(token) else {
            return;
        };
        connection.flags.clear(Flags::QUEUED);
        self.resume_requests(key);
        // The peer may have closed in the meantime, so read until the socket would block.
        self.on_readable(token, true);
    }

    /// Puts the connection at `key` on the ready queue.
    pub(super) fn queue_key(&mut self, key: u32) {
        if let Some(connection) = self.connections.get_mut(key) {
            let token = token(key, connection.generation);
            self.queue(token);
        }
    }

    /// Puts a connection on the ready queue.
    pub(super) fn queue(&mut self, token: Token) {
        if let Some((_, connection)) = self.connections.by_token(token)
            && !connection.flags.has(Flags::QUEUED)
        {
            connection.flags.set(Flags::QUEUED);
            match connection.phase {
                Phase::Head { .. } => self.ready_requests.push_back(token),
                _ => self.ready.push_back(token),
            }
        }
    }

    /// The time that the poll may sleep. Asks for the time only if the reactor may sleep at all.
    fn timeout(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let has_ready = !self.ready.is_empty() || !self.ready_requests.is_empty();
        if self.next_turn == NextTurn::Now || has_ready || !self.accepting.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = now();
        let now_ms = self.clock.ms(now);
        let app = match self.next_turn {
            NextTurn::At(at) => Some(at),
            NextTurn::Now | NextTurn::OnEvent => None,
        };
        let sweep = self.sweep.as_ref().and_then(|sweep| sweep.next(now));
        let deadlines = [&self.heads, &self.closings].map(|deadlines| deadlines.left_ms(now_ms));
        let deadlines = deadlines
            .into_iter()
            .flatten()
            .map(|ms| Duration::from_millis(ms.into()));
        [app, sweep, self.stalled.next(), self.accept_retry]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .chain(deadlines)
            .min()
    }
}

fn listener_token(index: usize) -> Token {
    Token(MAILBOX.0 - 1 - index)
}

/// The index of the listener that has this token, if listeners reach so far.
fn listener_index(token: Token) -> Option<usize> {
    MAILBOX.0.checked_sub(token.0 + 1)
}
