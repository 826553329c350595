//! The load generator against small servers in this process, honest and faulty ones. No Ovation
//! server runs here; tests that start one are in `behaviour`.

#![allow(clippy::unwrap_used, clippy::result_large_err)]

use clap::Parser;
use ovation::swarm::{self, SwarmArgs, SwarmError};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Message, WebSocket};

#[derive(Clone, Copy, PartialEq)]
enum Server {
    Honest,
    /// Pings, fragments its messages, counts another kind and sends presence messages.
    Chatty,
    /// Drops all reactions after the ninth.
    Forgetful,
    /// Counts every tenth reaction twice.
    Generous,
    /// Sends counts that are too low in every fifth message.
    Backward,
    /// Hangs up after the first change.
    Abrupt,
    /// Answers the handshake with 503.
    Busy,
    /// Never answers.
    Mute,
}

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;
type Rooms = Arc<Mutex<BTreeMap<String, Counts>>>;

fn serve(server: Server) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let rooms = Rooms::default();
        for stream in listener.incoming() {
            let (stream, rooms) = (stream.unwrap(), Arc::clone(&rooms));
            thread::spawn(move || {
                // Clients may disconnect at any time.
                let _ = handle(server, stream, &rooms);
            });
        }
    });
    port
}

fn handle(server: Server, mut stream: TcpStream, rooms: &Rooms) -> tungstenite::Result<()> {
    match server {
        Server::Busy => {
            stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(());
        }
        Server::Mute => loop {
            thread::park();
        },
        _ => {}
    }
    let mut room = String::new();
    let read_path = |request: &Request, response: Response| {
        room = request.uri().path().to_owned();
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, read_path) else {
        return Ok(());
    };
    let counts = &Arc::clone(rooms.lock().unwrap().entry(room).or_default());
    if server == Server::Chatty {
        counts.lock().unwrap().insert("love".into(), 3);
    }
    socket
        .get_mut()
        .set_read_timeout(Some(Duration::from_millis(10)))?;
    let mut shown = counts.lock().unwrap().clone();
    show(server, &mut socket, &shown)?;
    let mut messages = 0;
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => react(server, &text, counts),
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut now = counts.lock().unwrap().clone();
        if now != shown {
            shown = now.clone();
            messages += 1;
            match server {
                Server::Abrupt => return Ok(()),
                Server::Backward if messages % 5 == 0 => {
                    now.values_mut()
                        .for_each(|count| *count = count.saturating_sub(2));
                }
                _ => {}
            }
            show(server, &mut socket, &now)?;
        }
    }
}

fn react(server: Server, text: &str, counts: &Counts) {
    let reaction: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut counts = counts.lock().unwrap();
    let count = counts
        .entry(reaction["kind"].as_str().unwrap().to_owned())
        .or_default();
    *count += match server {
        Server::Forgetful if *count == 9 => return,
        Server::Generous if *count % 10 == 8 => 2,
        _ => 1,
    };
}

fn show(
    server: Server,
    socket: &mut WebSocket<TcpStream>,
    counts: &BTreeMap<String, u64>,
) -> tungstenite::Result<()> {
    let text = serde_json::to_string(counts).unwrap();
    if server != Server::Chatty {
        return socket.send(Message::text(text));
    }
    socket.send(Message::Ping("are you there?".into()))?;
    let (head, tail) = text.split_at(text.len() / 2);
    let part = |text: &str, opcode, fin| {
        let payload = text.to_owned().into_bytes();
        Message::Frame(Frame::message(payload, OpCode::Data(opcode), fin))
    };
    socket.send(part(head, Data::Text, false))?;
    socket.send(Message::Ping("still?".into()))?;
    socket.send(part(tail, Data::Continue, true))?;
    socket.send(Message::text(r#"{"$here":7}"#))
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    swarm: SwarmArgs,
}

fn swarm(port: u16, words: &str) -> Result<(), SwarmError> {
    let mut words = words.split_whitespace();
    let mode = words.next().unwrap();
    let url = format!("ws://127.0.0.1:{port}/parties/main/talk");
    let args = ["swarm", mode, &url, "--timeout=30", "--stall=2", "--json"];
    let mut report = Vec::new();
    let outcome = swarm::run_to(
        Cli::parse_from(args.into_iter().chain(words)).swarm,
        &mut report,
    );
    if let Ok(()) | Err(SwarmError::NotExact(_)) = outcome {
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["mode"], mode);
        assert_eq!(report["exactness"]["passed"], outcome.is_ok());
    }
    outcome
}

/// Runs the swarm, which must find something wrong, and returns what.
fn verdict(port: u16, words: &str) -> String {
    match swarm(port, words) {
        Err(SwarmError::NotExact(what)) => what,
        other => panic!("expected a verdict, got {other:?}"),
    }
}

const FANOUT: &str = "fanout --members=20 --rate=200 --seconds=1";

#[test]
fn an_honest_server_passes_in_every_mode() {
    let port = serve(Server::Honest);
    for words in [
        "idle --members=20 --seconds=1",
        FANOUT,
        "fanout --members=30 --rooms=3 --rate=200 --seconds=1 --kind=clap",
        "ingest --senders=2 --reactions=1001",
        "ingest --senders=2 --seconds=1",
        "churn --members=10 --rate=50 --seconds=1",
        "storm --members=30",
    ] {
        swarm(port, words).unwrap_or_else(|error| panic!("{words}: {error}"));
    }
}

#[test]
fn a_chatty_server_passes() {
    swarm(serve(Server::Chatty), FANOUT).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn threads_may_have_their_own_fd_tables() {
    let port = serve(Server::Honest);
    swarm(
        port,
        &format!("{FANOUT} --threads=3 --fd-tables=per-thread"),
    )
    .unwrap();
}

#[test]
fn wrong_counts_are_detected() {
    let what = verdict(serve(Server::Forgetful), FANOUT);
    assert!(what.contains("20 short of the count"), "{what}");
    let what = verdict(serve(Server::Generous), FANOUT);
    assert!(what.contains("over the count"), "{what}");
    let what = verdict(serve(Server::Backward), FANOUT);
    assert!(what.contains("counts went down"), "{what}");
}

#[test]
fn failed_connections_are_detected() {
    let what = verdict(serve(Server::Abrupt), FANOUT);
    assert!(what.contains("lost their connection"), "{what}");
    let what = verdict(serve(Server::Busy), "idle --members=5 --seconds=1");
    assert!(what.contains("5 failed to connect"), "{what}");
    let what = verdict(serve(Server::Mute), "idle --members=5 --seconds=1");
    assert!(what.contains("5 got no answer"), "{what}");
}

#[test]
fn impossible_runs_are_refused_before_they_start() {
    let foreign = ["swarm", "idle", "ws://192.0.2.1/parties/main/talk"];
    assert!(matches!(
        swarm::run(Cli::parse_from(foreign).swarm),
        Err(SwarmError::Foreign(_))
    ));
    assert!(matches!(
        swarm(1, "idle --members=20000000 --fd-tables=shared"),
        Err(SwarmError::FileLimit { .. })
    ));
    assert!(matches!(
        swarm(1, "idle --pid=4294967295"),
        Err(SwarmError::Pid { .. })
    ));
}
