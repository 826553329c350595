//! What is left when the server ends, in whatever way it does.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tungstenite::Message;

use crate::support::{
    Chance, Client, Counts, Http, RawSocket, Server, directory, eventually, masked, reaction,
    refused,
};

#[test]
fn a_restart_keeps_every_count_and_tells_the_clients() {
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
    let (mut member, _) = {
        let mut client = Client::open(&server, "/party/talk");
        let text = client.next_text();
        assert_eq!(text, r#"{"love":2,"clap":1,"❤":1}"#);
        (client, text)
    };
    let mut http = Http::connect(&server);
    for room in 0..50 {
        let counts = http.get(&format!("/parties/stage/{room}%20%E2%9D%A4")).body;
        assert_eq!(counts, r#"{"wow":1}"#, "room {room}");
    }
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 3);
}

#[test]
fn a_server_restarts_at_the_address_that_it_had() {
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
fn what_was_sent_before_the_server_was_told_to_stop_is_counted() {
    const REACTIONS: usize = 2000;
    let home = directory();
    let mut server = Server::start_in(home.path(), &["--tick-ms", "1000"]);
    let mut socket = RawSocket::enter(&server, "talk");
    socket.send(&masked(0x81, reaction("love").as_bytes()).repeat(REACTIONS));
    // Once the pong is here, all before it has been read.
    socket.send(&masked(0x89, b""));
    while socket.frame().first != 0x8a {}
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    let server = Server::start_in(home.path(), &[]);
    assert_eq!(Client::join(&server, "talk").1.of("love"), REACTIONS as u64);
}

#[test]
fn a_second_server_is_kept_out_and_told_by_whom() {
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
    // A lock dies with its holder, however that dies.
    server.kill();
    let server = Server::start_in(home.path(), &[]);
    assert_eq!(Client::join(&server, "talk").1.of("love"), 1);
}

#[test]
fn a_file_that_is_no_snapshot_is_refused_and_left_as_it_is() {
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

/// Rounds of one server, and what is known of its counts.
struct Rounds<'h> {
    home: &'h Path,
    chance: Chance,
    /// What a client has seen: no less may be left.
    seen: Counts,
    /// How many reactions of each kind may have reached the server: no more may be left.
    sent: [u64; KINDS.len()],
    sent_in_all: u64,
    /// The room that was new in the last round, and what was seen there.
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
            // The sender may be in a write; its socket is dead now, and yet let it be sure.
            let _ = stream.shutdown(std::net::Shutdown::Both);
            (
                sent.join().unwrap(),
                seen.join().unwrap(),
                posted.join().unwrap(),
            )
        });
        for (total, more) in self.sent.iter_mut().zip(sent) {
            *total += more;
            self.sent_in_all += more;
        }
        self.seen = seen;
        self.newest = Some((room, seen_in_new));
    }

    fn check(&mut self, number: usize, found: &Counts) {
        assert!(
            found.covers(&self.seen),
            "round {number}: reactions that were seen are lost: {found} left of {}",
            self.seen
        );
        for (kind, sent) in KINDS.iter().zip(&mut self.sent) {
            let count = found.of(kind);
            assert!(
                count <= *sent,
                "round {number}: {count} of {kind}, and {sent} were sent"
            );
            // What did not arrive in its round can't arrive later.
            *sent = count;
        }
        assert!(
            found.kinds().all(|kind| KINDS.contains(&kind)),
            "round {number}: {found}"
        );
    }
}

/// Sends as fast as the server takes it; how many of each kind may have arrived.
fn flood(sender: &mut RawSocket, order: usize) -> [u64; KINDS.len()] {
    let mut sent = [0; KINDS.len()];
    for index in (0..KINDS.len()).cycle().skip(order) {
        let batch = masked(0x81, reaction(KINDS[index]).as_bytes()).repeat(BATCH as usize);
        sent[index] += BATCH;
        if sender.stream().write_all(&batch).is_err() {
            break;
        }
    }
    sent
}

/// Reads until the server is dead; the last counts that were seen.
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

/// Adds kinds to a new room until the server is dead; the last counts that were seen.
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

/// How often servers are killed if `OVATION_SIGKILLS` says nothing else.
const SIGKILLS: usize = 200;

#[test]
fn sigkills_lose_nothing_that_was_seen_and_count_nothing_that_was_not_sent() {
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
                    sent_in_all: 0,
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
                    rounds.sent_in_all
                );
                assert!(rounds.seen.total() > 0, "nothing was seen in any round");
                eventually("it has said that no count was behind", || {
                    survivor.log().contains("restored_counts=0")
                });
            });
        }
    });
}
