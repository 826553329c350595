//! RFC 9112 as far as a room needs it, and what hostile clients send.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use crate::support::{
    Client, Http, PATIENCE, Server, dial, eventually, post_request, reaction, resident_bytes,
    upgrade_head,
};

#[test]
fn a_post_counts_and_reaches_the_members() {
    let server = Server::start(&["--tick-ms", "1"]);
    let mut member = Client::enter(&server, "talk");
    let mut http = Http::connect(&server);
    let response = http.post("/party/talk", &reaction("love"));
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, r#"{"love":1}"#)
    );
    assert_eq!(response.field("Content-Type"), Some("application/json"));
    assert_eq!(member.next_text(), r#"{"love":1}"#);
    member.react("clap");
    member.wait_for(|counts| counts.of("clap") == 1);
    assert_eq!(http.get("/party/talk").body, r#"{"love":1,"clap":1}"#);
    for body in ["", "love", "{}", r#"{"kind":7}"#, r#"{"kind":""}"#] {
        assert_eq!(http.post("/party/talk", body).status, 400, "{body}");
    }
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    for count in 1..=20 {
        let response = http.post("/party/talk", &reaction("love"));
        assert_eq!(response.body, format!(r#"{{"love":{count}}}"#));
        assert_eq!(response.field("Connection"), Some("keep-alive"));
    }
    assert_eq!(http.get("/nowhere").status, 404);
    assert_eq!(http.get("/party/talk").body, r#"{"love":20}"#);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    for room in 0..100 {
        http.post(
            &format!("/party/{room}"),
            &reaction(&format!("kind-{room}")),
        );
    }
    let requests: String = (0..100)
        .map(|room| format!("GET /party/{room} HTTP/1.1\r\nHost: ovation.test\r\n\r\n"))
        .collect();
    http.send(&requests);
    for room in 0..100 {
        assert_eq!(http.response().body, format!(r#"{{"kind-{room}":1}}"#));
    }
    // Once more, in pieces that end anywhere.
    for piece in requests.as_bytes().chunks(1000) {
        http.send(piece);
    }
    for room in 0..100 {
        assert_eq!(http.response().body, format!(r#"{{"kind-{room}":1}}"#));
    }
}

#[test]
fn responses_that_fill_the_socket_all_arrive() {
    let server = Server::start(&["--max-kinds", "100"]);
    let mut http = Http::connect(&server);
    for kind in 0..100 {
        http.post(
            "/party/talk",
            &reaction(&format!("a kind with a long name {kind}")),
        );
    }
    let expected = http.get("/party/talk").body;
    // 600 KB of responses to 8 KB of requests. The client reads only after it has sent all.
    http.send("GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200));
    for _ in 0..200 {
        assert_eq!(http.response().body, expected);
    }
    assert_eq!(http.get("/party/talk").body, expected);
}

#[test]
fn a_head_request_gets_no_body() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    http.post("/party/talk", &reaction("love"));
    let response = http.request("HEAD", "/party/talk", "");
    assert_eq!((response.status, response.body.as_str()), (200, ""));
    assert_eq!(response.field("Content-Length"), Some("10"));
    assert_eq!(http.get("/party/talk").body, r#"{"love":1}"#);
}

#[test]
fn options_answers_cors_preflights() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    let response = http.request("OPTIONS", "/party/talk", "Origin: https://a.example\r\n");
    assert_eq!(response.status, 204);
    assert_eq!(response.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(
        response.field("Access-Control-Allow-Methods"),
        Some("GET, POST, PATCH, DELETE, OPTIONS")
    );
    assert_eq!(
        response.field("Access-Control-Allow-Headers"),
        Some("Content-Type, Authorization")
    );
    let response = http.get("/party/talk");
    assert_eq!(response.field("Access-Control-Allow-Origin"), Some("*"));
}

#[test]
fn other_methods_are_not_allowed() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    for method in ["PUT", "DELETE", "PATCH", "BREW"] {
        let response = http.request(method, "/party/talk", "");
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.field("Allow"), Some("GET, HEAD, POST, OPTIONS"));
    }
}

#[test]
fn connection_and_version_decide_when_to_close() {
    let server = Server::start(&[]);
    for head in [
        "GET /party/talk HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /party/talk HTTP/1.0\r\n\r\n",
    ] {
        let mut http = Http::connect(&server);
        http.send(head);
        let response = http.response();
        assert_eq!(
            (response.status, response.field("Connection")),
            (200, Some("close"))
        );
        http.expect_end();
    }
    let mut http = Http::connect(&server);
    for _ in 0..2 {
        http.send("GET /party/talk HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(http.response().field("Connection"), Some("keep-alive"));
    }
}

#[test]
fn a_half_closed_client_still_gets_its_responses() {
    let server = Server::start(&["--max-kinds", "100"]);
    let mut http = Http::connect(&server);
    for kind in 0..100 {
        http.post(
            "/party/talk",
            &reaction(&format!("a kind with a long name {kind}")),
        );
    }
    let mut http = Http::connect(&server);
    http.send("GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50));
    http.stream().shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..50 {
        assert_eq!(http.response().status, 200);
    }
    http.expect_end();
}

#[test]
fn invalid_requests_are_refused_and_end_the_connection() {
    let server = Server::start(&["--max-message-bytes", "200"]);
    let get = |fields: &str| format!("GET /party/talk HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let post = |fields: &str| format!("POST /party/talk HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (request, status) in [
        (get(&format!("A: {}\r\n", "b".repeat(9000))), 431),
        (format!("GET /{}", "a".repeat(9000)), 431),
        (get(&"A: b\r\n".repeat(70)), 431),
        (post("Content-Length: 201\r\n"), 413),
        (post("Content-Length: 99999999999\r\n"), 413),
        (post("Content-Length: -1\r\n"), 400),
        (post("Content-Length: +1\r\n"), 400),
        (post("Content-Length: ten\r\n"), 400),
        (post("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (post("Content-Length: 99999999999999999999\r\n"), 400),
        (post("Transfer-Encoding: gzip, chunked\r\n"), 501),
        (
            post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (post("Content-Length: 3\r\nExpect: 100-continue\r\n"), 417),
        ("\x16\x03\x01\x02\x00\x01".to_owned(), 400),
        ("GET /party/talk HTTP/2.0\r\n\r\n".to_owned(), 400),
        ("hello\r\n\r\n".to_owned(), 400),
    ] {
        let mut http = Http::connect(&server);
        http.send(&request);
        let response = http.response();
        let start: String = request.chars().take(120).collect();
        assert_eq!(response.status, status, "{start}");
        assert_eq!(response.field("Connection"), Some("close"), "{start}");
        http.expect_end();
    }
    assert_eq!(Http::connect(&server).get("/party/talk").body, "{}");
}

#[test]
fn invalid_handshakes_are_refused() {
    let server = Server::start(&[]);
    let whole = upgrade_head("/party/talk", "");
    let without = |field: &str| {
        let lines = whole.split_inclusive("\r\n");
        lines
            .filter(|line| !line.starts_with(field))
            .collect::<String>()
    };
    for (request, status) in [
        (without("Sec-WebSocket-Version"), 426),
        (whole.replace("Version: 13", "Version: 8"), 426),
        (whole.replace("Version: 13", "Version: 25"), 426),
        (without("Sec-WebSocket-Key"), 400),
        (whole.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
        (
            whole.replace("dGhlIHNhbXBsZSBub25jZQ==", "!!!!!!!!!!!!!!!!!!!!!!=="),
            400,
        ),
        (without("Connection"), 400),
        (whole.replace("GET ", "POST "), 400),
        (whole.replace("HTTP/1.1", "HTTP/1.0"), 400),
    ] {
        let mut http = Http::connect(&server);
        http.send(&request);
        let response = http.response();
        assert_eq!(response.status, status, "{request}");
        let version = (status == 426).then_some("13");
        assert_eq!(
            response.field("Sec-WebSocket-Version"),
            version,
            "{request}"
        );
        http.expect_end();
    }
    // The server declines an extension and a subprotocol by not choosing them.
    let offers = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n";
    let mut http = Http::connect(&server);
    http.send(upgrade_head("/party/talk", offers));
    let response = http.response();
    assert_eq!(response.status, 101);
    assert_eq!(response.field("Sec-WebSocket-Extensions"), None);
    assert_eq!(response.field("Sec-WebSocket-Protocol"), None);
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    let body = reaction("love");
    let request = format!(
        "POST /party/talk HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for byte in request.as_bytes() {
        http.send([*byte]);
    }
    assert_eq!(http.response().body, r#"{"love":1}"#);
}

#[test]
fn a_slow_request_times_out() {
    let server = Server::start(&["--head-timeout-ms", "300"]);
    let began = Instant::now();
    let mut silent = Http::connect(&server);
    let mut half = Http::connect(&server);
    half.send("GET /party/talk HTTP/1.1\r\nHo");
    let mut bodiless = Http::connect(&server);
    bodiless.send("POST /party/talk HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n{\"kind\":");
    let mut kept = Http::connect(&server);
    assert_eq!(kept.get("/party/talk").status, 200);
    silent.expect_end();
    for late in [&mut half, &mut bodiless] {
        assert_eq!(late.response().status, 408);
        late.expect_end();
    }
    kept.expect_end();
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(290),
        "ended after only {took:?}"
    );
    assert!(took < Duration::from_secs(5), "took {took:?}");
}

#[test]
fn trickled_bytes_do_not_extend_the_timeout() {
    let server = Server::start(&["--head-timeout-ms", "300"]);
    let mut http = Http::connect(&server);
    http.send("GET /party/talk HTTP/1.1\r\nA: ");
    let began = Instant::now();
    http.stream()
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    // Sends another byte every 20 ms until the server gives up.
    loop {
        let mut stream = http.stream();
        let written = stream.write(b"b");
        let answer = stream.peek(&mut [0]);
        match (written, answer) {
            (Ok(_), Err(error)) if error.kind() == ErrorKind::WouldBlock => {}
            _ => break,
        }
        assert!(began.elapsed() < PATIENCE, "the server never gives up");
    }
    http.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(http.response().status, 408);
}

#[test]
fn a_client_that_never_reads_costs_no_memory() {
    /// More than the kernel buffers for both ends.
    const BOUND_BYTES: usize = 64 << 20;
    let server = Server::start(&[
        "--reactors",
        "1",
        "--head-timeout-ms",
        "1000",
        "--close-timeout-ms",
        "200",
    ]);
    let mut member = Client::enter(&server, "talk");
    let before = resident_bytes(&server);
    let mut stream = dial(&server);
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let requests = "GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let mut written = 0;
    let refused = loop {
        match stream.write(requests.as_bytes()) {
            Ok(length) => written += length,
            Err(error) => break error,
        }
        assert!(
            written < BOUND_BYTES,
            "the server reads requests that it can't answer"
        );
    };
    assert_eq!(
        refused.kind(),
        ErrorKind::WouldBlock,
        "after {written} bytes"
    );
    let grown = resident_bytes(&server).saturating_sub(before);
    assert!(grown < 1 << 20, "the server grew by {grown} bytes");
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    eventually("the server drops the client", || {
        stream.write(b"G").is_err_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            )
        })
    });
}

#[test]
fn other_names_than_those_of_the_server_are_refused() {
    let server = Server::start(&["--host", "talks.example,127.0.0.1"]);
    let get = |host: &str| format!("GET /party/talk HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (request, status) in [
        (get("talks.example"), 200),
        (get("Talks.Example:8443"), 200),
        (get("127.0.0.1:1999"), 200),
        (get("evil.example:1999"), 421),
        (upgrade_head("/party/talk", ""), 421),
        (post_request("/party/talk", &reaction("love")), 421),
        ("GET /party/talk HTTP/1.0\r\n\r\n".to_owned(), 421),
    ] {
        let mut http = Http::connect(&server);
        http.send(&request);
        assert_eq!(http.response().status, status, "{request}");
        if status == 421 {
            http.expect_end();
        }
    }
    let mut http = Http::connect(&server);
    http.send(upgrade_head("/party/talk", "").replace("ovation.test", "talks.example"));
    assert_eq!(http.response().status, 101);
}
