//! The attackers: each kind does one thing that hurts an unprotected server, again and again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::{
    Chance, FIN, PING, masked, post_request, reaction, reaction_frame, upgrade_head,
};

/// The network of the attackers' proxy, whose PROXY headers the server trusts.
pub(crate) const PROXY_NETWORK: &str = "127.0.1.0/24";
/// Number of addresses of that proxy: one would run out of ports.
const PROXY_ADDRESSES: usize = 32;
/// Rooms with many kinds that no member is in.
pub(crate) const COLD_ROOMS: usize = 20;
/// Shortest time between two rounds of the attack.
const ROUND: Duration = Duration::from_millis(100);
/// Maximum number of bytes that an attacker sends in a round.
const MAX_ROUND_BYTES: usize = 4 * 1024;
/// Maximum number of connections that the attackers open in a round.
const MAX_ROUND_CONNECTS: usize = 250;

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Posts kinds that nobody has listed.
    InventedKinds,
    /// Sends such kinds as frames.
    InventedKindFrames,
    /// Creates rooms by pipelined requests.
    NewRooms,
    /// Reacts far over the rate, in the members' room.
    ReactionFlood,
    /// Sends the largest pings and reads no pong.
    Pings,
    /// Sends requests and reads no response, until all queues are full.
    FullQueues,
    /// Opens a connection and sends nothing, all from one address.
    Idle,
    /// Asks for rooms that aren't in memory, by pipelined requests.
    ColdRooms,
    /// Opens WebSockets for a page of another site.
    ForeignOrigin,
    /// Never finishes a message.
    UnfinishedMessage,
    /// Sends a request byte by byte.
    SlowHead,
    /// Sends random bytes.
    Garbage,
    /// Speaks TLS.
    TlsHello,
    /// Joins the members' room, and ends its side of the connection.
    HalfClosed,
    /// Joins the members' room, and reads nothing.
    SlowReader,
    /// Connects and resets the connection.
    Churn,
}

impl Attack {
    pub(crate) const ALL: [Self; 16] = [
        Self::InventedKinds,
        Self::InventedKindFrames,
        Self::NewRooms,
        Self::ReactionFlood,
        Self::Pings,
        Self::FullQueues,
        Self::Idle,
        Self::ColdRooms,
        Self::ForeignOrigin,
        Self::UnfinishedMessage,
        Self::SlowHead,
        Self::Garbage,
        Self::TlsHello,
        Self::HalfClosed,
        Self::SlowReader,
        Self::Churn,
    ];

    /// The bytes after the PROXY header, once.
    fn first(self) -> Vec<u8> {
        let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        match self {
            Self::InventedKindFrames | Self::ReactionFlood | Self::Pings => upgrade(""),
            Self::HalfClosed | Self::SlowReader => upgrade(""),
            Self::UnfinishedMessage => [upgrade(""), masked(1, &[b'x'; 4000])].concat(),
            Self::ForeignOrigin => upgrade("Origin: https://evil.example\r\n"),
            Self::TlsHello => [&hello[..], &[7; 500]].concat(),
            _ => Vec::new(),
        }
    }

    /// The bytes that follow, again and again.
    fn flood(self) -> Vec<u8> {
        match self {
            Self::InventedKinds => many(|number| post("/party/talk", &format!("x{number}"))),
            Self::InventedKindFrames => many(|number| reaction_frame(&format!("x{number}"))),
            Self::NewRooms => many(|number| post(&format!("/party/new{number}"), "love")),
            Self::ReactionFlood => many(|_| reaction_frame("clap")),
            Self::Pings => many(|_| masked(FIN | PING, &[b'p'; 125])),
            Self::FullQueues => many(|_| request("GET", "/party/talk")),
            Self::ColdRooms => {
                many(|number| request("HEAD", &format!("/party/cold{}", number % COLD_ROOMS)))
            }
            Self::SlowHead => [&b"GET /party/talk HTTP/1.1\r\nX: "[..], &[b'x'; 4096]].concat(),
            Self::Garbage => {
                let mut chance = Chance::seeded(7);
                (0..4096).map(|_| chance.below(256) as u8).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The address that the proxy names, for the attacker with this number of its kind.
    fn client(self, number: usize) -> Ipv4Addr {
        let clients = match self {
            Self::Idle => 1,
            Self::NewRooms => 3,
            _ => 20,
        };
        Ipv4Addr::new(10, self as u8, 0, (number % clients) as u8)
    }

    fn reads(self) -> bool {
        !matches!(self, Self::Pings | Self::FullQueues | Self::SlowReader)
    }
}

fn upgrade(fields: &str) -> Vec<u8> {
    upgrade_head("/party/talk", fields).into_bytes()
}

fn post(target: &str, kind: &str) -> Vec<u8> {
    post_request(target, &reaction(kind)).into_bytes()
}

fn request(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

fn many(one: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    (0..500).flat_map(one).collect()
}

/// What all attackers of a kind send.
#[derive(Debug)]
struct Ammunition {
    first: Vec<u8>,
    flood: Vec<u8>,
}

#[derive(Debug)]
struct Attacker {
    attack: Attack,
    number: usize,
    ammunition: Arc<Ammunition>,
    stream: Option<TcpStream>,
    /// What goes before the flood and has not been sent.
    first: Vec<u8>,
    /// Number of bytes sent of the flood, which repeats.
    sent: usize,
    rounds: usize,
}

impl Attacker {
    fn connect(&mut self, server: SocketAddr) {
        let [a, b, c] = [127, 0, 1];
        let proxy = Ipv4Addr::new(a, b, c, (self.number % PROXY_ADDRESSES) as u8);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if self.attack == Attack::Pings {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        socket.bind(&SocketAddrV4::new(proxy, 0).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        // The connection completes while the attack goes on.
        let _ = socket.connect(&server.into());
        let client = self.attack.client(self.number);
        let header = format!("PROXY TCP4 {client} 192.0.2.1 4711 80\r\n");
        self.first = [header.as_bytes(), &self.ammunition.first].concat();
        self.sent = 0;
        self.rounds = 0;
        self.stream = Some(socket.into());
    }

    /// Does one round's work. Drops the connection when the server has ended it.
    fn round(&mut self, sink: &mut [u8]) {
        self.rounds += 1;
        if self.send().is_err() || self.receive(sink).is_err() {
            self.stream = None;
        }
    }

    fn send(&mut self) -> Result<(), ()> {
        let stream = self.stream.as_mut().ok_or(())?;
        let mut left = match self.attack {
            Attack::SlowHead => 1,
            _ => MAX_ROUND_BYTES,
        };
        while !self.first.is_empty() {
            match stream.write(&self.first) {
                Ok(length) => drop(self.first.drain(..length)),
                Err(error) => return later(&error),
            }
        }
        let flood = &self.ammunition.flood;
        while left > 0 && !flood.is_empty() {
            let end = flood.len().min(self.sent + left);
            match stream.write(&flood[self.sent..end]) {
                Ok(length) => {
                    left -= length;
                    self.sent = (self.sent + length) % flood.len();
                }
                Err(error) => return later(&error),
            }
        }
        if self.attack == Attack::HalfClosed {
            let _ = stream.shutdown(Shutdown::Write);
        }
        match self.attack {
            Attack::Churn if self.rounds > 1 => Err(()),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, sink: &mut [u8]) -> Result<(), ()> {
        let stream = self.stream.as_mut().ok_or(())?;
        if !self.attack.reads() {
            return Ok(());
        }
        loop {
            match stream.read(sink) {
                Ok(0) => return Err(()),
                Ok(_) => {}
                Err(error) => return later(&error),
            }
        }
    }
}

/// Whether the socket has only to be tried again later.
fn later(error: &std::io::Error) -> Result<(), ()> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::NotConnected => Ok(()),
        _ => Err(()),
    }
}

/// What became of an attack.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rounds: usize,
    /// Number of connections opened.
    pub(crate) connects: usize,
    /// Maximum number of attackers that were connected at once.
    pub(crate) most: usize,
}

/// What the attackers and the test tell each other.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) is_over: AtomicBool,
    /// Number of rounds so far.
    pub(crate) rounds: AtomicUsize,
}

/// Attacks with `count` attackers of all kinds until it is over.
///
/// Real attackers have machines of their own. On this one, they get what the server and its members
/// leave of the processors.
pub(crate) fn attack(server: SocketAddr, count: usize, signals: &Signals) -> Outcome {
    rustix::process::nice(5).expect("a thread may lower its priority");
    let ammunition = Attack::ALL.map(|attack| {
        Arc::new(Ammunition {
            first: attack.first(),
            flood: attack.flood(),
        })
    });
    let kinds = Attack::ALL.len();
    let mut attackers: Vec<Attacker> = (0..count)
        .map(|index| Attacker {
            attack: Attack::ALL[index % kinds],
            number: index / kinds,
            ammunition: Arc::clone(&ammunition[index % kinds]),
            stream: None,
            first: Vec::new(),
            sent: 0,
            rounds: 0,
        })
        .collect();
    let mut sink = vec![0; 64 * 1024];
    let mut outcome = Outcome::default();
    while !signals.is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut connects = 0;
        // Another attacker begins each time, so that all come to connect.
        attackers.rotate_left(MAX_ROUND_CONNECTS);
        for attacker in &mut attackers {
            if attacker.stream.is_none() && connects < MAX_ROUND_CONNECTS {
                connects += 1;
                attacker.connect(server);
            }
            attacker.round(&mut sink);
        }
        let connected = attackers.iter().filter(|it| it.stream.is_some()).count();
        outcome.most = outcome.most.max(connected);
        outcome.connects += connects;
        outcome.rounds = signals.rounds.fetch_add(1, Ordering::Relaxed) + 1;
        thread::sleep(ROUND.saturating_sub(began.elapsed()));
    }
    outcome
}
