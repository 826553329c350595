//! What happens when file descriptors run out.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::support::{
    Http, PATIENCE, RawSocket, Server, cpu_time, eventually, masked, open_sockets, upgrade_head,
};

/// Few, and yet more than the server needs for itself.
const DESCRIPTORS: usize = 64;
const CLIENTS: usize = 120;

fn start(arguments: &[&str]) -> Server {
    Server::start_limited(&format!("-n {DESCRIPTORS}"), arguments)
}

/// Comes in, unless the server turns it away.
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
fn when_descriptors_run_out_the_surplus_is_turned_away_and_the_others_are_served() {
    let server = start(&["--reactors", "1"]);
    let mut inside: Vec<_> = (0..CLIENTS).filter_map(|_| try_enter(&server)).collect();
    assert!(
        inside.len() > DESCRIPTORS / 2 && inside.len() < DESCRIPTORS,
        "{} came in",
        inside.len()
    );

    inside[0].send(&masked(0x81, br#"{"kind":"love"}"#));
    for member in &mut inside {
        assert_eq!(member.text(), r#"{"love":1}"#);
    }

    let before = cpu_time(&server);
    thread::sleep(Duration::from_secs(1));
    let used = cpu_time(&server) - before;
    assert!(
        used < Duration::from_millis(200),
        "in one second it used {used:?} of CPU"
    );

    inside.truncate(DESCRIPTORS / 4);
    let mut newcomer = None;
    eventually("a place for a newcomer", || {
        newcomer = try_enter(&server);
        newcomer.is_some()
    });
    inside[0].send(&masked(0x81, br#"{"kind":"love"}"#));
    assert_eq!(newcomer.unwrap().text(), r#"{"love":2}"#);
}

#[test]
fn when_one_table_for_all_reactors_runs_out_those_inside_are_served() {
    let server = start(&["--reactors", "2", "--fd-tables", "shared"]);
    // A reactor whose spare descriptor another one took can't turn anybody away: its clients wait
    // until somebody leaves.
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
    assert!(count > 20 && count < DESCRIPTORS, "{count} came in");
    for member in &mut inside {
        assert_eq!(member.text(), "{}");
    }
    inside[0].send(&masked(0x81, br#"{"kind":"love"}"#));
    for member in &mut inside {
        assert_eq!(member.text(), r#"{"love":1}"#);
    }
    let before = cpu_time(&server);
    thread::sleep(Duration::from_secs(1));
    let used = cpu_time(&server) - before;
    assert!(
        used < Duration::from_millis(200),
        "in one second it used {used:?} of CPU"
    );
}

#[test]
fn a_table_for_each_reactor_holds_more_than_one_for_all() {
    let arguments = ["--reactors", "2", "--fd-tables", "per-reactor"];
    let server = start(&arguments);
    let at_first = open_sockets(&server);
    let inside: Vec<_> = (0..3 * CLIENTS)
        .filter_map(|_| try_enter(&server))
        .collect();
    assert!(inside.len() > DESCRIPTORS, "only {} came in", inside.len());
    assert!(open_sockets(&server) >= at_first + inside.len());

    drop(inside);
    eventually("no socket left in any table", || {
        open_sockets(&server) == at_first
    });
}
