//! Sessions: numbered taps are counted exactly once, over breaks, reactors and restarts.

use std::time::Duration;

use serde_json::Value;

use crate::support::{AdminSide, Client, Counts, EventStream, Http, Server, eventually};

/// The name of a session.
fn session(number: u32) -> String {
    format!("{number:032x}")
}

fn target(room: &str, number: u32) -> String {
    format!("/party/{room}?session={}", session(number))
}

fn tap(kind: &str, taps: u16, number: u64) -> String {
    serde_json::json!({ "kind": kind, "n": taps, "id": number }).to_string()
}

/// What the server says first to a client with a session.
#[derive(Debug)]
struct Hello {
    counted: u64,
    server: u64,
    heartbeat_ms: u64,
}

fn parse_hello(text: &str) -> Hello {
    let hello: Value = serde_json::from_str(text).expect("JSON");
    let number = |name: &str| {
        hello[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {text}"))
    };
    Hello {
        counted: number("$ack"),
        server: number("$server"),
        heartbeat_ms: number("$heartbeat"),
    }
}

/// Joins with a session. Reads what the server says first, and the counts.
fn join(server: &Server, room: &str, number: u32) -> (Client, Hello, Counts) {
    let mut client = Client::open(server, &target(room, number));
    let hello = parse_hello(&client.next_text());
    let counts = client.next_counts();
    (client, hello, counts)
}

/// Reads until the server has acknowledged `number`. No counts may include it before.
fn wait_for_ack(client: &mut Client, number: u64) {
    while client.next_text() != format!(r#"{{"$ack":{number}}}"#) {}
}

fn counts(server: &Server, room: &str) -> String {
    Http::connect(server).get(&format!("/party/{room}")).body
}

#[test]
fn each_number_is_counted_once_and_acknowledged_before_the_counts() {
    let server = Server::start(&["--reactors", "2"]);
    let (mut client, hello, _) = join(&server, "talk", 1);
    assert_eq!((hello.counted, hello.heartbeat_ms), (0, 20_000));
    client.send(tap("love", 3, 1));
    assert_eq!(client.next_text(), r#"{"$ack":1}"#);
    assert_eq!(client.next_text(), r#"{"love":3}"#);
    // Sent again, it is acknowledged again and not counted.
    client.send(tap("love", 3, 1));
    assert_eq!(client.next_text(), r#"{"$ack":1}"#);
    // A message with a number that is too high waits for those before it.
    client.send(tap("love", 1, 3));
    assert_eq!(client.next_text(), r#"{"$ack":1}"#);
    client.send(tap("clap", 2, 2));
    assert_eq!(client.next_text(), r#"{"$ack":2}"#);
    assert_eq!(client.next_text(), r#"{"love":3,"clap":2}"#);
    // Without a number it is an ordinary reaction.
    client.react("love");
    assert_eq!(client.next_text(), r#"{"love":4,"clap":2}"#);
}

#[test]
fn a_session_goes_on_over_connections_reactors_and_transports() {
    let server = Server::start(&["--reactors", "2"]);
    let mut number = 0;
    let mut old = Vec::new();
    for round in 0..20 {
        let (mut client, hello, _) = join(&server, "talk", 1);
        assert_eq!(hello.counted, number);
        // The last message of the connection before arrives again.
        if number > 0 {
            client.send(tap("love", 1, number));
        }
        number += 1;
        client.send(tap("love", 1, number));
        wait_for_ack(&mut client, number);
        if round % 2 == 0 {
            // A connection that the client has given up still delivers its last message.
            old.push(client);
        }
    }
    for client in &mut old {
        client.send(tap("love", 1, number));
    }
    let mut stream = EventStream::open(&server, &target("talk", 1));
    number += 1;
    let mut http = Http::connect(&server);
    for _ in 0..2 {
        let posted = http.post(&target("talk", 1), &tap("love", 1, number));
        assert_eq!((posted.status, &*posted.body), (200, r#"{"love":21}"#));
    }
    let early = http.post(&target("talk", 1), &tap("love", 1, number + 2));
    assert_eq!((early.status, &*early.body), (412, r#"{"$ack":21}"#));
    while stream.next_data() != r#"{"love":21}"# {}
}

#[test]
fn a_session_that_begins_by_post_is_known_to_its_stream() {
    let server = Server::start(&["--heartbeat-interval-ms", "200"]);
    let mut stream = EventStream::open(&server, &target("talk", 1));
    assert_eq!(parse_hello(&stream.next_data()).counted, 0);
    let posted = Http::connect(&server).post(&target("talk", 1), &tap("love", 1, 1));
    assert_eq!(posted.status, 200);
    while stream.next_data() != r#"{"$ack":1}"# {}
}

#[test]
fn a_closed_room_answers_no_tap_that_was_counted_before() {
    let (server, admin) = AdminSide::start(&[]);
    let post = || {
        Http::connect(&server)
            .post(&target("talk", 1), &tap("love", 1, 1))
            .status
    };
    assert_eq!((post(), post()), (200, 200));
    assert_eq!(admin.act("/rooms/main/talk/close").status, 200);
    assert_eq!(post(), 403);
}

#[test]
fn sessions_survive_a_restart_in_order_and_not_a_crash() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::start_in(home.path(), &[]);
    let (mut client, first, _) = join(&server, "talk", 1);
    client.send(tap("love", 2, 1));
    wait_for_ack(&mut client, 1);
    server.stop();
    server = Server::start_in(home.path(), &[]);
    let (mut client, hello, seen) = join(&server, "talk", 1);
    assert_eq!((hello.server, hello.counted), (first.server, 1));
    assert_eq!(seen.of("love"), 2);
    client.send(tap("love", 2, 1));
    client.send(tap("love", 1, 2));
    wait_for_ack(&mut client, 2);
    assert_eq!(counts(&server, "talk"), r#"{"love":3}"#);
    server.kill();
    server = Server::start_in(home.path(), &[]);
    let (_, hello, seen) = join(&server, "talk", 1);
    assert_ne!(
        hello.server, first.server,
        "the client must know that numbers are lost"
    );
    assert_eq!((hello.counted, seen.of("love")), (0, 3));
}

#[test]
fn a_refused_tap_is_named_with_the_reason() {
    let (server, admin) = AdminSide::start(&["--kinds", "love"]);
    let (mut client, ..) = join(&server, "talk", 1);
    client.send(tap("slur", 2, 1));
    assert_eq!(client.next_text(), r#"{"$refused":1,"reason":"kind"}"#);
    client.send(tap("love", 2, 2));
    wait_for_ack(&mut client, 2);
    assert_eq!(client.next_text(), r#"{"love":2}"#);
    assert_eq!(admin.act("/rooms/main/talk/freeze").status, 200);
    while client.next_text() != r#"{"$state":"frozen"}"# {}
    client.send(tap("love", 1, 3));
    assert_eq!(client.next_text(), r#"{"$refused":3,"reason":"frozen"}"#);
    assert_eq!(admin.act("/rooms/main/talk/open").status, 200);
    while client.next_text() != r#"{"$state":"open"}"# {}
    client.send(tap("love", 1, 4));
    wait_for_ack(&mut client, 4);
    assert_eq!(counts(&server, "talk"), r#"{"love":3}"#);
}

#[test]
fn a_reset_is_told_as_one() {
    let (server, admin) = AdminSide::start(&[]);
    let (mut client, ..) = join(&server, "talk", 1);
    client.send(tap("love", 2, 1));
    while client.next_text() != r#"{"love":2}"# {}
    assert_eq!(admin.act("/rooms/main/talk/reset").status, 200);
    while client.next_text() != r#"{"$reset":{}}"# {}
    client.send(tap("love", 1, 2));
    while client.next_text() != r#"{"love":1}"# {}
    client.send(tap("clap", 1, 3));
    while client.next_text() != r#"{"love":1,"clap":1}"# {}
    assert_eq!(admin.act("/rooms/main/talk/kinds/clap/remove").status, 200);
    while client.next_text() != r#"{"$reset":{"love":1}}"# {}
}

#[test]
fn a_client_with_a_session_hears_a_heartbeat() {
    let server = Server::start(&["--heartbeat-interval-ms", "200"]);
    let (mut client, hello, _) = join(&server, "talk", 1);
    assert_eq!(hello.heartbeat_ms, 200);
    for _ in 0..3 {
        assert_eq!(client.next_text(), r#"{"$ack":0}"#);
    }
    client.send(tap("love", 1, 1));
    while client.next_text() != r#"{"love":1}"# {}
    assert_eq!(client.next_text(), r#"{"$ack":1}"#);
    // Other members of the room hear nothing.
    let mut plain = Client::enter(&server, "talk");
    client.send(tap("love", 1, 2));
    assert_eq!(plain.next_text(), r#"{"love":2}"#);
}

#[test]
fn malformed_sessions_and_numbers_are_refused() {
    let server = Server::start(&["--max-invalid-messages", "2"]);
    for bad in ["1", &"0".repeat(32), &"g".repeat(32), &"1".repeat(33)] {
        let target = format!("/party/talk?session={bad}");
        let body = tap("love", 1, 1);
        assert_eq!(
            Http::connect(&server).post(&target, &body).status,
            400,
            "{bad}"
        );
        let upgrade = Http::connect(&server)
            .try_upgrade(&target)
            .expect("a response");
        assert_eq!(upgrade.status, 400, "{bad}");
        assert_eq!(Http::connect(&server).get(&target).status, 400, "{bad}");
    }
    let (mut client, ..) = join(&server, "talk", 1);
    for bad in [
        r#"{"kind":"love","n":51,"id":1}"#,
        r#"{"kind":"love","id":0}"#,
        "{}",
    ] {
        client.send(bad);
    }
    assert_eq!(client.close_code(), Some(1008));
    assert_eq!(counts(&server, "talk"), "{}");
}

#[test]
fn taps_of_a_batch_count_against_the_rate() {
    let server = Server::start(&["--reaction-rate", "1", "--reaction-burst", "60"]);
    let (mut client, ..) = join(&server, "talk", 1);
    client.send(tap("love", 50, 1));
    client.send(tap("love", 50, 2));
    wait_for_ack(&mut client, 2);
    // The bucket owes 40 taps now.
    client.send(tap("love", 1, 3));
    client
        .socket
        .get_ref()
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("not zero");
    while let Ok(message) = client.socket.read() {
        assert_ne!(message.to_text().ok(), Some(r#"{"$ack":3}"#));
    }
    assert_eq!(counts(&server, "talk"), r#"{"love":100}"#);
}

#[test]
fn the_number_of_sessions_is_bounded() {
    let (server, admin) = AdminSide::start(&["--max-sessions", "10"]);
    let mut members: Vec<_> = (1..=5)
        .map(|number| join(&server, "talk", number).0)
        .collect();
    for member in &mut members {
        member.send(tap("love", 1, 1));
        wait_for_ack(member, 1);
    }
    for number in 100..200 {
        let posted = Http::connect(&server).post(&target("talk", number), &tap("love", 1, 1));
        assert_eq!(posted.status, 200);
    }
    assert_eq!(admin.metric("ovation_sessions"), 10.0);
    assert_eq!(counts(&server, "talk"), r#"{"love":105}"#);
    // The sessions of members are not forgotten.
    for member in &mut members {
        member.send(tap("love", 1, 1));
        wait_for_ack(member, 1);
    }
    assert_eq!(admin.sum("ovation_repeated_messages_total"), 5.0);
    drop(members);
    eventually("the members have left", || {
        admin.metric("ovation_members") == 0.0
    });
    assert_eq!(counts(&server, "talk"), r#"{"love":105}"#);
}
