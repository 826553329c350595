//! Bodies of requests: with a length or in chunks, in any pieces, whatever follows them.

use std::thread;
use std::time::Duration;

use crate::support::{Chance, Http, PATIENCE, Server, eventually, reaction};

const HEAD: &str = "POST /party/talk HTTP/1.1\r\nHost: a\r\n";

/// Encodes a request whose body is `body`, in chunks of `size` bytes.
fn chunked(body: &str, size: usize) -> String {
    let mut request = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    for chunk in body.as_bytes().chunks(size) {
        let text = std::str::from_utf8(chunk).expect("the body is ASCII");
        request += &format!("{:X}\r\n{text}\r\n", chunk.len());
    }
    request + "0\r\n\r\n"
}

fn love(http: &mut Http) -> u64 {
    let response = http.response();
    assert_eq!(response.status, 200, "{}", response.body);
    let counts: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
    counts["love"].as_u64().expect("a count")
}

#[test]
fn a_reaction_in_chunks_counts_once() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    let body = reaction("love");
    for (index, size) in [1, 2, 5, 100].into_iter().enumerate() {
        http.send(chunked(&body, size));
        assert_eq!(love(&mut http), index as u64 + 1);
    }
    let length = format!("{:x}", body.len());
    http.send(format!(
        "{HEAD}Transfer-Encoding: Chunked\r\n\r\n\
         {length} ;a=\"b;c\"\r\n{body}\r\n0;d\r\nExpires: never\r\nX:\r\n\r\n"
    ));
    assert_eq!(love(&mut http), 5);
    // A method that needs no body may have one.
    http.send("GET /party/talk HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
    assert_eq!(love(&mut http), 5);
}

#[test]
fn bodies_arrive_in_any_pieces_with_requests_behind_them() {
    let server = Server::start(&[]);
    let body = reaction("love");
    let length = body.len();
    let whole = format!("{HEAD}Content-Length: {length}\r\n\r\n{body}");
    let get = "GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n";
    let requests = [chunked(&body, 3), whole, get.to_owned(), chunked(&body, 40)].concat();
    let mut chance = Chance::seeded(12);
    let mut expected = 0;
    for _ in 0..20 {
        let mut http = Http::connect(&server);
        let mut rest = requests.as_bytes();
        while !rest.is_empty() {
            let cut = 1 + chance.below(rest.len().min(90) as u64) as usize;
            http.send(&rest[..cut]);
            rest = &rest[cut..];
            thread::sleep(Duration::from_micros(200));
        }
        for more in [1, 1, 0, 1] {
            expected += more;
            assert_eq!(love(&mut http), expected);
        }
    }
}

#[test]
fn bad_chunks_are_refused_and_end_the_connection() {
    let server = Server::start(&["--max-message-bytes", "200"]);
    for (body, status) in [
        ("g\r\n".to_owned(), 400),
        ("1\na".to_owned(), 400),
        ("5\r\nhello0\r\n\r\n".to_owned(), 400),
        ("000000005\r\n".to_owned(), 400),
        (format!("1;{}", "a".repeat(2000)), 400),
        ("c9\r\n".to_owned(), 413),
        ("ffffffff\r\n".to_owned(), 413),
        (format!("c8\r\n{}\r\n1\r\n", "a".repeat(200)), 413),
        (format!("0\r\nX: {}", "a".repeat(5000)), 431),
    ] {
        let mut http = Http::connect(&server);
        http.send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"));
        http.send(&body);
        let response = http.response();
        let start: String = body.chars().take(60).collect();
        assert_eq!(response.status, status, "{start}");
        assert_eq!(response.field("Connection"), Some("close"), "{start}");
        http.expect_end();
    }
}

#[test]
fn an_unfinished_body_has_the_deadline_of_a_request() {
    let server = Server::start(&["--head-timeout-ms", "300"]);
    for start in [
        "Content-Length: 4000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfa0\r\n",
    ] {
        let mut http = Http::connect(&server);
        http.send(format!("{HEAD}{start}"));
        // Bytes that drip in do not extend the deadline.
        let drip = Duration::from_millis(50);
        http.stream().set_read_timeout(Some(drip)).unwrap();
        eventually("the server answers", || {
            let is_answered = http.stream().peek(&mut [0]).is_ok();
            if !is_answered {
                http.send("a");
            }
            is_answered
        });
        http.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(http.response().status, 408, "{start}");
        http.expect_end();
    }
}
