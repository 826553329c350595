//! A member that stops reading costs the others nothing and the server next to nothing, and gets
//! the newest counts when it reads again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::{
    Client, Counts, Http, PATIENCE, RawSocket, Server, eventually, masked, open_sockets, reaction,
    resident_bytes, upgrade_head,
};

/// As many kinds as a room can have, each of 32 bytes, most of which are two in JSON: a frame of
/// the counts has 16 KB, and the server would need 16 MB to keep the frames that a slow member
/// misses, even if all members shared them.
pub(crate) const KINDS: usize = 256;
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

/// A member for which the kernel keeps as little as it can.
fn enter_slowly(server: &Server) -> RawSocket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let address: SocketAddr = server.address().parse().unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut http = Http::over(socket.into());
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
fn members_that_stop_reading_get_the_newest_counts_when_they_read_again() {
    let server = start();
    let mut total = fill(&server);
    let (mut active, _) = Client::join(&server, "talk");
    let mut slow: Vec<_> = (0..SLOW_MEMBERS).map(|_| enter_slowly(&server)).collect();
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
        assert!(frames < 10, "a slow member was sent {frames} frames");
    }

    // From here on they are members like any other.
    active.react(&kind(0));
    active.wait_for(|counts| counts.total() == total + 1);
    for member in &mut slow {
        assert_eq!(Counts::parse(&member.text()).total(), total + 1);
    }
}

#[test]
fn a_member_that_reads_in_sips_sees_whole_frames_that_never_go_down() {
    let server = start();
    let mut total = fill(&server);
    let (mut active, _) = Client::join(&server, "talk");
    let mut slow = enter_slowly(&server);
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
fn a_member_that_pings_without_reading_costs_the_server_nothing() {
    const PINGS: usize = 200_000;
    let server = start();
    let mut bystander = Client::enter(&server, "talk");
    let mut flooder = enter_slowly(&server);
    let before = resident_bytes(&server);
    let stream = flooder.stream();
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let ping = masked(0x89, &[b'p'; 100]);
    let flood = ping.repeat(100);
    let mut pings = 0;
    // A server that doesn't read on until its answers are read is as good as one that drops them.
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
    // When it reads, it gets pongs, whole, and the counts.
    let mut has_counts = false;
    while !has_counts {
        let frame = flooder.frame();
        match frame.first {
            0x8a => assert_eq!(frame.payload, [b'p'; 100]),
            0x81 => has_counts = frame.payload == br#"{"love":1}"#,
            first => panic!("a frame that starts with {first:#x}"),
        }
    }
}

#[test]
fn members_that_vanish_are_forgotten() {
    let server = start();
    let mut active = Client::enter(&server, "talk");
    let settled = open_sockets(&server);
    for _ in 0..20 {
        let members: Vec<_> = (0..20).map(|_| enter_slowly(&server)).collect();
        active.react("love");
        drop(members);
    }
    active.wait_for(|counts| counts.of("love") == 20);
    eventually("as many sockets as before", || {
        open_sockets(&server) == settled
    });
}

#[test]
fn members_that_do_not_read_do_not_keep_the_server_from_stopping() {
    let mut server = start();
    let total = fill(&server);
    let _slow: Vec<_> = (0..SLOW_MEMBERS).map(|_| enter_slowly(&server)).collect();
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
    assert!(took < Duration::from_secs(5), "it stopped after {took:?}");
}
