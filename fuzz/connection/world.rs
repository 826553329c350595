//! A reactor with the rooms, a bystander, and the client that the fuzzer plays.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ovation::reactor::{
    Admission, AdmissionLimits, App, ConnectionLimits, MessageRate, Naming, Reactor,
    TrustedProxies, TrustedProxy, TurnAway,
};
use ovation::rooms::{RoomLimits, RoomTable, standalone};
use ovation::store::{MIN_FILE_BYTES, Store, StoreLimits};
use serde_json::Value;

use super::bystander::{Bystander, Newcomer};
use super::heap::Meter;
use super::model::Limits;
use super::output;
use super::script::Step;

/// The PROXY header of the bystander, if the server wants one.
pub const HEADER: &[u8] = b"PROXY UNKNOWN\r\n";
/// Maximum number of turns that the server may take to come to rest.
const MAX_TURNS: usize = 20_000;
/// Maximum heap that a connection may make the server hold, apart from rooms and kinds.
const MAX_HELD_BYTES: isize = 40 * 1024;
/// Maximum heap that one turn may use for a while.
const MAX_TURN_BYTES: usize = 512 * 1024;
/// Maximum heap for a room, and for a kind.
const ROOM_BYTES: isize = 6 * 1024;
const KIND_BYTES: isize = 768;
/// Maximum number of reactions that may each have brought a kind.
const MAX_NEW_KINDS: isize = 1000;
/// Maximum time that passes without any deadline of the server.
const MAX_HARMLESS_WAIT: Duration = Duration::from_secs(4);

/// The settings of the server, from one byte of input.
#[derive(Debug, Clone, Copy)]
pub struct Settings(pub u8);

impl Settings {
    pub fn limits_rate(self) -> bool {
        self.0 & 1 != 0
    }

    pub fn is_dry_run(self) -> bool {
        self.0 & 2 != 0
    }

    fn naming(self) -> Option<Naming> {
        match self.0 >> 2 & 3 {
            1 => Some(Naming::Fields),
            2 => Some(Naming::ProxyHeader),
            _ => None,
        }
    }

    /// Whether connections must begin with a PROXY header.
    pub fn wants_header(self) -> bool {
        self.naming() == Some(Naming::ProxyHeader)
    }

    pub fn limits(self) -> Limits {
        match self.0 >> 4 & 1 {
            0 => Limits {
                head_bytes: 8192,
                message_bytes: 4096,
            },
            _ => Limits {
                head_bytes: 256,
                message_bytes: 125,
            },
        }
    }

    fn connection_limits(self) -> ConnectionLimits {
        let limits = self.limits();
        ConnectionLimits {
            max_head_bytes: limits.head_bytes,
            max_message_bytes: limits.message_bytes,
            message_rate: self
                .limits_rate()
                .then(|| MessageRate::new(20, 50))
                .flatten(),
            is_dry_run: self.is_dry_run(),
            ..ConnectionLimits::default()
        }
    }

    fn admission(self) -> Arc<Admission> {
        let naming = self.naming();
        let limits = AdmissionLimits {
            max_per_address: naming.map(|_| 1),
            min_free_memory_percent: 0,
            ..AdmissionLimits::default()
        };
        let admission = Admission::new(limits, TurnAway::to_string);
        Arc::new(match naming {
            None => admission,
            Some(naming) => admission.trusting(TrustedProxies {
                proxies: vec![TrustedProxy::Unix],
                naming,
            }),
        })
    }
}

/// The server and its two clients.
pub struct World<A: App> {
    reactor: Reactor<A>,
    table: Arc<RoomTable>,
    now: Instant,
    meter: Meter,
    pub bystander: Bystander,
    client: UnixStream,
    /// What the client wants to send and its socket has not taken.
    unsent: VecDeque<u8>,
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
    is_reading: bool,
    ends_writing: bool,
    /// Whether the server has ended the connection.
    pub has_ended: bool,
    pub waited: Duration,
}

/// Starts a server with the bystander in its room, and connects the client.
pub fn start(settings: Settings) -> World<impl App> {
    let store = Store::anonymous(&StoreLimits {
        max_file_bytes: MIN_FILE_BYTES,
        ..StoreLimits::default()
    });
    let room_limits = RoomLimits {
        // The rooms stay in memory, where they can be asked for their counts.
        grace: Duration::from_secs(3600),
        max_idle_rooms: usize::MAX,
        ..RoomLimits::default()
    };
    let table = RoomTable::new(Arc::new(store.unwrap()), room_limits);
    let limits = settings.connection_limits();
    let mut reactor = standalone(&table, limits, settings.admission()).unwrap();
    let now = Instant::now();
    let header = if settings.wants_header() { HEADER } else { b"" };
    let newcomer = Newcomer::connect(connect(&mut reactor), header);
    for _ in 0..2 {
        reactor.step(now).unwrap();
    }
    let mut bystander = newcomer.complete();
    // The client may use up the kinds that a room may have.
    bystander.react();
    reactor.step(now).unwrap();
    bystander.pump();
    World {
        client: connect(&mut reactor),
        reactor,
        table,
        now,
        meter: Meter::default(),
        bystander,
        unsent: VecDeque::new(),
        sent: Vec::new(),
        received: Vec::new(),
        is_reading: true,
        ends_writing: false,
        has_ended: false,
        waited: Duration::ZERO,
    }
}

fn connect(reactor: &mut Reactor<impl App>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    // As small as the kernel allows, so that responses don't fit.
    rustix::net::sockopt::set_socket_send_buffer_size(&theirs, 2048).unwrap();
    reactor.adopt(theirs).unwrap();
    ours
}

impl<A: App> World<A> {
    /// Takes one step of the script, and one turn.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::Send(bytes) if !self.ends_writing => self.unsent.extend(bytes),
            Step::Send(_) => {}
            Step::Wait(time) => {
                self.now += time;
                self.waited += time;
            }
            Step::Read(most) => {
                self.read(most);
            }
            Step::EndWriting => self.ends_writing = true,
            Step::BystanderReacts => self.bystander.react(),
            Step::ToggleReading => self.is_reading = !self.is_reading,
        }
        self.exchange();
        self.turn();
    }

    /// Lets the client read everything until the server rests and every room has had its tick.
    pub fn come_to_rest(&mut self) {
        self.is_reading = true;
        let mut quiet_ticks = 0;
        for _ in 0..MAX_TURNS {
            let has_moved = self.exchange();
            let sleeps = self.turn() != Some(Duration::ZERO);
            if has_moved || !sleeps {
                continue;
            }
            // The clock runs only while nothing else happens, so no deadline passes.
            quiet_ticks += 1;
            if quiet_ticks == 4 {
                return;
            }
            self.now += Duration::from_millis(50);
        }
        panic!("the server never rests");
    }

    /// Checks what the server has counted against its rooms, and the bystander's view. Returns the
    /// number of reactions of the client.
    pub fn counted(&self) -> u64 {
        let mut total = 0;
        self.table.for_each(|room| {
            let counts = output::counts(room.counts().message.json());
            total += counts.values().filter_map(Value::as_u64).sum::<u64>();
        });
        assert_eq!(self.reactor.metrics().messages.get(), total);
        let talk = self.table.enter("main", "talk", None);
        let counts = output::counts(talk.counts().message.json());
        assert_eq!(self.bystander.seen, counts);
        let own = counts.get("wave").and_then(Value::as_u64).unwrap_or(0);
        assert!(own >= self.bystander.reactions);
        total - self.bystander.reactions
    }

    /// Whether no deadline of the server can have passed.
    pub fn was_in_time(&self) -> bool {
        self.waited < MAX_HARMLESS_WAIT
    }

    /// Closes the client. Nothing of it may be left.
    pub fn end(mut self) {
        drop(std::mem::replace(
            &mut self.client,
            UnixStream::pair().unwrap().0,
        ));
        self.turn();
        assert_eq!(self.reactor.metrics().connections.get(), 1);
        let left = self.meter.held - self.rooms_bytes();
        assert!(left < MAX_HELD_BYTES / 2, "{left} bytes are left");
        self.bystander.react();
        self.turn();
        self.now += Duration::from_secs(1);
        self.turn();
        let seen = self.bystander.seen.get("wave").and_then(Value::as_u64);
        assert!(seen >= Some(self.bystander.reactions), "{seen:?}");
    }

    /// Moves bytes between the client and its socket. Returns whether any moved.
    fn exchange(&mut self) -> bool {
        let mut has_moved = false;
        while !self.unsent.is_empty() {
            let Ok(length @ 1..) = self.client.write(self.unsent.as_slices().0) else {
                break;
            };
            self.sent.extend(self.unsent.drain(..length));
            has_moved = true;
        }
        if self.ends_writing && self.unsent.is_empty() {
            let _ = self.client.shutdown(Shutdown::Write);
        }
        has_moved | (self.is_reading && self.read(usize::MAX))
    }

    /// Reads up to `most` bytes. Returns whether there were any.
    fn read(&mut self, most: usize) -> bool {
        let before = self.received.len();
        let mut buffer = [0; 4096];
        while self.received.len() - before < most {
            match self.client.read(&mut buffer[..most.min(4096)]) {
                Ok(0) => {
                    self.has_ended = true;
                    break;
                }
                Err(_) => break,
                Ok(length) => self.received.extend(&buffer[..length]),
            }
        }
        self.received.len() > before
    }

    /// Runs one turn of the reactor, and then lets the bystander read.
    fn turn(&mut self) -> Option<Duration> {
        let (reactor, now) = (&mut self.reactor, self.now);
        let sleep = self.meter.measure(|| reactor.step(now)).unwrap();
        let held = self.meter.held - self.rooms_bytes();
        assert!(held < MAX_HELD_BYTES, "the server holds {held} bytes");
        let peak = self.meter.peak;
        assert!(peak < MAX_TURN_BYTES, "one turn uses {peak} bytes");
        self.bystander.pump();
        sleep
    }

    /// The heap that rooms and kinds may use.
    fn rooms_bytes(&self) -> isize {
        let messages = self.reactor.metrics().messages.get() as isize;
        self.table.len() as isize * ROOM_BYTES + messages.min(MAX_NEW_KINDS) * KIND_BYTES
    }
}
