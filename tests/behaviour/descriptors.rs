//! File descriptors run out.

use std::io::Write;
use std::time::Duration;

use crate::support::{
    Http, PATIENCE, RawSocket, Server, cpu_time_during, eventually, open_sockets, reaction_frame,
    upgrade_head,
};

/// Few, but more than the server itself needs.
const DESCRIPTORS: usize = 64;
const CLIENTS: usize = 120;

fn start(arguments: &[&str]) -> Server {
    Server::start_limited(&format!("-n {DESCRIPTORS}"), arguments)
}

/// Asserts that the server doesn't spin on connections that it can't accept.
fn assert_server_rests(server: &Server) {
    let used = cpu_time_during(server, Duration::from_secs(1));
    assert!(
        used < Duration::from_millis(200),
        "{used:?} of CPU time in a second"
    );
}

/// Joins the room. Returns `None` if the server turns the client away.
fn try_enter(server: &Server) -> Option<RawSocket> {
    let mut http = Http::connect(server);
    let response = http.try_upgrade("/party/talk")?;
    if response.status == 503 {
        assert!(response.field("Retry-After").is_some());
        return None;
    }
    assert_eq!(response.status, 101);
    let mut socket = RawSocket::after(http);
    socket.text();
    Some(socket)
}

#[test]
fn clients_are_turned_away_when_descriptors_run_out() {
    let server = start(&["--reactors", "1"]);
    let mut inside: Vec<_> = (0..CLIENTS).filter_map(|_| try_enter(&server)).collect();
    assert!(
        inside.len() > DESCRIPTORS / 2 && inside.len() < DESCRIPTORS,
        "{} clients got in",
        inside.len()
    );

    inside[0].send(&reaction_frame("love"));
    for member in &mut inside {
        assert_eq!(member.text(), r#"{"love":1}"#);
    }

    assert_server_rests(&server);

    inside.truncate(DESCRIPTORS / 4);
    let mut newcomer = None;
    eventually("a new client gets in", || {
        newcomer = try_enter(&server);
        newcomer.is_some()
    });
    inside[0].send(&reaction_frame("love"));
    assert_eq!(newcomer.unwrap().text(), r#"{"love":2}"#);
}

#[test]
fn members_are_served_when_a_shared_table_is_full() {
    let server = start(&["--reactors", "2", "--fd-tables", "shared"]);
    // A reactor whose reserve descriptor another reactor took can't turn clients away: they wait
    // until a member leaves.
    let is_answered = |http: &Http| {
        let mut stream = http.stream();
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let _ = stream.write_all(upgrade_head("/party/talk", "").as_bytes());
        stream.peek(&mut [0]).is_ok_and(|length| length > 0)
    };
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    for _ in 0..DESCRIPTORS + 10 {
        let mut http = Http::connect(&server);
        if is_answered(&http) && http.response().status == 101 {
            http.stream().set_read_timeout(Some(PATIENCE)).unwrap();
            inside.push(RawSocket::after(http));
        } else {
            outside.push(http);
        }
    }
    let count = inside.len();
    assert!(count > 20 && count < DESCRIPTORS, "{count} clients got in");
    for member in &mut inside {
        assert_eq!(member.text(), "{}");
    }
    inside[0].send(&reaction_frame("love"));
    for member in &mut inside {
        assert_eq!(member.text(), r#"{"love":1}"#);
    }
    assert_server_rests(&server);
}

#[test]
fn per_reactor_tables_hold_more_than_a_shared_one() {
    let arguments = ["--reactors", "2", "--fd-tables", "per-reactor"];
    let server = start(&arguments);
    let before = open_sockets(&server);
    let inside: Vec<_> = (0..3 * CLIENTS)
        .filter_map(|_| try_enter(&server))
        .collect();
    assert!(
        inside.len() > DESCRIPTORS,
        "only {} clients got in",
        inside.len()
    );
    assert!(open_sockets(&server) >= before + inside.len());

    drop(inside);
    eventually("all sockets are closed in every table", || {
        open_sockets(&server) == before
    });
}
