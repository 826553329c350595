//! The honest members: they react at a sane rate and measure how soon they see it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::support::{
    FIN, Http, PATIENCE, PING, PONG, Server, TEXT, masked, reaction_frame, upgrade_head,
};

/// Time between two reactions of all members together.
const PAUSE: Duration = Duration::from_millis(5);

/// Members that one thread drives.
#[derive(Debug)]
pub(crate) struct Members {
    poll: Poll,
    events: Events,
    members: Vec<Member>,
    /// Number of reactions that all members have sent.
    pub(crate) sent: u64,
    /// The member that reacts next.
    next: usize,
    latencies: Vec<Duration>,
}

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    input: Vec<u8>,
    /// The count of the members' kind that came last.
    seen: u64,
    /// Reactions of this member that it has not seen: the count that includes each, and when it was
    /// sent.
    waiting: VecDeque<(u64, Instant)>,
}

impl Members {
    pub(crate) fn join(server: &Server, count: usize) -> Self {
        let poll = Poll::new().unwrap();
        let members = (0..count).map(|index| {
            let mut http = Http::connect(server);
            http.send(upgrade_head("/party/talk", ""));
            assert_eq!(http.response().status, 101);
            let buffered = http.into_inner();
            let input = buffered.buffer().to_vec();
            let stream = buffered.into_inner();
            stream.set_nonblocking(true).unwrap();
            let fd = stream.as_raw_fd();
            let registry = poll.registry();
            registry
                .register(&mut SourceFd(&fd), Token(index), Interest::READABLE)
                .unwrap();
            Member {
                stream,
                input,
                seen: 0,
                waiting: VecDeque::new(),
            }
        });
        Self {
            members: members.collect(),
            poll,
            events: Events::with_capacity(1024),
            sent: 0,
            next: 0,
            latencies: Vec::new(),
        }
    }

    /// Lets the members react for `period`, one after another, and longer until `is_enough`.
    /// Returns the 99th percentile of the time until a member saw its reaction.
    ///
    /// # Panics
    /// If it is not enough after a long time.
    pub(crate) fn react_for(&mut self, period: Duration, is_enough: impl Fn() -> bool) -> Duration {
        let began = Instant::now();
        let mut due = began;
        while began.elapsed() < period || !is_enough() {
            assert!(began.elapsed() < period + 6 * PATIENCE, "not enough yet");
            while due <= Instant::now() {
                self.react();
                due += PAUSE;
            }
            self.receive(due.saturating_duration_since(Instant::now()));
        }
        self.converge();
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.sort_unstable();
        latencies[latencies.len() * 99 / 100]
    }

    /// Reads until every member has seen every reaction, and no more than those.
    fn converge(&mut self) {
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            let behind = self.members.iter().filter(|it| it.seen < self.sent).count();
            if behind == 0 {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{behind} members have not seen all {} reactions",
                self.sent
            );
            self.receive(Duration::from_millis(100));
        }
        assert!(self.members.iter().all(|member| member.seen == self.sent));
    }

    fn react(&mut self) {
        self.sent += 1;
        let reacts = self.next;
        self.next = (self.next + 1) % self.members.len();
        let member = &mut self.members[reacts];
        member.waiting.push_back((self.sent, Instant::now()));
        // The socket of a member that reacts every few seconds is never full.
        let frame = reaction_frame("love");
        member.stream.write_all(&frame).expect("a member may react");
    }

    fn receive(&mut self, most: Duration) {
        self.poll.poll(&mut self.events, Some(most)).unwrap();
        for event in &self.events {
            self.members[event.token().0].receive(&mut self.latencies);
        }
    }
}

impl Member {
    fn receive(&mut self, latencies: &mut Vec<Duration>) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("a member was disconnected"),
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("a member was disconnected: {error}"),
            }
        }
        while let Some((first, payload)) = self.next_frame() {
            if first == FIN | TEXT {
                self.see(&payload);
            } else if first == FIN | PING {
                let pong = masked(FIN | PONG, &payload);
                self.stream.write_all(&pong).expect("a member may answer");
            } else {
                panic!("a member got the frame {first:#x}");
            }
        }
        while let Some((count, since)) = self.waiting.front()
            && *count <= self.seen
        {
            latencies.push(since.elapsed());
            self.waiting.pop_front();
        }
    }

    fn see(&mut self, counts: &[u8]) {
        let text = std::str::from_utf8(counts).expect("UTF-8");
        let Some((_, rest)) = text.split_once("\"love\":") else {
            return;
        };
        let digits = rest.split([',', '}']).next().expect("a count");
        let seen: u64 = digits.parse().expect("a count");
        assert!(seen >= self.seen, "{} fell to {seen}", self.seen);
        self.seen = seen;
    }

    /// Takes the next whole frame.
    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&[first, second], rest) = self.input.split_first_chunk()?;
        let (length, start) = match second {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            short => (usize::from(short), 2),
        };
        let payload = self.input.get(start..start + length)?.to_vec();
        self.input.drain(..start + length);
        Some((first, payload))
    }
}
