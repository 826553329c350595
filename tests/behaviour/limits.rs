//! Every limit at its edge, and what the client is told.

use crate::support::{Client, Http, Server, dial, eventually, reaction, upgrade_head};

#[test]
fn the_room_name_limit_counts_decoded_bytes() {
    let server = Server::start(&["--max-room-name-bytes", "8"]);
    let mut http = Http::connect(&server);
    assert_eq!(http.get("/party/%61%62%63%64%65%66%67%68").status, 200);
    assert_eq!(http.get("/party/abcdefghi").status, 414);
    assert_eq!(http.get("/party/%E2%9D%A4%E2%9D%A4abc").status, 414);
    let mut upgrade = Http::connect(&server);
    upgrade.send(upgrade_head("/party/abcdefghi", ""));
    assert_eq!(upgrade.response().status, 414);
}

#[test]
fn the_kind_limit_counts_bytes() {
    let server = Server::start(&["--max-kind-bytes", "6"]);
    let mut client = Client::enter(&server, "talk");
    for kind in ["sevensy", "❤❤❤", "❤❤", "sixsix"] {
        client.react(kind);
    }
    let counts = client.wait_for(|counts| counts.of("sixsix") == 1);
    assert_eq!(counts.kinds().collect::<Vec<_>>(), ["❤❤", "sixsix"]);
    let refusal = Http::connect(&server).post("/party/talk", &reaction("sevensy"));
    assert_eq!(refusal.status, 400);
}

#[test]
fn a_room_with_all_its_kinds_accepts_no_new_one() {
    let server = Server::start(&["--max-kinds", "2"]);
    let mut client = Client::enter(&server, "talk");
    for kind in ["love", "clap", "wow", "love"] {
        client.react(kind);
    }
    let counts = client.wait_for(|counts| counts.of("love") == 2);
    assert_eq!(counts.kinds().collect::<Vec<_>>(), ["love", "clap"]);
    let mut http = Http::connect(&server);
    assert_eq!(http.post("/party/talk", &reaction("wow")).status, 422);
    assert_eq!(http.post("/party/other", &reaction("wow")).status, 200);
}

#[test]
fn only_the_kinds_on_the_list_are_counted() {
    let server = Server::start(&["--kinds", "love,clap"]);
    let mut client = Client::enter(&server, "talk");
    for kind in ["wow", "Love", "clap"] {
        client.react(kind);
    }
    assert_eq!(client.next_text(), r#"{"clap":1}"#);
    let mut http = Http::connect(&server);
    assert_eq!(http.post("/party/talk", &reaction("wow")).status, 422);
    assert_eq!(
        http.post("/party/talk", &reaction("love")).body,
        r#"{"clap":1,"love":1}"#
    );
}

#[test]
fn other_origins_are_refused() {
    let server = Server::start(&["--allow-origin", "https://a.example,https://b.example"]);
    for (origin, answered) in [
        (Some("https://a.example"), 200),
        (Some("https://B.example"), 200),
        (None, 200),
        (Some("https://c.example"), 403),
        (Some("http://a.example"), 403),
        (Some("https://a.example.evil.example"), 403),
        // The server's own page: the origin equals the host of the request.
        (Some("https://ovation.test"), 200),
        (Some("null"), 403),
    ] {
        // A browser would hide the status of a refused handshake, but not a close code.
        let mut client = Client::open_from(&server, "/party/talk", origin);
        if answered == 200 {
            assert_eq!(client.next_text(), "{}", "{origin:?}");
        } else {
            assert_eq!(client.close_code(), Some(4502), "{origin:?}");
        }
        let field = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        let response = Http::connect(&server).request("GET", "/party/talk", &field);
        assert_eq!(response.status, answered, "{origin:?}");
        let expected = origin.filter(|_| answered == 200);
        assert_eq!(
            response.field("Access-Control-Allow-Origin"),
            expected,
            "{origin:?}"
        );
    }
}

#[test]
fn too_many_invalid_messages_close_with_1008() {
    let server = Server::start(&["--max-invalid-messages", "3"]);
    let mut bystander = Client::enter(&server, "talk");
    let mut client = Client::enter(&server, "talk");
    for _ in 0..3 {
        client.send("invalid".to_owned());
    }
    client.react("love");
    client.wait_for(|counts| counts.of("love") == 1);
    client.send("invalid".to_owned());
    assert_eq!(client.close_code(), Some(1008));
    bystander.react("clap");
    bystander.wait_for(|counts| counts.of("clap") == 1);
}

#[test]
fn the_invalid_message_limit_holds_at_0_and_255() {
    for limit in [0, 255] {
        let server = Server::start(&["--max-invalid-messages", &limit.to_string()]);
        let mut client = Client::enter(&server, "talk");
        for _ in 0..limit {
            client.send("invalid".to_owned());
        }
        client.react("love");
        client.wait_for(|counts| counts.of("love") == 1);
        client.send("invalid".to_owned());
        assert_eq!(client.close_code(), Some(1008), "after {limit}");
    }
}

#[test]
fn a_message_over_the_limit_closes_with_1009() {
    let server = Server::start(&["--max-message-bytes", "200"]);
    let mut client = Client::enter(&server, "talk");
    let of_length = |length: usize| {
        let text = reaction("love");
        let padding = " ".repeat(length - text.len());
        text + &padding
    };
    client.send(of_length(200));
    client.wait_for(|counts| counts.of("love") == 1);
    client.send(of_length(201));
    assert_eq!(client.close_code(), Some(1009));
    let (_, counts) = Client::join(&server, "talk");
    assert_eq!(counts.of("love"), 1);
}

#[test]
fn a_full_server_answers_503_until_a_client_leaves() {
    let server = Server::start(&["--max-connections", "3"]);
    let mut alice = Client::enter(&server, "talk");
    let bob = Client::enter(&server, "talk");
    let carol = Client::enter(&server, "talk");
    let refusal = Http::over(dial(&server)).response();
    assert_eq!(refusal.status, 503);
    assert_eq!(refusal.field("Retry-After"), Some("5"));
    assert_eq!(refusal.field("Connection"), Some("close"));
    drop((bob, carol));
    eventually("another connection is admitted", || {
        let refusal = Http::connect(&server).try_upgrade("/party/talk");
        refusal.is_some_and(|response| response.status == 101)
    });
    alice.react("love");
    alice.wait_for(|counts| counts.of("love") == 1);
}

#[test]
fn a_store_with_all_its_rooms_keeps_counting_them() {
    let server = Server::start(&["--max-rooms", "1"]);
    let mut http = Http::connect(&server);
    assert_eq!(http.post("/party/first", &reaction("love")).status, 200);
    assert_eq!(http.post("/party/second", &reaction("love")).status, 507);
    assert_eq!(http.get("/party/second").body, "{}");
    assert_eq!(
        http.post("/party/first", &reaction("clap")).body,
        r#"{"love":1,"clap":1}"#
    );
}

#[test]
fn low_memory_turns_new_clients_away() {
    let server = Server::start(&["--min-free-memory-percent", "100"]);
    let refused = Http::connect(&server).try_get("/party/talk");
    let refused = refused.expect("a response");
    assert_eq!(refused.status, 503);
    assert!(refused.field("Retry-After").is_some());
}
