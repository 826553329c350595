//! A member that stops reading delays no one, costs the server almost nothing, and gets the newest
//! counts when it reads again.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::support::{
    AdminSide, Client, Counts, FIN, Http, PING, PONG, RawSocket, Server, TEXT, dial,
    dial_with_small_buffer, eventually, masked, open_sockets, reaction, resident_bytes, skip,
    upgrade_head,
};

/// As many kinds as a room can have. Each has 32 bytes, and most of these need two bytes in JSON.
/// So a message with the counts has 16 KB, and keeping the messages that a slow member misses would
/// take 16 MB even if all members shared them.
pub(crate) const KINDS: usize = 256;
/// The first bytes of unfragmented frames.
const PONG_FRAME: u8 = FIN | PONG;
const TEXT_FRAME: u8 = FIN | TEXT;
const MISSED_FRAMES: usize = 1000;
const SLOW_MEMBERS: usize = 20;

pub(crate) fn kind(index: usize) -> String {
    format!("{index:\\>32}")
}

pub(crate) fn start() -> Server {
    Server::start(&[
        "--reactors",
        "1",
        "--tick-ms",
        "2",
        "--max-kinds",
        "256",
        "--ping-interval-ms",
        "0",
    ])
}

/// Joins with a member that reads its counts and then nothing.
fn join_slowly(server: &Server) -> RawSocket {
    let mut http = Http::over(dial_with_small_buffer(server, 2048));
    http.send(upgrade_head("/party/talk", ""));
    assert_eq!(http.response().status, 101);
    let mut member = RawSocket::after(http);
    member.text();
    member
}

fn fill(server: &Server) -> u64 {
    let mut http = Http::connect(server);
    for index in 0..KINDS {
        assert_eq!(
            http.post("/party/talk", &reaction(&kind(index))).status,
            200
        );
    }
    KINDS as u64
}

#[test]
fn a_slow_member_gets_the_newest_counts_later() {
    let server = start();
    let mut total = fill(&server);
    let (mut active, _) = Client::join(&server, "talk");
    let mut slow: Vec<_> = (0..SLOW_MEMBERS).map(|_| join_slowly(&server)).collect();
    let before = resident_bytes(&server);

    let mut slowest = Duration::ZERO;
    for round in 0..MISSED_FRAMES {
        let began = Instant::now();
        active.react(&kind(round % KINDS));
        total += 1;
        active.wait_for(|counts| counts.total() == total);
        slowest = slowest.max(began.elapsed());
    }
    assert!(
        slowest < Duration::from_secs(1),
        "an active member waited for {slowest:?}"
    );
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(
        grown < 4 << 20,
        "the server grew by {grown} bytes for members that don't read"
    );

    for member in &mut slow {
        let (mut frames, mut last) = (0, Counts::default());
        while last.total() < total {
            let counts = Counts::parse(&member.text());
            assert!(counts.covers(&last), "counts went down");
            (frames, last) = (frames + 1, counts);
        }
        assert_eq!(last.total(), total);
        assert!(frames < 10, "a slow member got {frames} frames");
    }

    // From now on they get every message again.
    active.react(&kind(0));
    active.wait_for(|counts| counts.total() == total + 1);
    for member in &mut slow {
        assert_eq!(Counts::parse(&member.text()).total(), total + 1);
    }
}

#[test]
fn a_member_that_reads_rarely_sees_whole_frames() {
    let server = start();
    let mut total = fill(&server);
    let (mut active, _) = Client::join(&server, "talk");
    let mut slow = join_slowly(&server);
    let mut last = Counts::default();
    for round in 0..100 {
        active.react(&kind(round % KINDS));
        total += 1;
        active.wait_for(|counts| counts.total() == total);
        if round % 10 == 9 {
            let counts = Counts::parse(&slow.text());
            assert!(counts.covers(&last), "counts went down");
            last = counts;
        }
    }
    while last.total() < total {
        let counts = Counts::parse(&slow.text());
        assert!(counts.covers(&last), "counts went down");
        last = counts;
    }
    assert_eq!(last.total(), total);
}

#[test]
fn pings_without_reading_cost_no_memory() {
    const PINGS: usize = 200_000;
    const PAYLOAD: [u8; 100] = [b'p'; 100];
    let server = start();
    let mut bystander = Client::enter(&server, "talk");
    let mut flooder = join_slowly(&server);
    let before = resident_bytes(&server);
    let stream = flooder.stream();
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let ping = masked(FIN | PING, &PAYLOAD);
    let flood = ping.repeat(100);
    let mut pings = 0;
    // The server may drop its pongs, or stop reading until the client reads them.
    while pings < PINGS && std::io::Write::write_all(&mut flooder.stream(), &flood).is_ok() {
        pings += 100;
    }
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(
        grown < 1 << 20,
        "after {pings} pings the server grew by {grown} bytes"
    );
    bystander.react("love");
    bystander.wait_for(|counts| counts.of("love") == 1);
    // When the client reads again, it gets whole pongs and the counts.
    let mut has_counts = false;
    while !has_counts {
        let frame = flooder.frame();
        match frame.first {
            PONG_FRAME => assert_eq!(frame.payload, PAYLOAD),
            TEXT_FRAME => has_counts = frame.payload == br#"{"love":1}"#,
            _ => panic!("unexpected: {frame:?}"),
        }
    }
}

#[test]
fn vanished_members_are_forgotten() {
    let server = start();
    let mut active = Client::enter(&server, "talk");
    let settled = open_sockets(&server);
    for _ in 0..20 {
        let members: Vec<_> = (0..20).map(|_| join_slowly(&server)).collect();
        active.react("love");
        drop(members);
    }
    active.wait_for(|counts| counts.of("love") == 20);
    eventually("all their sockets are closed", || {
        open_sockets(&server) == settled
    });
}

#[test]
fn slow_members_do_not_delay_shutdown() {
    let mut server = start();
    let total = fill(&server);
    let _slow: Vec<_> = (0..SLOW_MEMBERS).map(|_| join_slowly(&server)).collect();
    let (mut active, _) = Client::join(&server, "talk");
    for round in 1..=50 {
        active.react(&kind(0));
        active.wait_for(|counts| counts.total() == total + round);
    }
    let began = Instant::now();
    server.terminate();
    assert_eq!(active.close_code(), Some(1001));
    assert_eq!(server.wait().code(), Some(0));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

/// Pages of memory that TCP uses on this machine.
fn tcp_pages() -> u64 {
    let sockstat = fs::read_to_string("/proc/net/sockstat").expect("Linux has it");
    let tcp = sockstat.lines().find(|line| line.starts_with("TCP:"));
    let pages = tcp.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    pages.expect("a number of pages")
}

/// Sends requests without reading responses until the server takes no more.
fn clog(server: &Server) -> TcpStream {
    let mut stream = dial(server);
    let socket = SockRef::from(&stream);
    socket.set_send_buffer_size(1 << 20).expect("TCP");
    let patience = Some(Duration::from_millis(20));
    stream.set_write_timeout(patience).expect("not zero");
    let requests = "GET /party/clogged HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    while stream.write_all(requests.as_bytes()).is_ok() {}
    stream
}

#[test]
fn clients_that_take_nothing_end_while_tcp_memory_is_scarce() {
    // One percent of the mark, so that a few clients are enough.
    let arguments = ["--reactors", "1", "--in-flight-percent", "1"];
    let (server, admin) = AdminSide::start(&arguments);
    let tcp_mem = fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").expect("Linux has it");
    let mark = tcp_mem
        .split_whitespace()
        .nth(1)
        .and_then(|it| it.parse::<u64>().ok());
    let limit = mark.expect("three numbers") / 100;
    if limit > 1 << 14 {
        return skip("this machine lets TCP use too much memory for a test to fill");
    }
    let is_over = AtomicBool::new(false);
    let longest = thread::scope(|scope| {
        let honest = scope.spawn(|| longest_wait(&server, &is_over));
        // However this thread ends, the other one ends too.
        let over = Over(&is_over);
        let ended = || admin.metric("ovation_closed_total{reason=\"tcp_memory\"}");
        let mut clogged = Vec::new();
        while ended() == 0.0 {
            assert!(clogged.len() < 500, "none has ended");
            clogged.push(clog(&server));
        }
        eventually("so many have ended that the others may stay", || {
            tcp_pages() <= limit || ended() >= clogged.len() as f64
        });
        drop(over);
        honest.join().expect("it stays a member")
    });
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

/// Reacts until `is_over`, and returns the longest time that a reaction took to come back.
fn longest_wait(server: &Server, is_over: &AtomicBool) -> Duration {
    let (mut member, _) = Client::join(server, "talk");
    let (mut expected, mut longest) = (0, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        member.react("love");
        expected += 1;
        member.wait_for(|counts| counts.of("love") == expected);
        longest = longest.max(sent.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    longest
}

/// Sets the flag when it is dropped.
struct Over<'f>(&'f AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
