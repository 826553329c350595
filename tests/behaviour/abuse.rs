//! Clients that flood the server without breaking a rule, and what they cost the others.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    AdminSide, Client, FIN, Http, PING, PONG, RawSocket, Server, dial_with_small_buffer, directory,
    eventually, masked, post_request, reaction, reaction_frame, refused, resident_bytes,
    upgrade_head,
};

/// Default burst of reactions of one connection.
const BURST: u64 = 200;
/// The metric of the messages over the rate, with one reactor.
const LIMITED: &str = "ovation_limited_messages_total{reactor=\"0\"}";
/// Default rate of reactions of one connection, per second.
const RATE: u64 = 20;

#[test]
fn one_connection_reacts_at_a_limited_rate() {
    let (server, admin) = AdminSide::start(&["--reactors", "1", "--reaction-rate", "20"]);
    let mut honest = Client::enter(&server, "talk");
    let began = Instant::now();
    let mut flooder = RawSocket::enter(&server, "talk");
    // Less than twenty times the rate, so that the server only drops.
    flooder.send(&reaction_frame("love").repeat(BURST as usize + 390));
    honest.react("clap");
    honest.wait_for(|counts| counts.of("clap") == 1 && counts.of("love") >= BURST);
    eventually("the metric counts what was dropped", || {
        admin.metric(LIMITED) > 0.0
    });
    let counts = Http::connect(&server).get("/party/talk").body;
    let counted: u64 = counts
        .split("\"love\":")
        .nth(1)
        .and_then(|rest| rest.split([',', '}']).next()?.parse().ok())
        .unwrap();
    let allowed = BURST + RATE * (began.elapsed().as_secs() + 1);
    assert!(
        (BURST..=allowed).contains(&counted),
        "{counted} of {allowed}"
    );
    let total = admin.metric(LIMITED) as u64 + counted;
    assert_eq!(total, BURST + 390);
}

#[test]
fn a_flood_of_reactions_closes_its_connection() {
    let (server, admin) = AdminSide::start(&["--reactors", "1", "--reaction-rate", "20"]);
    let mut flooder = RawSocket::enter(&server, "talk");
    flooder.send(&reaction_frame("love").repeat(2000));
    let close = loop {
        let frame = flooder.frame();
        if frame.first == 0x88 {
            break frame;
        }
    };
    assert_eq!(close.payload[..2], 1008u16.to_be_bytes());
    assert_eq!(&close.payload[2..], b"too many messages");
    eventually("the metric names the reason", || {
        let metrics = admin.get("/metrics").body;
        metrics.contains("ovation_closed_total{reason=\"rate_limit\"} 1")
    });
}

#[test]
fn a_dry_run_counts_and_drops_nothing() {
    let (server, admin) = AdminSide::start(&[
        "--reactors",
        "1",
        "--reaction-rate",
        "1",
        "--limits-dry-run",
    ]);
    let mut client = Client::enter(&server, "talk");
    for _ in 0..500 {
        client.react("love");
    }
    client.wait_for(|counts| counts.of("love") == 500);
    assert!(admin.metric(LIMITED) >= 200.0);
}

#[test]
fn posts_on_one_connection_are_limited_too() {
    let server = Server::start(&["--reaction-rate", "1", "--reaction-burst", "2"]);
    let mut http = Http::connect(&server);
    for _ in 0..2 {
        assert_eq!(http.post("/party/talk", &reaction("love")).status, 200);
    }
    let refused = http.post("/party/talk", &reaction("love"));
    assert_eq!(refused.status, 429);
    assert_eq!(refused.field("Access-Control-Allow-Origin"), Some("*"));
    assert!(refused.field("Retry-After").is_some());
    assert_eq!(http.get("/party/talk").body, r#"{"love":2}"#);
}

#[test]
fn pings_without_reading_cost_under_1_kb_each() {
    const CLIENTS: usize = 100;
    /// Floods of 64 KiB that each client sends in a round, unless the server stops reading.
    const ROUND_FLOODS: usize = 32;
    let server = Server::start(&["--reactors", "1"]);
    let ping = masked(FIN | PING, &[b'p'; 125]);
    let flood = ping.repeat(64 * 1024 / ping.len());
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = dial_with_small_buffer(&server, 4096);
        client
            .write_all(upgrade_head("/party/talk", "").as_bytes())
            .unwrap();
        client.read_exact(&mut [0; 100]).unwrap();
        client
            .set_write_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        clients.push(client);
    }
    let before = resident_bytes(&server);
    // Fill both directions, drain the pongs once, and fill them again without reading.
    for round in 0..4 {
        for client in &mut clients {
            for _ in 0..ROUND_FLOODS {
                if client.write_all(&flood).is_err() {
                    break;
                }
            }
            if round == 1 {
                client
                    .set_read_timeout(Some(Duration::from_millis(2)))
                    .unwrap();
                while client.read(&mut [0; 65536]).is_ok_and(|length| length > 0) {}
            }
        }
    }
    let grown = resident_bytes(&server).saturating_sub(before) / CLIENTS as u64;
    println!("heap of the server for each client that floods with pings: {grown} bytes");
    assert!(grown < 1024, "{grown} bytes for each client");
    for client in clients {
        // The client may have been closed.
        let _ = client.shutdown(Shutdown::Both);
    }
}

/// A client that sends requests as fast as the server takes them, and reads all responses.
struct Pipeliner {
    stream: TcpStream,
    /// Number of bytes sent of the requests, which repeat.
    sent: usize,
}

impl Pipeliner {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, sent: 0 }
    }

    fn pump(&mut self, requests: &[u8], sink: &mut [u8]) {
        while let Ok(length) = self.stream.write(&requests[self.sent..]) {
            self.sent = (self.sent + length) % requests.len();
        }
        while self.stream.read(sink).is_ok_and(|length| length > 0) {}
    }
}

#[test]
fn pipelined_requests_do_not_delay_a_tick() {
    const ATTACKERS: usize = 800;
    const ROOMS: usize = 50;
    // Rooms hibernate at once, so each request loads one with all its kinds.
    let server = Server::start(&["--reactors", "1", "--room-grace-ms", "0"]);
    let mut http = Http::connect(&server);
    for room in 0..ROOMS {
        let kinds = (0..64).map(|kind| {
            let target = format!("/party/cold{room}");
            post_request(&target, &reaction(&format!("kind{kind}")))
        });
        http.send(kinds.collect::<String>());
        for _ in 0..64 {
            assert_eq!(http.response().status, 200);
        }
    }
    let heads: String = (0..ROOMS)
        .map(|room| format!("HEAD /party/cold{room} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    let is_over = AtomicBool::new(false);
    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        scope.spawn(|| {
            let connect = |_| Pipeliner::connect(&server);
            let mut attackers: Vec<Pipeliner> = (0..ATTACKERS).map(connect).collect();
            let mut sink = vec![0; 64 * 1024];
            while !is_over.load(Ordering::Relaxed) {
                for attacker in &mut attackers {
                    attacker.pump(heads.as_bytes(), &mut sink);
                }
            }
        });
        let mut bystander = Client::enter(&server, "calm");
        let end = Instant::now() + Duration::from_secs(3);
        let mut count = 0;
        while Instant::now() < end {
            let began = Instant::now();
            count += 1;
            bystander.react("clap");
            bystander.wait_for(|counts| counts.of("clap") == count);
            longest = longest.max(began.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    println!("longest time without news for a bystander of the flood: {longest:?}");
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

#[test]
fn an_exposed_server_needs_kinds_and_origins() {
    let home = directory();
    let listen = ["--listen", "0.0.0.0:0"];
    for missing in [
        &[][..],
        &["--kinds", "love"],
        &["--allow-origin", "*"],
        &["--any-kind"],
    ] {
        let failed = refused(home.path(), &[&listen, missing].concat());
        assert_eq!(failed.code, Some(2), "{missing:?}");
        for flag in ["--kinds", "--any-kind", "--allow-origin"] {
            assert!(failed.message.contains(flag), "{}", failed.message);
        }
    }
    for chosen in ["--kinds=love", "--any-kind"] {
        let server = Server::start(&[&listen, &[chosen, "--allow-origin", "*"][..]].concat());
        drop(server);
    }
}

#[test]
fn invented_kinds_do_not_keep_chosen_kinds_out() {
    let home = directory();
    let mut server = Server::start_in(home.path(), &[]);
    let mut http = Http::connect(&server);
    for number in 0..64 {
        let kind = reaction(&format!("x{number}"));
        assert_eq!(http.post("/party/talk", &kind).status, 200);
    }
    assert_eq!(http.post("/party/talk", &reaction("❤")).status, 422);
    server.terminate();
    server.wait();
    let server = Server::start_in(home.path(), &["--kinds", "❤"]);
    let mut http = Http::connect(&server);
    assert_eq!(http.post("/party/talk", &reaction("❤")).status, 200);
    assert_eq!(http.post("/party/talk", &reaction("x0")).status, 422);
}

#[test]
fn names_that_deceive_are_refused() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    for name in [
        ".",
        "..",
        "%2e%2e",
        "%zz",
        "%0a",
        "%E2%80%AEtalk",
        "a%E2%80%8Bb",
    ] {
        assert_eq!(http.get(&format!("/party/{name}")).status, 400, "{name}");
    }
    for kind in ["lo\u{200b}ve", "\u{202e}evol"] {
        assert_eq!(
            http.post("/party/talk", &reaction(kind)).status,
            422,
            "{kind:?}"
        );
    }
    assert_eq!(http.post("/party/talk", &reaction("👩‍💻")).status, 200);
}

#[test]
fn an_unfinished_message_has_a_deadline() {
    let (server, admin) = AdminSide::start(&["--reactors", "1", "--ping-interval-ms", "200"]);
    let mut holder = RawSocket::enter(&server, "talk");
    holder.send(&masked(0x01, &[b'x'; 4000]));
    loop {
        // The holder answers pings, so only the message can be what ends the connection.
        match holder.try_frame() {
            Some(frame) if frame.first == 0x89 => holder.send(&masked(FIN | PONG, b"")),
            Some(_) => {}
            None => break,
        }
    }
    eventually("the metric names the reason", || {
        let metrics = admin.get("/metrics").body;
        metrics.contains("ovation_closed_total{reason=\"message_timeout\"} 1")
    });
}
