//! Many members and many reactors: every member ends on the exact counts, sees no count go down,
//! and gets at most one message per tick.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tungstenite::Message;

use crate::support::{
    Chance, Client, Counts, Http, PATIENCE, RawSocket, Server, eventually, raise_descriptor_limit,
    reaction, reaction_frame, switches_of,
};

/// Flooders whose shares of 64 KiB together exceed the megabyte that a reactor reads in a turn.
const FLOODERS: usize = 24;

/// Members that one thread drives, each with reactions to send.
struct Crowd {
    poll: Poll,
    members: Vec<Member>,
}

struct Member {
    client: Client,
    seen: Counts,
    frames: usize,
    to_send: VecDeque<&'static str>,
}

impl Crowd {
    fn enter(server: &Server, room: &str, size: usize) -> Self {
        let poll = Poll::new().unwrap();
        let members = (0..size)
            .map(|index| {
                let (client, seen) = Client::join(server, room);
                let stream: &TcpStream = client.socket.get_ref();
                stream.set_nonblocking(true).unwrap();
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut SourceFd(&stream.as_raw_fd()), Token(index), interest)
                    .unwrap();
                Member {
                    client,
                    seen,
                    frames: 0,
                    to_send: VecDeque::new(),
                }
            })
            .collect();
        Self { poll, members }
    }

    /// Sends all reactions, and reads until every member has seen `total` of them.
    fn converge(&mut self, total: u64) {
        let deadline = Instant::now() + 3 * PATIENCE;
        let mut events = Events::with_capacity(1024);
        // A member that only has something to send causes no event.
        for member in &mut self.members {
            member.turn();
        }
        while self
            .members
            .iter()
            .any(|member| member.seen.total() < total)
        {
            let behind = self
                .members
                .iter()
                .filter(|it| it.seen.total() < total)
                .count();
            assert!(
                Instant::now() < deadline,
                "{behind} of {} members have not seen {total} reactions; the first member saw {}",
                self.members.len(),
                self.members[0].seen
            );
            self.poll
                .poll(&mut events, Some(Duration::from_secs(1)))
                .unwrap();
            for event in &events {
                self.members[event.token().0].turn();
            }
        }
    }
}

impl Member {
    fn turn(&mut self) {
        while let Some(kind) = self.to_send.pop_front() {
            match self.client.socket.send(reaction(kind).into()) {
                Ok(()) => {}
                // The message is in tungstenite's buffer; the next flush sends it.
                Err(error) if would_block(&error) => break,
                Err(error) => panic!("can't send: {error}"),
            }
        }
        loop {
            match self.client.socket.read() {
                Ok(Message::Text(text)) => self.see(text.as_str()),
                Ok(Message::Ping(_)) => {}
                Ok(other) => panic!("expected counts, got {other:?}"),
                Err(error) if would_block(&error) => break,
                Err(error) => panic!("expected counts, got the error {error}"),
            }
        }
        match self.client.socket.flush() {
            Err(error) if !would_block(&error) => panic!("can't send: {error}"),
            _ => {}
        }
    }

    fn see(&mut self, text: &str) {
        let counts = Counts::parse(text);
        assert!(
            counts.covers(&self.seen),
            "{} went down to {counts}",
            self.seen
        );
        self.seen = counts;
        self.frames += 1;
    }
}

fn would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_thousand_members_converge_on_exact_counts() {
    const MEMBERS: usize = 1000;
    const KINDS: [&str; 5] = ["love", "clap", "wow", "❤", "constructor"];
    raise_descriptor_limit();
    let server = Server::start(&["--tick-ms", "20"]);
    let mut crowd = Crowd::enter(&server, "talk", MEMBERS);
    for member in &mut crowd.members {
        member.to_send = KINDS.iter().chain(&KINDS).copied().collect();
    }
    crowd.converge(10 * MEMBERS as u64);
    for member in &crowd.members {
        for kind in KINDS {
            assert_eq!(
                member.seen.of(kind),
                2 * MEMBERS as u64,
                "{kind} in {}",
                member.seen
            );
        }
    }
    let (_, counts) = Client::join(&server, "talk");
    assert_eq!(counts.total(), 10 * MEMBERS as u64);
}

#[test]
fn members_on_two_reactors_see_every_reaction() {
    const MEMBERS: usize = 100;
    let server = Server::start(&["--reactors", "2"]);
    let before = ["reactor-0", "reactor-1"].map(|name| switches_of(&server, name));
    let mut crowd = Crowd::enter(&server, "talk", MEMBERS);
    for (name, before) in ["reactor-0", "reactor-1"].into_iter().zip(before) {
        let woken = switches_of(&server, name) - before;
        assert!(
            woken > 10,
            "{name} woke up {woken} times for {MEMBERS} members"
        );
    }
    for round in 1..=5 {
        for member in &mut crowd.members {
            member.to_send.push_back("love");
        }
        crowd.converge(round * MEMBERS as u64);
    }
    // A request may reach either reactor; members on both must see its reaction.
    for extra in 1..=8 {
        Http::connect(&server).post("/party/talk", &reaction("clap"));
        crowd.converge(5 * MEMBERS as u64 + extra);
    }
}

#[test]
fn a_quiet_room_sends_at_once_then_once_per_tick() {
    const TICK: Duration = Duration::from_millis(1500);
    let server = Server::start(&["--tick-ms", "1500"]);
    let mut alice = Client::enter(&server, "talk");
    let mut bob = Client::enter(&server, "talk");
    for round in 0..2 {
        let began = Instant::now();
        alice.react("love");
        bob.next_text();
        let took = began.elapsed();
        assert!(
            took < TICK / 2,
            "round {round}: the first reaction took {took:?}"
        );
        for _ in 0..3 {
            alice.react("love");
        }
        let counts = bob.next_counts();
        let took = began.elapsed();
        assert_eq!(
            counts.of("love"),
            4 * (round + 1),
            "three reactions make one message"
        );
        assert!(
            took > TICK - Duration::from_millis(200),
            "round {round}: the next message came after only {took:?}"
        );
        assert!(
            took < 2 * TICK,
            "round {round}: the next message took {took:?}"
        );
        alice.wait_for(|counts| counts.of("love") == 4 * (round + 1));
        // The room is quiet again a tick after its last message. No event shows that.
        thread::sleep(TICK + Duration::from_millis(100));
    }
}

#[test]
fn a_burst_makes_few_frames_and_the_last_is_exact() {
    const REACTIONS: u64 = 20_000;
    const TICK: Duration = Duration::from_millis(50);
    let server = Server::start(&["--tick-ms", "50"]);
    let mut crowd = Crowd::enter(&server, "talk", 20);
    let mut sender = RawSocket::enter(&server, "talk");
    let began = Instant::now();
    let burst = reaction_frame("love").repeat(REACTIONS as usize / 10);
    for _ in 0..10 {
        sender.send(&burst);
    }
    crowd.converge(REACTIONS);
    let ticks = began.elapsed().as_millis() / TICK.as_millis();
    for member in &crowd.members {
        assert_eq!(member.seen.of("love"), REACTIONS);
        // One at once, one per tick, and one for a tick that had begun.
        assert!(
            member.frames as u128 <= ticks + 2,
            "{} frames in {ticks} ticks",
            member.frames
        );
    }
}

#[test]
fn members_can_join_and_leave_in_any_order() {
    const MEMBERS: usize = 30;
    let server = Server::start(&["--tick-ms", "1", "--reactors", "2"]);
    let enter = || Client::enter(&server, "talk");
    let mut members: Vec<Client> = (0..MEMBERS).map(|_| enter()).collect();
    let mut chance = Chance::seeded(MEMBERS as u64);
    for total in 1..=50 {
        for _ in 0..5 {
            let leaves = chance.below(members.len() as u64) as usize;
            members.swap_remove(leaves);
        }
        members.extend((0..5).map(|_| enter()));
        let reacts = chance.below(members.len() as u64) as usize;
        members[reacts].react("love");
        for member in &mut members {
            member.wait_for(|counts| counts.of("love") == total);
        }
    }
}

#[test]
fn many_flooders_do_not_starve_other_rooms() {
    let server = Server::start(&["--reactors", "1", "--no-snapshot"]);
    let frames = reaction_frame("love").repeat(4000);
    let is_over = AtomicBool::new(false);
    let written = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..FLOODERS {
            scope.spawn(|| {
                let flooder = Client::enter(&server, "flood");
                let mut stream: &TcpStream = flooder.socket.get_ref();
                while !is_over.load(Ordering::Relaxed) && stream.write_all(&frames).is_ok() {
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Ends the flood even if the test fails, because the scope waits for the flooders.
        let _end = SetOnDrop(&is_over);
        eventually("the flood has started", || {
            written.load(Ordering::Relaxed) > 10 * FLOODERS
        });
        let mut bystander = Client::enter(&server, "calm");
        for count in 1..=5 {
            bystander.react("clap");
            bystander.wait_for(|counts| counts.of("clap") == count);
        }
    });
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
