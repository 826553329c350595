//! The reactor: one thread, one poll, the sockets that it accepted. The only place with sockets.
//!
//! - `app`: what a reactor serves, as a trait.
//! - `connection`, `slab`, `connections`: one connection; their memory; what is sent to them.
//! - `limits`: what connections are held to.
//! - `input`: what is read from a connection: requests, then frames. `ending`: how it ends.
//! - `listener`, `timers`, `bell`: accepting; timeouts and pings; what other threads say.
//! - `admission`: who may come in.
//!
//! # Invariants of the edge-triggered loop
//! - An event comes once. A connection that stops being read before its socket would block goes
//!   on the ready queue; nothing else brings it back. It stops for three reasons: its share of the
//!   turn is used up, or the whole turn's, or its own replies wait for its socket (then draining
//!   brings it back).
//! - A read that fills less than the buffer has emptied the socket, unless the peer has closed,
//!   which the event says.
//! - A token carries a generation: an event for a closed connection can't reach its successor.
//! - A turn is bounded: in events, in bytes read, in connections accepted, in frames sent. What
//!   is left over is done in the next turn, which then does not sleep.
//! - With nothing to do, the poll has no timeout.

mod admission;
mod app;
mod bell;
mod connection;
mod connections;
mod ending;
mod input;
mod limits;
mod listener;
mod metrics;
mod slab;
mod timers;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

pub use admission::{Admission, DEFAULT_MAX_CONNECTIONS, DEFAULT_MIN_FREE_MEMORY_PERCENT};
pub use app::{App, CloseReason, Message, Next, Verdict, Wire};
pub use bell::{Bell, News};
pub use connections::{Connections, OpenConnection, Sent};
pub use limits::{
    DEFAULT_CLOSE_TIMEOUT, DEFAULT_HEAD_TIMEOUT, DEFAULT_MAX_INVALID_MESSAGES,
    DEFAULT_PING_INTERVAL, Limits,
};
pub use listener::{
    BindError, DEFAULT_BACKLOG, DEFAULT_SEND_BUFFER_BYTES, ListenAddress, Listener, SocketOptions,
    bind,
};
pub use metrics::{Gauge, ReactorMetrics};
pub(crate) use slab::CHUNK;

use admission::Addresses;
use connection::{Flags, Phase};
use listener::{Accepted, refuse};
use socket2::Socket;

use crate::os::allocator;
use timers::{Clock, Deadlines, Sweep};

/// The bytes that one read can take, and the share of a turn of one connection.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// The bytes read in one turn, after which events only queue their connections.
const MAX_TURN_BYTES: usize = 1024 * 1024;
/// Events taken in one turn.
const EVENTS: usize = 1024;
/// Connections accepted from one listener in one turn.
const MAX_ACCEPTS_PER_TURN: usize = 256;
/// How long a listener rests when nothing can be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The least peak of connections after which memory is given back.
const MIN_PEAK: usize = 1024;

/// The token of the bell; listeners count down from it. No connection has a key so high.
const BELL: Token = Token(u32::MAX as usize);

/// The parts that a reactor's owner keeps in hand, or shares with other reactors.
#[derive(Debug)]
pub struct Seed {
    poll: Poll,
    listeners: Vec<Listener>,
    /// Rings this reactor.
    pub bell: Arc<Bell>,
    /// Its numbers.
    pub metrics: Arc<ReactorMetrics>,
}

impl Seed {
    /// The descriptors that move with the parts to the reactor's thread.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let listeners = self.listeners.iter().map(Listener::as_raw_fd);
        listeners.chain([self.poll.as_raw_fd()]).collect()
    }

    /// The parts of a reactor that accepts from `listeners`.
    ///
    /// # Errors
    /// What the operating system says where a poll or waker can't be had.
    pub fn new(listeners: Vec<Listener>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell::new(Waker::new(poll.registry(), BELL)?));
        Ok(Self {
            poll,
            listeners,
            bell,
            metrics: Arc::default(),
        })
    }
}

/// The bytes that a reactor keeps of each connection of an application whose members are `M`.
pub const fn entry_bytes<M>() -> usize {
    size_of::<Option<connection::Connection<M>>>()
}

/// A reactor. It is made on the thread that it runs on.
#[derive(Debug)]
pub struct Reactor<A: App> {
    poll: Poll,
    bell: Arc<Bell>,
    metrics: Arc<ReactorMetrics>,
    limits: Limits,
    listeners: Vec<Listener>,
    /// Listeners that may have more to accept.
    accepting: Vec<usize>,
    /// When to try again to accept, after nothing could be.
    accept_retry: Option<Instant>,
    admission: Arc<Admission>,
    addresses: Addresses,
    connections: Connections<A::Member>,
    app: A,
    /// The most connections since memory was last given back.
    peak: usize,
    /// Whether memory is to be given back when the last connection goes.
    owes_memory: bool,
    /// Connections that have more to read than their share of the last turn.
    ready: VecDeque<Token>,
    read_buffer: Box<[u8]>,
    /// Replies to what is being read; written at once at its end.
    cork: Vec<u8>,
    /// Bytes read in this turn.
    turn_bytes: usize,
    clock: Clock,
    now: Instant,
    heads: Deadlines,
    closings: Deadlines,
    sweep: Option<Sweep>,
    next: Next,
}

impl<A: App> Reactor<A> {
    /// A reactor that serves `app` to those that `admission`, which it shares with the others, lets
    /// in.
    ///
    /// # Errors
    /// What the operating system says where a listener can't be watched.
    pub fn new(seed: Seed, app: A, limits: Limits, admission: Arc<Admission>) -> io::Result<Self> {
        let Seed {
            poll,
            mut listeners,
            bell,
            metrics,
        } = seed;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), listener_token(index))?;
        }
        let connections = Connections::new(poll.registry().try_clone()?, Arc::clone(&metrics));
        Ok(Self {
            poll,
            bell,
            metrics,
            listeners,
            accepting: Vec::new(),
            accept_retry: None,
            addresses: admission.addresses(),
            admission,
            connections,
            app,
            peak: 0,
            owes_memory: false,
            ready: VecDeque::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            cork: Vec::new(),
            turn_bytes: 0,
            clock: Clock::start(),
            now: Instant::now(),
            heads: Deadlines::new(limits.head_timeout),
            closings: Deadlines::new(limits.close_timeout),
            sweep: limits.ping_interval.map(Sweep::new),
            limits,
            // When it wants to be called, the application says in its first turn.
            next: Next::Now,
        })
    }

    /// Runs until the bell says stop; then tells every client and closes.
    ///
    /// # Errors
    /// What the operating system says where the poll fails, which it does not for anything that
    /// a client can do.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.bell.is_stopped() {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.turn(&events);
        }
        self.stop();
        Ok(())
    }

    fn turn(&mut self, events: &Events) {
        self.now = Instant::now();
        self.turn_bytes = 0;
        self.metrics.turns.add(1);
        // Those that waited come first.
        for _ in 0..self.ready.len() {
            // Those that the turn has no bytes left for keep their place.
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
        self.accept();
        self.next = self.app.turn(self.now, &mut self.connections);
        self.dismiss();
        self.expire();
        self.close_failed();
        self.give_memory_back();
    }

    /// After half of many connections have gone, their memory goes too; and once more when the
    /// last has.
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
        if token == BELL {
            return;
        }
        if let Some(index) = BELL
            .0
            .checked_sub(token.0 + 1)
            .filter(|i| *i < self.listeners.len())
        {
            if !self.accepting.contains(&index) {
                self.accepting.push(index);
            }
            return;
        }
        if event.is_writable() {
            self.on_writable(token);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let is_closed = event.is_read_closed() || event.is_error();
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
        if self.turn_bytes >= MAX_TURN_BYTES {
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
        // Whether the peer has closed meanwhile isn't known: read until the socket would block.
        self.on_readable(token, true);
    }

    /// Puts a connection on the ready queue.
    fn queue(&mut self, token: Token) {
        if let Some((_, connection)) = self.connections.by_token(token)
            && !connection.flags.has(Flags::QUEUED)
        {
            connection.flags.set(Flags::QUEUED);
            self.ready.push_back(token);
        }
    }

    fn accept(&mut self) {
        if self.accept_retry.is_some_and(|at| at <= self.now) {
            self.accept_retry = None;
            self.accepting = (0..self.listeners.len()).collect();
        }
        let mut more = Vec::new();
        for index in std::mem::take(&mut self.accepting) {
            if self.accept_from(index) {
                more.push(index);
            }
        }
        self.accepting = more;
    }

    /// Accepts what one turn allows; whether there may be more.
    fn accept_from(&mut self, index: usize) -> bool {
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            match self.listeners[index].accept() {
                Accepted::Socket(socket) => self.admit(socket),
                Accepted::Nothing => return false,
                Accepted::TurnedAway(error) => self.overloaded(&error),
                Accepted::Stuck(error) => {
                    self.overloaded(&error);
                    self.accept_retry = Some(self.now + ACCEPT_RETRY);
                    return false;
                }
            }
        }
        true
    }

    fn admit(&mut self, socket: Socket) {
        self.metrics.accepted.add(1);
        if !self.admission.take_place() {
            return self.turn_away(&socket, &admission::FULL);
        }
        if self.admission.is_memory_short(self.now) {
            self.admission.leave_place();
            return self.turn_away(&socket, &admission::SHORT_OF_MEMORY);
        }
        let peer = match self.addresses.are_counted() {
            true => socket.peer_addr().ok().and_then(|peer| peer.as_socket()),
            false => None,
        };
        let Ok(address) = self.addresses.enter(peer) else {
            self.admission.leave_place();
            return self.turn_away(&socket, &"the limit of --max-connections-per-ip is reached");
        };
        match self.connections.insert(socket, self.clock.ms(self.now)) {
            Ok(token) => {
                self.addresses.assign(connections::parts(token).0, address);
                self.forget_stale_heads();
                self.heads.push(token, self.clock.ms(self.now));
            }
            Err((socket, error)) => {
                self.addresses.give_up(address);
                self.admission.leave_place();
                self.turn_away(&socket, &error);
            }
        }
    }

    fn turn_away(&mut self, socket: &Socket, why: &dyn fmt::Display) {
        refuse(socket);
        self.overloaded(why);
    }

    /// Drops entries of connections that have moved on, faster than new ones come.
    fn forget_stale_heads(&mut self) {
        for _ in 0..2 {
            let Some(token) = self.heads.front() else {
                return;
            };
            if let Some((_, connection)) = self.connections.by_token(token)
                && matches!(connection.phase, Phase::Head { .. })
            {
                return;
            }
            self.heads.pop();
        }
    }

    /// Counts a connection that was turned away, and says why.
    fn overloaded(&mut self, why: &dyn fmt::Display) {
        self.metrics.closed(CloseReason::Overload).add(1);
        self.admission.turned_away(why);
    }

    /// How long the poll may sleep.
    fn timeout(&self) -> Option<Duration> {
        if self.next == Next::Now || !self.ready.is_empty() || !self.accepting.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let now_ms = self.clock.ms(now);
        let app = match self.next {
            Next::At(at) => Some(at),
            _ => None,
        };
        let sweep = self.sweep.as_ref().and_then(|sweep| sweep.next(now));
        let deadlines = [&self.heads, &self.closings].map(|deadlines| deadlines.left_ms(now_ms));
        let deadlines = deadlines
            .into_iter()
            .flatten()
            .map(|ms| Duration::from_millis(ms.into()));
        [app, sweep, self.accept_retry]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .chain(deadlines)
            .min()
    }
}

fn listener_token(index: usize) -> Token {
    Token(BELL.0 - 1 - index)
}
