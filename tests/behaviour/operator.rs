//! What an operator can do on the admin side: find, reset and close rooms.

use crate::support::{AdminSide, Client, EventStream, Http, Server, directory, eventually};

#[test]
fn rooms_can_be_listed_searched_and_limited() {
    let (server, admin) = AdminSide::start(&["--reactors", "2", "--room-grace-ms", "0"]);
    let mut crowd: Vec<_> = (0..5).map(|_| Client::enter(&server, "keynote")).collect();
    let _small: Vec<_> = (0..20)
        .map(|number| Client::enter(&server, &format!("talk-{number}")))
        .collect();
    let _named = Client::open(&server, "/party/%22%3Cb%3E%20%E2%9D%A4");
    crowd[0].react("❤");
    crowd[4].wait_for(|counts| counts.of("❤") == 1);
    let list = admin.json("/rooms?limit=3");
    assert_eq!(
        (&list["inMemory"], &list["matching"]),
        (&22.into(), &22.into())
    );
    let rooms = list["rooms"].as_array().unwrap();
    assert_eq!(rooms.len(), 3);
    assert_eq!(rooms[0]["room"], "keynote");
    assert_eq!(rooms[0]["party"], "main");
    assert_eq!(rooms[0]["members"], 5);
    assert_eq!(rooms[0]["counts"], serde_json::json!({ "❤": 1 }));
    let found = admin.json("/rooms?search=TALK-1");
    assert_eq!(found["matching"], 11);
    let odd = admin.json("/rooms?search=%3Cb%3E");
    assert_eq!(odd["rooms"][0]["room"], "\"<b> ❤");
    let by_name = admin.json("/rooms?sort=name&limit=2&search=talk");
    assert_eq!(by_name["rooms"][1]["room"], "talk-1");
    eventually("the next sample has the reaction", || {
        admin.json("/rooms?sort=reactions&limit=1")["rooms"][0]["reactions"] == 1
    });
    drop(crowd);
    eventually("the room without members has left memory", || {
        admin.json("/rooms?limit=1")["inMemory"] == 21
    });
}

#[test]
fn a_reset_reaches_all_members_and_survives_a_kill() {
    let home = directory();
    let arguments = ["--reactors", "2", "--admin", "127.0.0.1:0"];
    let mut server = Server::start_in(home.path(), &arguments);
    let admin = AdminSide::of(&server);
    let mut members: Vec<_> = (0..6).map(|_| Client::enter(&server, "talk")).collect();
    let (mut stream, _) = EventStream::join(&server, "talk");
    let mut bystander = Client::enter(&server, "other");
    bystander.react("love");
    bystander.wait_for(|counts| counts.of("love") == 1);
    members[0].react("love");
    for member in &mut members {
        member.wait_for(|counts| counts.of("love") == 1);
    }
    assert_eq!(stream.next_data(), r#"{"love":1}"#);
    let done = admin.act("/rooms/main/talk/reset");
    assert_eq!((done.status, &*done.body), (200, r#"{"members":7}"#));
    for member in &mut members {
        assert_eq!(member.next_text(), "{}");
    }
    assert_eq!(stream.next_data(), "{}");
    members[1].react("clap");
    assert_eq!(members[2].next_text(), r#"{"clap":1}"#);
    // A room without members can be reset too.
    drop(bystander);
    assert_eq!(admin.act("/rooms/main/other/reset").status, 200);
    assert_eq!(Http::connect(&server).get("/party/other").body, "{}");
    assert_eq!(admin.act("/rooms/main/other/reset").status, 404);
    eventually("the log has both actions", || {
        server.log().matches("room reset by operator").count() == 2
    });
    server.kill();
    let server = Server::start_in(home.path(), &[]);
    let counts = Client::join(&server, "talk").1.to_string();
    assert_eq!(counts, r#"{"clap": 1}"#);
}

#[test]
fn closing_a_room_disconnects_only_its_members() {
    let (server, admin) = AdminSide::start(&["--reactors", "2"]);
    let mut members: Vec<_> = (0..1500).map(|_| Client::enter(&server, "talk")).collect();
    let (mut stream, _) = EventStream::join(&server, "talk");
    let mut other = Client::enter(&server, "other");
    members[0].react("love");
    members[0].wait_for(|counts| counts.of("love") == 1);
    let done = admin.act("/rooms/main/talk/close");
    assert_eq!((done.status, &*done.body), (200, r#"{"members":1501}"#));
    for member in &mut members {
        assert_eq!(member.close_code(), Some(4503));
    }
    assert_eq!(stream.close_code(), 4503);
    other.react("love");
    other.wait_for(|counts| counts.of("love") == 1);
    let closed = r#"ovation_closed_total{reason="closed"}"#;
    assert_eq!(admin.metrics()[closed], 1501.0);
}

#[test]
fn a_room_name_cannot_forge_a_log_line() {
    let (server, admin) = AdminSide::start(&[]);
    assert_eq!(admin.act("/rooms/main/a%0A%1B[2Jb/close").status, 404);
    let _member = Client::enter(&server, "a%22%20party=%22b");
    assert_eq!(admin.act("/rooms/main/a%22%20party=%22b/close").status, 200);
    eventually("the log has the action", || {
        server.log().contains("room mode set by operator")
    });
    let log = server.log();
    let mut lines = log.lines();
    let line = lines.find(|line| line.contains("room mode set by operator"));
    let name = r#"room="a\" party=\"b""#;
    assert!(line.is_some_and(|line| line.contains(name)), "{log}");
}

#[test]
fn invalid_actions_are_refused() {
    let (server, admin) = AdminSide::start(&[]);
    let mut member = Client::enter(&server, "talk");
    for (target, status) in [
        ("/rooms/main/talk", 404),
        ("/rooms/main/talk/explode", 404),
        ("/rooms/main/talk/close/now", 404),
        ("/rooms/main/%ff/close", 400),
        ("/", 404),
    ] {
        assert_eq!(admin.act(target).status, status, "{target}");
    }
    for (fields, status) in [
        ("", 403),
        ("X-Ovation: 1\r\nOrigin: https://evil.example\r\n", 403),
        ("X-Ovation: 1\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("X-Ovation: 1\r\nHost: rebound.example\r\n", 403),
    ] {
        let response = admin.request("POST", "/rooms/main/talk/close", fields);
        assert_eq!(response.status, status, "{fields}");
        assert_eq!(response.field("Access-Control-Allow-Origin"), None);
    }
    // The room is still open.
    member.react("love");
    assert_eq!(member.next_text(), r#"{"love":1}"#);
}
