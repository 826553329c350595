//! The messages between a room and its members, as clients of PartyKit know them.

use crate::support::{Client, Http, Server, reaction, upgrade_head};

#[test]
fn members_see_all_reactions_including_their_own() {
    let server = Server::start(&["--tick-ms", "1"]);
    let (mut alice, first) = Client::join(&server, "talk");
    assert_eq!(first.total(), 0);
    let mut bob = Client::enter(&server, "talk");
    alice.react("love");
    assert_eq!(alice.next_text(), r#"{"love":1}"#);
    assert_eq!(bob.next_text(), r#"{"love":1}"#);
    bob.react("clap");
    assert_eq!(alice.next_text(), r#"{"love":1,"clap":1}"#);
    assert_eq!(bob.next_text(), r#"{"love":1,"clap":1}"#);
}

#[test]
fn the_first_message_has_the_counts_of_the_room() {
    let server = Server::start(&[]);
    let mut first = Client::open(&server, "/party/talk");
    assert_eq!(first.next_text(), "{}");
    for kind in ["love", "clap", "love"] {
        first.react(kind);
    }
    first.wait_for(|counts| counts.total() == 3);
    let mut second = Client::open(&server, "/party/talk");
    assert_eq!(second.next_text(), r#"{"love":2,"clap":1}"#);
}

#[test]
fn kinds_keep_the_order_of_their_first_use() {
    let server = Server::start(&[]);
    let mut client = Client::enter(&server, "talk");
    for kind in [
        "zebra",
        "10",
        "apple",
        "2",
        "zebra",
        "constructor",
        "__proto__",
        "apple",
    ] {
        client.react(kind);
    }
    client.wait_for(|counts| counts.total() == 8);
    let text = Http::connect(&server).get("/party/talk").body;
    assert_eq!(
        text,
        r#"{"zebra":2,"10":1,"apple":2,"2":1,"constructor":1,"__proto__":1}"#
    );
}

#[test]
fn rooms_are_isolated() {
    let server = Server::start(&["--party", "main,stage"]);
    let mut here = Client::enter(&server, "here");
    let mut there = Client::enter(&server, "there");
    let mut stage = Client::open(&server, "/parties/stage/here");
    assert_eq!(stage.next_text(), "{}");
    here.react("love");
    here.wait_for(|counts| counts.of("love") == 1);
    there.react("clap");
    assert_eq!(there.next_text(), r#"{"clap":1}"#);
    stage.react("wow");
    assert_eq!(stage.next_text(), r#"{"wow":1}"#);
}

#[test]
fn every_spelling_of_a_room_is_the_same_room() {
    let server = Server::start(&["--tick-ms", "1"]);
    let spellings = [
        "/party/a%20%E2%9D%A4",
        "/parties/main/a%20%e2%9d%a4",
        "/parties/main/%61%20%E2%9D%A4?_pk=1f6e&x=/y",
        "/party/a%20%E2%9D%A4/more/segments?q",
        "/party/a%20%E2%9D%A4/",
    ];
    let mut members: Vec<_> = spellings
        .iter()
        .map(|target| Client::open(&server, target))
        .collect();
    for member in &mut members {
        member.next_text();
    }
    for (index, target) in spellings.iter().enumerate() {
        members[index].react("love");
        for member in &mut members {
            member.wait_for(|counts| counts.of("love") == index as u64 + 1);
        }
        let counts = Http::connect(&server).get(target).body;
        assert_eq!(counts, format!(r#"{{"love":{}}}"#, index + 1), "{target}");
    }
}

#[test]
fn an_escaped_slash_is_part_of_the_room_name() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    assert_eq!(
        http.post("/party/a%2Fb", &reaction("love")).body,
        r#"{"love":1}"#
    );
    assert_eq!(http.get("/party/a").body, "{}");
    assert_eq!(http.get("/party/a%2fb/c").body, r#"{"love":1}"#);
}

#[test]
fn unknown_paths_and_parties_are_not_found() {
    let server = Server::start(&["--no-pages"]);
    for (target, body) in [
        ("/parties/other/talk", "Party other not found"),
        ("/parties/%C3%A4/talk", "Party ä not found"),
        ("/", "Not found"),
        ("/party", "Not found"),
        ("/party/", "Not found"),
        ("/parties/main", "Not found"),
        ("/partying/talk", "Not found"),
    ] {
        let plain = Http::connect(&server).get(target);
        assert_eq!((plain.status, plain.body.as_str()), (404, body), "{target}");
        let mut upgrade = Http::connect(&server);
        upgrade.send(upgrade_head(target, ""));
        let refusal = upgrade.response();
        assert_eq!(
            (refusal.status, refusal.body.as_str()),
            (404, body),
            "{target}"
        );
        upgrade.expect_end();
    }
    let malformed = Http::connect(&server).get("/party/%ff");
    assert_eq!(malformed.status, 400);
}

#[test]
fn only_the_configured_parties_are_served() {
    let server = Server::start(&["--party", "stage", "--party", "hall"]);
    let mut http = Http::connect(&server);
    assert_eq!(http.get("/parties/stage/talk").status, 200);
    assert_eq!(http.get("/parties/hall/talk").status, 200);
    let refusal = http.get("/party/talk");
    assert_eq!(
        (refusal.status, refusal.body.as_str()),
        (404, "Party main not found")
    );
}

#[test]
fn invalid_messages_are_dropped() {
    let server = Server::start(&["--max-invalid-messages", "20"]);
    let mut client = Client::enter(&server, "talk");
    for text in [
        "",
        "{}",
        "[]",
        "null",
        "love",
        "{\"kind\":",
        r#"{"kind":7}"#,
        r#"{"kind":null}"#,
        r#"{"kind":["love"]}"#,
        r#"{"kind":""}"#,
        r#"{"kind":"\u0007"}"#,
        r#"{"kind":"love"} {"kind":"love"}"#,
        r#"{"Kind":"love"}"#,
    ] {
        client.send(text.to_owned());
    }
    client.send(reaction("love").into_bytes());
    client.react("clap");
    assert_eq!(client.next_text(), r#"{"clap":1}"#);
}

#[test]
fn kinds_are_parsed_as_json_parse_does() {
    let server = Server::start(&[]);
    let mut client = Client::enter(&server, "talk");
    for text in [
        " \n{ \"id\" : [1, {\"kind\": \"no\"}], \"kind\" : \"love\" }\t",
        r#"{"kind":"no","kind":"love"}"#,
        r#"{"kind":"\u006cove"}"#,
        r#"{"kind":"❤\ud83d\ude00\"\\"}"#,
    ] {
        client.send(text.to_owned());
    }
    let counts = client.wait_for(|counts| counts.total() == 4);
    assert_eq!(counts.of("love"), 3);
    assert_eq!(counts.of("❤😀\"\\"), 1);
}

#[test]
fn a_room_without_members_keeps_its_counts() {
    let server = Server::start(&["--no-snapshot"]);
    let mut client = Client::enter(&server, "talk");
    client.react("love");
    client.wait_for(|counts| counts.of("love") == 1);
    client.socket.close(None).unwrap();
    assert_eq!(client.close_code(), None);
    let (_, counts) = Client::join(&server, "talk");
    assert_eq!(counts.of("love"), 1);
    assert!(!server.snapshot().exists(), "--no-snapshot created a file");
}
