//! An idle server sleeps, apart from the pings that it is told to send.

use std::io::{ErrorKind, Read};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::Message;

use crate::support::{
    Client, FIN, PATIENCE, PING, PONG, RawSocket, Server, masked, reaction_frame, settled_switches,
    switches,
};

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
    let settled = settled_switches(&server);
    thread::sleep(Duration::from_secs(2));
    let woken = switches(&server) - settled;
    assert_eq!(
        woken, 0,
        "woke up {woken} times in 2 s with 100 silent members"
    );
    members[99].react("love");
    members[0].wait_for(|counts| counts.of("love") == 2);
}

#[test]
fn pings_cost_few_wake_ups() {
    let server = Server::start(&["--reactors", "1", "--ping-interval-ms", "3000"]);
    let mut members: Vec<_> = (0..10).map(|_| RawSocket::enter(&server, "talk")).collect();
    let before = switches(&server);
    // Each member gets one ping, within three intervals.
    for member in &mut members {
        assert_eq!(member.frame().first, FIN | PING);
    }
    let woken = switches(&server) - before;
    assert!(woken < 30, "woke up {woken} times for 10 pings");
}

#[test]
fn a_client_that_answers_pings_stays_connected() {
    let server = Server::start(&["--ping-interval-ms", "200"]);
    let mut socket = RawSocket::enter(&server, "talk");
    for _ in 0..5 {
        let ping = socket.frame();
        assert_eq!(ping.first, FIN | PING, "{ping:?}");
        socket.send(&masked(FIN | PONG, &ping.payload));
    }
    socket.send(&reaction_frame("love"));
    assert_eq!(socket.text(), r#"{"love":1}"#);
}

#[test]
fn a_client_that_answers_no_ping_is_dropped() {
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
        // tungstenite answers pings while it reads.
        match alive.socket.read() {
            Ok(Message::Ping(_)) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("expected a ping, got {other:?}"),
        }
        let mut bytes = [0; 64];
        match mute.stream().read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => assert_eq!(bytes[..length], [FIN | PING, 0]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        assert!(
            began.elapsed() < PATIENCE,
            "the mute client is never dropped"
        );
    }
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(200),
        "dropped after only {took:?}"
    );
    alive
        .socket
        .get_ref()
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    alive.react("love");
    alive.wait_for(|counts| counts.of("love") == 1);
}
