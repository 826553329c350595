//! What the server does while nothing happens: nothing. And pings, where they are wanted.

use std::io::{ErrorKind, Read};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::Message;

use crate::support::{Client, PATIENCE, RawSocket, Server, eventually, masked, switches};

const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Waits until no thread has woken up for a while.
pub(crate) fn settle(server: &Server) -> u64 {
    let (mut last, mut since) = (switches(server), Instant::now());
    eventually("half a second without a wake-up", || {
        let now = switches(server);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    last
}

#[test]
fn an_idle_server_does_not_wake_up() {
    let server = Server::start(&[
        "--ping-interval-ms",
        "0",
        "--head-timeout-ms",
        "100",
        "--flush-interval-ms",
        "50",
    ]);
    let mut members: Vec<_> = (0..100).map(|_| Client::enter(&server, "talk")).collect();
    members[0].react("love");
    for member in &mut members {
        member.wait_for(|counts| counts.of("love") == 1);
    }
    let settled = settle(&server);
    thread::sleep(Duration::from_secs(2));
    let woken = switches(&server) - settled;
    assert_eq!(
        woken, 0,
        "with 100 silent members it woke up {woken} times in 2 s"
    );
    members[99].react("love");
    members[0].wait_for(|counts| counts.of("love") == 2);
}

#[test]
fn few_members_cost_few_wake_ups_for_pings() {
    let server = Server::start(&["--reactors", "1", "--ping-interval-ms", "3000"]);
    let mut members: Vec<_> = (0..10).map(|_| RawSocket::enter(&server, "talk")).collect();
    let before = switches(&server);
    // Each is pinged once, which takes at most three intervals.
    for member in &mut members {
        assert_eq!(member.frame().first, PING);
    }
    let woken = switches(&server) - before;
    assert!(woken < 30, "for 10 pings it woke up {woken} times");
}

#[test]
fn a_silent_client_is_pinged_and_stays_while_it_answers() {
    let server = Server::start(&["--ping-interval-ms", "200"]);
    let mut socket = RawSocket::enter(&server, "talk");
    for _ in 0..5 {
        let ping = socket.frame();
        assert_eq!(ping.first, PING, "{ping:?}");
        socket.send(&masked(PONG, &ping.payload));
    }
    socket.send(&masked(0x81, br#"{"kind":"love"}"#));
    assert_eq!(socket.text(), r#"{"love":1}"#);
}

#[test]
fn a_client_that_answers_no_ping_is_dropped_and_the_others_stay() {
    let server = Server::start(&["--ping-interval-ms", "200"]);
    let mut alive = Client::enter(&server, "talk");
    alive
        .socket
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mute = RawSocket::enter(&server, "talk");
    let began = Instant::now();
    mute.stream()
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    loop {
        // tungstenite answers its pings as it reads.
        match alive.socket.read() {
            Ok(Message::Ping(_)) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("nothing but pings is to be read, and there is {other:?}"),
        }
        let mut bytes = [0; 64];
        match mute.stream().read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => assert_eq!(bytes[..length], [PING, 0]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        assert!(
            began.elapsed() < PATIENCE,
            "a mute client was never dropped"
        );
    }
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(200),
        "dropped after {took:?} already"
    );
    alive
        .socket
        .get_ref()
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    alive.react("love");
    alive.wait_for(|counts| counts.of("love") == 1);
}
