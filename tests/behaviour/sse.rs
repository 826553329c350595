//! Event streams: members of a room over plain HTTP.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::slow::{self, KINDS, kind};
use crate::support::{
    Client, Counts, EventStream, Http, Item, Server, dial_with_small_buffer, eventually,
    open_sockets, raise_descriptor_limit, reaction, resident_bytes, stream_request,
};

#[test]
fn a_stream_starts_with_the_counts_and_gets_changes() {
    let server = Server::start(&[]);
    let (mut stream, counts) = EventStream::join(&server, "talk");
    assert_eq!(counts.to_string(), "{}");
    let answer = Http::connect(&server).post("/party/talk", &reaction("love"));
    assert_eq!(answer.body, r#"{"love":1}"#);
    assert_eq!(stream.next_data(), r#"{"love":1}"#);
    let mut late = EventStream::open(&server, "/parties/main/talk?x=1");
    assert_eq!(late.next_data(), r#"{"love":1}"#);
}

#[test]
fn streams_and_websockets_share_a_room() {
    let server = Server::start(&["--reactors", "2"]);
    let mut streams: Vec<_> = (0..8)
        .map(|_| EventStream::join(&server, "talk").0)
        .collect();
    let mut clients: Vec<_> = (0..8).map(|_| Client::enter(&server, "talk")).collect();
    for client in &mut clients {
        client.react("❤");
    }
    for stream in &mut streams {
        stream.wait_for(|counts| counts.of("❤") == 8);
    }
    for client in &mut clients {
        client.wait_for(|counts| counts.of("❤") == 8);
    }
}

#[test]
fn the_response_head_forbids_caching_and_buffering() {
    let server = Server::start(&["--allow-origin", "https://talks.example"]);
    let ask = |fields: &str| {
        let mut http = Http::connect(&server);
        http.request("GET", "/party/talk", fields)
    };
    let allowed =
        ask("Accept: text/html, text/event-stream;q=0.9\r\nOrigin: https://talks.example\r\n");
    assert_eq!(allowed.status, 200);
    for (field, value) in [
        ("Content-Type", Some("text/event-stream")),
        ("Cache-Control", Some("no-store")),
        ("X-Accel-Buffering", Some("no")),
        ("Access-Control-Allow-Origin", Some("https://talks.example")),
        ("Vary", Some("Origin")),
        // The end of the connection ends the stream.
        ("Connection", Some("close")),
        ("Content-Length", None),
        ("Transfer-Encoding", None),
    ] {
        assert_eq!(allowed.field(field), value, "{field}");
    }
    let foreign = ask("Accept: text/event-stream\r\nOrigin: https://other.example\r\n");
    assert_eq!(foreign.status, 403);
}

#[test]
fn only_accept_text_event_stream_opens_a_stream() {
    let server = Server::start(&[]);
    let accept = "Accept: text/event-stream\r\n";
    let mut http = Http::connect(&server);
    let json = |field: &str, http: &mut Http| {
        let response = http.request("GET", "/party/talk", field);
        assert_eq!(response.field("Content-Type"), Some("application/json"));
        assert_eq!(response.body, "{}");
    };
    json("", &mut http);
    json("Accept: */*\r\n", &mut http);
    json("Accept: text/event-streams\r\n", &mut http);
    assert_eq!(http.request("GET", "/parties/no/talk", accept).status, 404);
    assert_eq!(http.request("GET", "/party/%ff", accept).status, 400);
    let head = http.request("HEAD", "/party/talk", accept);
    assert_eq!(head.field("Content-Type"), Some("application/json"));
    // A connection that has had responses can still become a stream.
    let mut stream = EventStream::over(http, "/party/talk");
    assert_eq!(stream.next_data(), "{}");
}

#[test]
fn changes_within_a_tick_come_as_one_event() {
    let server = Server::start(&["--tick-ms", "300"]);
    let (mut stream, _) = EventStream::join(&server, "talk");
    let mut client = Client::enter(&server, "talk");
    client.react("love");
    stream.wait_for(|counts| counts.of("love") == 1);
    let began = Instant::now();
    for _ in 0..100 {
        client.react("love");
    }
    assert_eq!(stream.next_counts().of("love"), 101);
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(200),
        "sent after only {took:?}"
    );
}

#[test]
fn a_silent_stream_is_kept_alive() {
    let server = Server::start(&["--ping-interval-ms", "200"]);
    let (mut stream, _) = EventStream::join(&server, "talk");
    for _ in 0..5 {
        assert_eq!(stream.try_next(), Some(Item::KeepAlive));
    }
    let mut client = Client::enter(&server, "talk");
    client.react("love");
    stream.wait_for(|counts| counts.of("love") == 1);
}

#[test]
fn input_on_a_stream_is_ignored_and_costs_no_memory() {
    const FLOOD_BYTES: usize = 32 << 20;
    let server = Server::start(&["--reactors", "1"]);
    let mut client = Client::enter(&server, "talk");
    let mut http = Http::connect(&server);
    // A pipelined request after that of the stream is ignored.
    http.send(stream_request("/party/talk") + &stream_request("/party/talk"));
    assert_eq!(http.response().status, 200);
    let before = resident_bytes(&server);
    let request =
        "POST /party/talk HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n{\"kind\":\"love\"}";
    let flood = request.repeat(1000);
    let mut written = 0;
    while written < FLOOD_BYTES {
        http.send(&flood);
        written += flood.len();
    }
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(grown < 1 << 20, "the server grew by {grown} bytes");
    client.react("clap");
    assert_eq!(client.next_text(), r#"{"clap":1}"#);
}

#[test]
fn a_slow_stream_gets_the_newest_counts_later() {
    const ROUNDS: usize = 500;
    let server = slow::start();
    let mut http = Http::connect(&server);
    for index in 0..KINDS {
        http.post("/party/talk", &reaction(&kind(index)));
    }
    let mut total = KINDS as u64;
    let (mut active, _) = Client::join(&server, "talk");
    let mut streams: Vec<_> = (0..20).map(|_| open_slowly(&server)).collect();
    let before = resident_bytes(&server);
    for round in 0..ROUNDS {
        active.react(&kind(round % KINDS));
        total += 1;
        active.wait_for(|counts| counts.total() == total);
    }
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(
        grown < 4 << 20,
        "the server grew by {grown} bytes for streams that don't read"
    );
    for stream in &mut streams {
        let (mut events, mut last) = (0, Counts::default());
        while last.total() < total {
            let counts = stream.next_counts();
            assert!(counts.covers(&last), "counts went down");
            (events, last) = (events + 1, counts);
        }
        assert_eq!(last.total(), total);
        assert!(events < 10, "a slow stream got {events} events");
    }
    active.react(&kind(0));
    for stream in &mut streams {
        assert_eq!(stream.next_counts().total(), total + 1);
    }
}

/// Opens a stream that doesn't read events yet.
fn open_slowly(server: &Server) -> EventStream {
    let http = Http::over(dial_with_small_buffer(server, 2048));
    EventStream::over(http, "/party/talk")
}

#[test]
fn an_idle_stream_costs_at_most_100_bytes() {
    const STREAMS: usize = 4000;
    /// 48 bytes in the slab, whose chunks hold 4,096 entries, and 4 in the member list, which may
    /// have grown to twice its length. The rest is rounding to pages.
    const MAX_BYTES_EACH: u64 = 100;
    raise_descriptor_limit();
    let server = Server::start(&["--reactors", "1", "--head-timeout-ms", "500"]);
    // One-time allocations of the first stream are not counted.
    let mut streams = vec![EventStream::join(&server, "talk").0];
    let before = resident_bytes(&server);
    streams.extend((0..STREAMS).map(|_| EventStream::join(&server, "talk").0));
    let bound = MAX_BYTES_EACH * STREAMS as u64;
    // The deadlines of the request heads take memory until they expire.
    eventually("only the streams themselves take memory", || {
        resident_bytes(&server).saturating_sub(before) < bound
    });
    let answer = Http::connect(&server).post("/party/talk", &reaction("love"));
    assert_eq!(answer.status, 200);
    for stream in &mut streams {
        assert_eq!(stream.next_counts().of("love"), 1);
    }
}

#[test]
fn ended_streams_are_forgotten() {
    let server = Server::start(&["--reactors", "1"]);
    let _stays = EventStream::join(&server, "talk").0;
    let settled = open_sockets(&server);
    for _ in 0..20 {
        let streams: Vec<_> = (0..20)
            .map(|_| EventStream::join(&server, "talk").0)
            .collect();
        drop(streams);
    }
    eventually("all their sockets are closed", || {
        open_sockets(&server) == settled
    });
}

#[test]
fn a_stop_ends_streams_after_the_last_counts() {
    let mut server = Server::start(&["--tick-ms", "60000"]);
    let (mut stream, _) = EventStream::join(&server, "talk");
    let mut client = Client::enter(&server, "talk");
    client.react("love");
    client.wait_for(|counts| counts.of("love") == 1);
    stream.wait_for(|counts| counts.of("love") == 1);
    server.terminate();
    assert_eq!(stream.close_code(), 1001);
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log().contains("shutdown=2"), "{}", server.log());
}

#[test]
fn the_connection_limit_includes_streams() {
    let server = Server::start(&["--max-connections", "2"]);
    let _one = EventStream::join(&server, "talk").0;
    let two = EventStream::join(&server, "talk").0;
    let mut http = Http::connect(&server);
    let refused = http.try_get("/party/talk");
    assert!(refused.is_none_or(|response| response.status == 503));
    two.stream().shutdown(std::net::Shutdown::Both).unwrap();
    drop(two);
    eventually("another connection is admitted", || {
        let mut http = Http::connect(&server);
        http.try_get("/party/talk")
            .is_some_and(|response| response.status == 200)
    });
}

#[test]
fn a_stream_request_may_arrive_in_pieces() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    let request = stream_request("/party/talk");
    let (start, end) = request.split_at(30);
    http.stream().write_all(start.as_bytes()).unwrap();
    // Once the server answers a later request, it has read the first piece.
    assert_eq!(Http::connect(&server).get("/party/talk").status, 200);
    http.send(end);
    assert_eq!(http.response().status, 200);
}
