//! What members may do with their tokens, and when they must leave.

use std::time::{Duration, Instant};

use super::{Tokens, bearer, post, tool};
use crate::support::{AdminSide, Client, EventStream, Http, Server, eventually, stream_request};

fn target(tokens: &Tokens, name: &str) -> String {
    format!("/party/talk?token={}", tokens.get(name))
}

#[test]
fn without_keys_nobody_needs_a_token() {
    let server = Server::start(&[]);
    let mut client = Client::open(&server, "/party/talk?token=anything");
    assert_eq!(client.next_text(), "{}");
    client.react("love");
    client.wait_for(|counts| counts.of("love") == 1);
    assert_eq!(post(&server, &bearer("anything")).status, 200);
}

#[test]
fn a_page_is_told_by_a_code_why_it_is_refused() {
    let tokens = Tokens::make();
    let server = tokens.server(&[]);
    for (name, code, status) in [
        ("expired", 4100, 401),
        ("wrong_key", 4500, 401),
        ("none", 4500, 401),
        ("wrong_room", 4501, 403),
        ("nothing", 4501, 403),
        ("moderate", 4501, 403),
    ] {
        let target = target(&tokens, name);
        let mut page = Client::open_from(&server, &target, Some("https://a.example"));
        assert_eq!(page.close_code(), Some(code), "{name}");
        // A client that is no page gets a status, and so does an event stream.
        let mut http = Http::connect(&server);
        assert_eq!(
            http.try_upgrade(&target).map(|it| it.status),
            Some(status),
            "{name}"
        );
        let mut http = Http::connect(&server);
        http.send(stream_request(&target));
        assert_eq!(http.response().status, status, "{name}");
    }
    let mut page = Client::open_from(&server, "/party/talk", Some("https://a.example"));
    assert_eq!(page.close_code(), Some(4500));
}

#[test]
fn a_member_that_may_only_watch_is_not_counted() {
    let tokens = Tokens::make();
    let secret = tokens.secret();
    let secret = secret.each_ref().map(String::as_str);
    let (server, admin) = AdminSide::start(&[&secret[..], &["--reactors", "1"]].concat());
    let mut mute = Client::open(&server, &target(&tokens, "watch"));
    let mut first = Client::open(&server, &target(&tokens, "good"));
    let mut second = Client::open(&server, &target(&tokens, "prefix"));
    for client in [&mut mute, &mut first, &mut second] {
        assert_eq!(client.next_text(), "{}");
    }
    let dropped = || admin.metric(r#"ovation_dropped_messages_total{reactor="0"}"#);
    mute.react("love");
    eventually("the reaction is dropped", || dropped() == 1.0);
    // A member that takes over the slot of another keeps its own rights.
    drop(first);
    eventually("the member has left", || {
        admin.metric("ovation_members") == 2.0
    });
    second.react("clap");
    assert_eq!(mute.next_text(), r#"{"clap":1}"#);
    mute.react("love");
    eventually("the reaction is dropped", || dropped() == 2.0);
    drop(mute);
    eventually("the member has left", || {
        admin.metric("ovation_members") == 1.0
    });
    second.react("clap");
    second.wait_for(|counts| counts.of("clap") == 2 && counts.total() == 2);
    // A member with a session is told.
    let session = format!("{}&session={:032x}", target(&tokens, "watch"), 7);
    let mut mute = Client::open(&server, &session);
    mute.next_text();
    mute.next_text();
    mute.send(r#"{"kind":"love","id":1}"#);
    let answer = mute.next_text();
    assert!(answer.contains("permission"), "{answer}");
}

#[test]
fn a_post_needs_the_right_to_react() {
    let tokens = Tokens::make();
    let server = tokens.server(&[]);
    for (name, status) in [
        ("good", 200),
        ("react", 200),
        ("prefix", 200),
        ("watch", 403),
        ("moderate", 403),
        ("wrong_room", 403),
        ("expired", 401),
        ("wrong_key", 401),
    ] {
        assert_eq!(
            post(&server, &bearer(tokens.get(name))).status,
            status,
            "{name}"
        );
    }
    assert_eq!(post(&server, "").status, 401);
}

#[test]
fn the_operator_says_what_anybody_may_do() {
    let tokens = Tokens::make();
    for (anonymous, get, posted) in [("none", 401, 401), ("watch", 200, 401), ("react", 200, 200)] {
        let server = tokens.server(&["--anonymous", anonymous]);
        assert_eq!(
            Http::connect(&server).get("/party/talk").status,
            get,
            "{anonymous}"
        );
        assert_eq!(post(&server, "").status, posted, "{anonymous}");
        // A token is held to what it says.
        assert_eq!(post(&server, &bearer(tokens.get("expired"))).status, 401);
        assert_eq!(post(&server, &bearer(tokens.get("good"))).status, 200);
    }
}

#[test]
fn connections_end_soon_after_their_tokens_and_not_before() {
    let tokens = Tokens::make();
    let secret = tokens.secret();
    let secret = secret.each_ref().map(String::as_str);
    let (server, admin) = AdminSide::start(&[&secret[..], &["--reactors", "2"]].concat());
    let made = Instant::now();
    let brief_target = |caps: &str| {
        let file = tokens.path("secret");
        let new = [
            "new",
            "--secret-file",
            &file,
            "--room",
            "main/talk",
            "--expires",
            "8s",
        ];
        let (code, token) = tool(tokens.home.path(), &[&new[..], &["--caps", caps]].concat());
        assert_eq!(code, 0, "{token}");
        format!("/party/talk?token={}", token.trim())
    };
    let brief_target = [brief_target("react"), brief_target("watch")];
    let mut staying = Client::open(&server, &target(&tokens, "endless_connection"));
    let mut brief: Vec<Client> = (0..8)
        .map(|_| Client::open(&server, &brief_target[0]))
        .collect();
    let mut stream = EventStream::open(&server, &brief_target[1]);
    for client in &mut brief {
        assert_eq!(client.close_code(), Some(4100));
        // The token was made for eight seconds, whole ones.
        assert!(made.elapsed() > Duration::from_secs(6));
    }
    assert_eq!(stream.close_code(), 4100);
    let closed = admin.metric(r#"ovation_closed_total{reason="token_expired"}"#);
    assert_eq!(closed, 9.0);
    staying.react("love");
    staying.wait_for(|counts| counts.of("love") == 1);
    let mut late = Http::connect(&server);
    assert_eq!(late.get(&brief_target[0]).status, 401);
}

#[test]
fn refusals_are_counted_by_reason() {
    let tokens = Tokens::make();
    let secret = tokens.secret();
    let secret = secret.each_ref().map(String::as_str);
    let (server, admin) = AdminSide::start(&secret);
    for (name, reason) in [
        ("expired", "expired"),
        ("wrong_room", "wrong_room"),
        ("wrong_key", "signature"),
        ("none", "algorithm"),
        ("not_yet", "not_yet"),
        ("no_channel", "malformed"),
        ("audience", "audience_or_issuer"),
        ("nothing", "missing_cap"),
    ] {
        let metric = format!("ovation_token_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(admin.metric(&metric), 0.0, "{name}");
        let target = target(&tokens, name);
        Client::open_from(&server, &target, Some("https://a.example")).close_code();
        assert_eq!(admin.metric(&metric), 1.0, "{name}");
        Http::connect(&server).get(&target);
        let mut http = Http::connect(&server);
        http.send(stream_request(&target));
        http.response();
        assert_eq!(admin.metric(&metric), 3.0, "{name}");
    }
    Http::connect(&server).get("/party/talk");
    let missing = admin.metric(r#"ovation_token_refusals_total{reason="missing"}"#);
    assert_eq!(missing, 1.0);
}
