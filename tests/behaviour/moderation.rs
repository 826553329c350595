//! What operators do to rooms while the server runs, as members see it.

use crate::support::{
    AdminSide, Client, Counts, EventStream, Http, Server, eventually, reaction, upgrade_head,
};

/// The close code of a room that is closed.
const CLOSED: u16 = 4503;
/// The close code of a room that was removed.
const REMOVED: u16 = 4101;

#[test]
fn a_frozen_room_shows_its_counts_and_counts_nothing() {
    let (server, admin) = AdminSide::start(&["--reactors", "2"]);
    let mut plain: Vec<_> = (0..4).map(|_| Client::enter(&server, "talk")).collect();
    let mut curious = Client::open(&server, "/party/talk?state=1");
    assert_eq!(curious.next_text(), "{}");
    plain[0].react("love");
    for member in plain.iter_mut().chain([&mut curious]) {
        member.wait_for(|counts| counts.of("love") == 1);
    }

    assert_eq!(admin.act("/rooms/main/talk/freeze").status, 200);
    assert_eq!(curious.next_text(), r#"{"$state":"frozen"}"#);
    for member in &mut plain {
        member.react("love");
        member.react("new");
    }
    let mut http = Http::connect(&server);
    let refused = http.post("/party/talk", &reaction("love"));
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("frozen"), "{}", refused.body);
    eventually("the server has dropped every reaction", || {
        admin.sum("ovation_dropped_messages_total") == 9.0
    });
    // A member that joins now sees the counts, and learns that the room is frozen.
    let mut late = Client::open(&server, "/party/talk?presence=1");
    assert_eq!(late.next_text(), r#"{"love":1}"#);
    assert_eq!(late.next_text(), r#"{"$state":"frozen"}"#);
    let mut late_plain = Client::enter(&server, "talk");

    assert_eq!(admin.act("/rooms/main/talk/open").status, 200);
    assert_eq!(curious.next_text(), r#"{"$state":"open"}"#);
    late_plain.react("love");
    let counts = plain[3].next_counts();
    assert_eq!(counts.to_string(), r#"{"love": 2}"#);
}

#[test]
fn nobody_is_in_a_closed_room_until_it_is_opened() {
    let (server, admin) = AdminSide::start(&["--reactors", "2"]);
    let mut member = Client::enter(&server, "talk");
    let (mut stream, _) = EventStream::join(&server, "talk");
    member.react("love");
    member.wait_for(|counts| counts.of("love") == 1);
    let done = admin.act("/rooms/main/talk/close");
    assert_eq!((done.status, &*done.body), (200, r#"{"members":2}"#));
    assert_eq!(member.close_code(), Some(CLOSED));
    assert_eq!(stream.close_code(), CLOSED);
    // A browser gets the close code, and other clients get the status.
    let mut page = Client::open_from(&server, "/party/talk", Some("http://ovation.test"));
    assert_eq!(page.close_code(), Some(CLOSED));
    let mut http = Http::connect(&server);
    http.send(upgrade_head("/party/talk", ""));
    assert_eq!(http.response().status, 403);
    assert_eq!(Http::connect(&server).get("/party/talk").status, 403);
    let posted = Http::connect(&server).post("/party/talk", &reaction("love"));
    assert_eq!((posted.status, &*posted.body), (403, "the room is closed"));

    assert_eq!(admin.act("/rooms/main/talk/open").status, 200);
    let (mut again, counts) = Client::join(&server, "talk");
    assert_eq!(counts.to_string(), r#"{"love": 1}"#);
    again.react("love");
    again.wait_for(|counts| counts.of("love") == 2);
}

#[test]
fn the_mode_of_a_room_survives_a_restart_and_a_crash() {
    let home = tempfile::tempdir().expect("a temporary directory");
    {
        let (mut server, admin) = AdminSide::start_in(home.path(), &[]);
        let mut member = Client::enter(&server, "frozen");
        member.react("love");
        member.wait_for(|counts| counts.of("love") == 1);
        assert_eq!(admin.act("/rooms/main/frozen/freeze").status, 200);
        // A room that nobody has used can be closed before the talk begins.
        assert_eq!(admin.act("/rooms/main/never%20used/close").status, 200);
        server.kill();
    }
    for _ in 0..2 {
        let (server, _admin) = AdminSide::start_in(home.path(), &[]);
        let mut http = Http::connect(&server);
        assert_eq!(http.get("/party/frozen").body, r#"{"love":1}"#);
        assert_eq!(http.post("/party/frozen", &reaction("love")).status, 409);
        assert_eq!(http.get("/party/never%20used").status, 403);
        server.stop();
    }
}

#[test]
fn a_removed_kind_is_gone_and_can_come_again() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let (mut server, admin) =
        AdminSide::start_in(home.path(), &["--reactors", "2", "--max-kinds", "2"]);
    let mut members: Vec<_> = (0..4).map(|_| Client::enter(&server, "talk")).collect();
    for kind in ["love", "slur"] {
        members[0].react(kind);
        members[0].wait_for(|counts| counts.of(kind) == 1);
    }
    assert_eq!(
        Http::connect(&server)
            .post("/party/talk", &reaction("clap"))
            .status,
        422
    );
    assert_eq!(admin.act("/rooms/main/talk/kinds/slur/remove").status, 200);
    assert_eq!(admin.act("/rooms/main/talk/kinds/slur/remove").status, 404);
    for member in &mut members {
        while member.next_text() != r#"{"love":1}"# {}
    }
    // There is space for another kind, and the removed one starts at zero.
    members[1].react("clap");
    members[0].wait_for(|counts| counts.to_string() == r#"{"love": 1, "clap": 1}"#);
    assert_eq!(admin.act("/rooms/main/talk/kinds/clap/remove").status, 200);
    members[0].react("slur");
    members[0].react("slur");
    members[0].react("love");
    eventually("the kinds are counted anew", || {
        Http::connect(&server).get("/party/talk").body == r#"{"love":2,"slur":2}"#
    });
    server.kill();
    let server = Server::start_in(home.path(), &[]);
    let counts = Http::connect(&server).get("/party/talk").body;
    assert_eq!(counts, r#"{"love":2,"slur":2}"#);
}

#[test]
fn a_removed_room_is_gone_for_good() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let (mut server, admin) = AdminSide::start_in(home.path(), &["--reactors", "2"]);
    let mut members: Vec<_> = (0..1500).map(|_| Client::enter(&server, "talk")).collect();
    let mut other = Client::enter(&server, "other");
    members[0].react("love");
    members[0].wait_for(|counts| counts.of("love") == 1);
    assert_eq!(admin.act("/rooms/main/talk/remove").status, 200);
    for member in &mut members {
        assert_eq!(member.close_code(), Some(REMOVED));
    }
    // A client that comes back finds a new room.
    let (mut again, counts) = Client::join(&server, "talk");
    assert_eq!(counts.to_string(), "{}");
    again.react("clap");
    again.wait_for(|counts| counts.to_string() == r#"{"clap": 1}"#);
    other.react("love");
    other.wait_for(|counts| counts.of("love") == 1);
    assert_eq!(admin.act("/rooms/main/nobody/remove").status, 404);
    server.kill();
    let server = Server::start_in(home.path(), &[]);
    assert_eq!(
        Http::connect(&server).get("/party/talk").body,
        r#"{"clap":1}"#
    );
}

#[test]
fn a_reset_removes_kinds_that_are_not_on_the_list() {
    let home = tempfile::tempdir().expect("a temporary directory");
    {
        let server = Server::start_in(home.path(), &[]);
        let mut http = Http::connect(&server);
        for number in 0..64 {
            let invented = reaction(&format!("x{number}"));
            assert_eq!(http.post("/party/talk", &invented).status, 200);
        }
        server.stop();
    }
    let (server, admin) = AdminSide::start_in(home.path(), &["--kinds", "love,clap"]);
    let mut http = Http::connect(&server);
    assert_eq!(http.post("/party/talk", &reaction("love")).status, 200);
    assert_eq!(admin.act("/rooms/main/talk/reset").status, 200);
    assert_eq!(
        http.post("/party/talk", &reaction("love")).body,
        r#"{"love":1}"#
    );
    server.stop();
    // Without a list, a reset makes space for new kinds.
    let (server, admin) = AdminSide::start_in(home.path(), &["--max-kinds", "1"]);
    let mut http = Http::connect(&server);
    assert_eq!(http.post("/party/talk", &reaction("clap")).status, 422);
    assert_eq!(admin.act("/rooms/main/talk/reset").status, 200);
    assert_eq!(
        http.post("/party/talk", &reaction("clap")).body,
        r#"{"clap":1}"#
    );
}

#[test]
fn removals_under_load_lose_nothing_that_follows() {
    let (server, admin) = AdminSide::start(&["--reactors", "2"]);
    let mut members: Vec<_> = (0..8).map(|_| Client::enter(&server, "talk")).collect();
    for _ in 0..30 {
        for member in &mut members {
            for _ in 0..5 {
                member.react("love");
                member.react("slur");
            }
        }
        // The kind comes again with the next reaction.
        eventually("the kind is removed", || {
            admin.act("/rooms/main/talk/kinds/slur/remove").status == 200
        });
    }
    eventually("every other reaction is counted", || {
        let body = Http::connect(&server).get("/party/talk").body;
        body.contains(r#""love":1200"#)
    });
}

#[test]
fn a_room_that_is_frozen_under_load_stops_counting() {
    let (server, admin) = AdminSide::start(&["--reactors", "2"]);
    let mut members: Vec<_> = (0..8).map(|_| Client::enter(&server, "talk")).collect();
    let dropped = || admin.sum("ovation_dropped_messages_total");
    let mut counted = 0;
    for _ in 0..25 {
        assert_eq!(admin.act("/rooms/main/talk/open").status, 200);
        for member in &mut members {
            (0..50).for_each(|_| member.react("love"));
        }
        assert_eq!(admin.act("/rooms/main/talk/freeze").status, 200);
        // What a reactor was busy with may still count. Then it refuses.
        for member in &mut members {
            let before = dropped();
            eventually("the reactor refuses", || {
                member.react("love");
                dropped() > before
            });
        }
        let counts = Http::connect(&server).get("/party/talk").body;
        let before = dropped();
        for member in &mut members {
            (0..50).for_each(|_| member.react("love"));
        }
        eventually("everything is refused", || dropped() >= before + 400.0);
        assert_eq!(Http::connect(&server).get("/party/talk").body, counts);
        // Members read what was sent, so that their sockets don't fill. A round may count nothing.
        let now = Counts::parse(&counts).of("love");
        if now > counted {
            for member in &mut members {
                member.wait_for(|seen| seen.of("love") == now);
            }
        }
        counted = now;
    }
}
