//! Which counts are left after the server ends: after a stop, a SIGKILL, a refused start.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tungstenite::Message;

use crate::support::{
    Chance, Client, Counts, FIN, Http, PING, PONG, RawSocket, Server, directory, eventually,
    masked, reaction, reaction_frame, refused,
};

#[test]
fn a_restart_closes_with_1001_and_keeps_every_count() {
    let home = directory();
    let mut server = Server::start_in(home.path(), &["--party", "main,stage"]);
    let mut member = Client::enter(&server, "talk");
    let mut guest = Client::enter(&server, "talk");
    for kind in ["love", "clap", "love", "❤"] {
        member.react(kind);
    }
    member.wait_for(|counts| counts.total() == 4);
    let mut http = Http::connect(&server);
    for room in 0..50 {
        http.post(
            &format!("/parties/stage/{room}%20%E2%9D%A4"),
            &reaction("wow"),
        );
    }
    server.terminate();
    assert_eq!(member.close_code(), Some(1001));
    assert_eq!(guest.close_code(), Some(1001));
    assert_eq!(server.wait().code(), Some(0));

    let server = Server::start_in(home.path(), &["--party", "main,stage"]);
    let mut member = Client::open(&server, "/party/talk");
    assert_eq!(member.next_text(), r#"{"love":2,"clap":1,"❤":1}"#);
    let mut http = Http::connect(&server);
    for room in 0..50 {
        let counts = http.get(&format!("/parties/stage/{room}%20%E2%9D%A4")).body;
        assert_eq!(counts, r#"{"wow":1}"#, "room {room}");
    }
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 3);
}

#[test]
fn a_server_can_restart_at_the_same_address() {
    let home = directory();
    let server = Server::start_in(home.path(), &[]);
    let address = server.address().to_owned();
    let mut member = Client::enter(&server, "talk");
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start_in(home.path(), &["--listen", &address]);
    assert_eq!(server.address(), address);
    assert_eq!(Client::join(&server, "talk").1.of("love"), 1);
}

#[test]
fn reactions_sent_before_sigterm_are_counted() {
    const REACTIONS: usize = 2000;
    let home = directory();
    let mut server = Server::start_in(home.path(), &["--tick-ms", "1000"]);
    let mut socket = RawSocket::enter(&server, "talk");
    socket.send(&reaction_frame("love").repeat(REACTIONS));
    // Once the pong arrives, the server has read everything before the ping.
    socket.send(&masked(FIN | PING, b""));
    while socket.frame().first != FIN | PONG {}
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    let server = Server::start_in(home.path(), &[]);
    assert_eq!(Client::join(&server, "talk").1.of("love"), REACTIONS as u64);
}

#[test]
fn a_second_server_is_told_the_pid_of_the_first() {
    let home = directory();
    let mut server = Server::start_in(home.path(), &[]);
    let failed = refused(home.path(), &[]);
    assert_eq!(failed.code, Some(4), "{}", failed.message);
    let pid = format!("pid {}", server.pid());
    assert!(
        failed.message.contains(&pid),
        "no {pid} in {}",
        failed.message
    );
    let mut member = Client::enter(&server, "talk");
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    // The lock ends with its holder, even after a SIGKILL.
    server.kill();
    let server = Server::start_in(home.path(), &[]);
    assert_eq!(Client::join(&server, "talk").1.of("love"), 1);
}

#[test]
fn a_foreign_file_is_refused_and_left_unchanged() {
    let home = directory();
    for (name, content) in [
        ("short", b"hello".to_vec()),
        (
            "text",
            b"The quick brown fox jumps over the lazy dog.\n".repeat(1000),
        ),
        (
            "zeros, then text",
            [vec![0; 1 << 20], vec![b'x'; 4096]].concat(),
        ),
    ] {
        let path = home.path().join(name);
        fs::write(&path, &content).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let failed = refused(home.path(), &["--snapshot", path.to_str().unwrap()]);
        assert_eq!(failed.code, Some(4), "{name}: {}", failed.message);
        for part in [path.to_str().unwrap(), "--snapshot"] {
            assert!(failed.message.contains(part), "{name}: {}", failed.message);
        }
        assert!(fs::read(&path).unwrap() == content, "{name} was changed");
        assert_eq!(
            fs::metadata(&path).unwrap().modified().unwrap(),
            modified,
            "{name}"
        );
    }
    let missing = home.path().join("no/such/directory/snapshot");
    let failed = refused(home.path(), &["--snapshot", missing.to_str().unwrap()]);
    assert_eq!(failed.code, Some(4), "{}", failed.message);
}

/// Lives of one server, each ended by a SIGKILL, and what is known of its counts.
struct Rounds<'h> {
    home: &'h Path,
    chance: Chance,
    /// What a client has seen. No less may be left.
    seen: Counts,
    /// Reactions of each kind that may have reached the server. No more may be left.
    sent: [u64; KINDS.len()],
    sent_total: u64,
    /// The room that the last round created, and the counts seen there.
    newest: Option<(String, Counts)>,
}

const KINDS: [&str; 5] = ["love", "clap", "wow", "❤", "a kind with a name of its own"];
const BATCH: u64 = 50;

impl Rounds<'_> {
    fn round(&mut self, number: usize) {
        let flush_interval_ms = (1 + self.chance.below(40)).to_string();
        let arguments = ["--tick-ms", "2", "--flush-interval-ms", &flush_interval_ms];
        let mut server = Server::start_in(self.home, &arguments);
        let (client, found) = Client::join(&server, "talk");
        self.check(number, &found);
        if let Some((room, seen)) = &self.newest {
            let found = Counts::parse(&Http::connect(&server).get(room).body);
            assert!(
                found.covers(seen),
                "round {number}: {room}: {found} left of {seen}"
            );
        }

        let mut sender = RawSocket::enter(&server, "talk");
        let stream = sender.stream().try_clone().unwrap();
        let order = self.chance.below(KINDS.len() as u64) as usize;
        let life = Duration::from_millis(20 + self.chance.below(80));
        let room = format!("/party/new%20{number}");
        let (sent, seen, seen_in_new) = thread::scope(|scope| {
            let sent = scope.spawn(|| flood(&mut sender, order));
            let seen = scope.spawn(move || watch(client, found));
            let http = Http::connect(&server);
            let posted = scope.spawn(|| post(http, &room));
            thread::sleep(life);
            server.kill();
            // Ends a write that the sender may be blocked in.
            let _ = stream.shutdown(std::net::Shutdown::Both);
            (
                sent.join().unwrap(),
                seen.join().unwrap(),
                posted.join().unwrap(),
            )
        });
        for (total, more) in self.sent.iter_mut().zip(sent) {
            *total += more;
            self.sent_total += more;
        }
        self.seen = seen;
        self.newest = Some((room, seen_in_new));
    }

    fn check(&mut self, number: usize, found: &Counts) {
        assert!(
            found.covers(&self.seen),
            "round {number}: lost reactions that a client had seen: {found} left of {}",
            self.seen
        );
        for (kind, sent) in KINDS.iter().zip(&mut self.sent) {
            let count = found.of(kind);
            assert!(
                count <= *sent,
                "round {number}: {count} of {kind} counted, but only {sent} sent"
            );
            // Reactions that didn't arrive in their round can't arrive later.
            *sent = count;
        }
        assert!(
            found.kinds().all(|kind| KINDS.contains(&kind)),
            "round {number}: {found}"
        );
    }
}

/// Sends as fast as the server reads. Returns how many of each kind may have arrived.
fn flood(sender: &mut RawSocket, order: usize) -> [u64; KINDS.len()] {
    let mut sent = [0; KINDS.len()];
    for index in (0..KINDS.len()).cycle().skip(order) {
        let batch = reaction_frame(KINDS[index]).repeat(BATCH as usize);
        sent[index] += BATCH;
        if sender.stream().write_all(&batch).is_err() {
            break;
        }
    }
    sent
}

/// Reads until the server dies, and returns the last counts.
fn watch(mut client: Client<TcpStream>, found: Counts) -> Counts {
    let mut seen = found;
    while let Ok(message) = client.socket.read() {
        if let Message::Text(text) = message {
            let counts = Counts::parse(text.as_str());
            assert!(counts.covers(&seen), "{seen} went down to {counts}");
            seen = counts;
        }
    }
    seen
}

/// Adds kinds to a new room until the server dies, and returns the last counts.
fn post(mut http: Http, room: &str) -> Counts {
    let mut seen = Counts::default();
    for number in (0..40).cycle() {
        match http.try_post(room, &reaction(&format!("kind {number}"))) {
            Some(response) if response.status == 200 => seen = Counts::parse(&response.body),
            Some(response) => panic!("{room}: {}", response.status),
            None => break,
        }
    }
    seen
}

/// Default number of SIGKILLs. `OVATION_SIGKILLS` changes it.
const SIGKILLS: usize = 200;

#[test]
fn sigkills_lose_nothing_seen_and_count_nothing_twice() {
    const SERVERS: u64 = 4;
    let sigkills = std::env::var("OVATION_SIGKILLS").map_or(SIGKILLS, |number| {
        number.parse().expect("OVATION_SIGKILLS is a number")
    });
    let rounds_each = sigkills.div_ceil(SERVERS as usize);
    let seed = match std::env::var("OVATION_TEST_SEED") {
        Ok(seed) => seed.parse().expect("OVATION_TEST_SEED is a number"),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64,
    };
    println!("OVATION_TEST_SEED={seed}");
    thread::scope(|scope| {
        for server in 0..SERVERS {
            scope.spawn(move || {
                let home = directory();
                let mut rounds = Rounds {
                    home: home.path(),
                    chance: Chance::seeded(seed.wrapping_add(server)),
                    seen: Counts::default(),
                    sent: [0; KINDS.len()],
                    sent_total: 0,
                    newest: None,
                };
                for number in 0..rounds_each {
                    rounds.round(number);
                }
                let survivor = Server::start_in(home.path(), &[]);
                let left = Client::join(&survivor, "talk").1;
                rounds.check(rounds_each, &left);
                println!(
                    "server {server}: {rounds_each} SIGKILLs, {} reactions seen, {} left, 0 lost, \
                     0 of {} sent counted twice",
                    rounds.seen.total(),
                    left.total(),
                    rounds.sent_total
                );
                assert!(rounds.seen.total() > 0, "no reaction was seen in any round");
                eventually("the log says that no count needed repair", || {
                    survivor.log().contains("restored_counts=0")
                });
            });
        }
    });
}
