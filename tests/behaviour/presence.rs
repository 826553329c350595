//! The number of members, which only presence subscribers get.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, EventStream, Http, Server, reaction, settled_switches, switches, switches_of,
};

/// Returns the number of members if this is a presence message.
fn here(text: &str) -> Option<u64> {
    let number = text.strip_prefix(r#"{"$here":"#)?.strip_suffix('}')?;
    Some(number.parse().unwrap_or_else(|_| panic!("{text}")))
}

/// Joins as a presence subscriber. Reads the counts and the number, which come first.
fn subscribe(server: &Server, room: &str) -> (Client, u64) {
    let mut client = Client::open(server, &format!("/party/{room}?presence=1"));
    assert_eq!(here(&client.next_text()), None, "the counts come first");
    let number = here(&client.next_text()).expect("the number comes second");
    (client, number)
}

/// Reads until the message comes. A late subscriber may get the same number twice.
fn read_until(mut next: impl FnMut() -> String, wanted: &str) {
    loop {
        let text = next();
        if text == wanted {
            return;
        }
        assert!(here(&text).is_some(), "{text}, not {wanted}");
    }
}

#[test]
fn subscribers_learn_the_number_and_its_changes() {
    let server = Server::start(&["--presence-interval-ms", "100"]);
    let (mut first, number) = subscribe(&server, "talk");
    assert_eq!(number, 1);
    let plain = Client::enter(&server, "talk");
    assert_eq!(here(&first.next_text()), Some(2));
    let mut stream = EventStream::open(&server, "/party/talk?presence=1");
    assert_eq!(stream.next_data(), "{}");
    assert_eq!(stream.next_data(), r#"{"$here":3}"#);
    assert_eq!(here(&first.next_text()), Some(3));
    drop(plain);
    assert_eq!(here(&first.next_text()), Some(2));
    read_until(|| stream.next_data(), r#"{"$here":2}"#);
    // Counts are sent as always.
    first.react("love");
    assert_eq!(first.next_text(), r#"{"love":1}"#);
    assert_eq!(stream.next_data(), r#"{"love":1}"#);
}

#[test]
fn members_of_all_reactors_are_counted() {
    const MEMBERS: u64 = 40;
    let server = Server::start(&["--reactors", "4", "--presence-interval-ms", "50"]);
    let mut subscribed: Vec<_> = (0..MEMBERS / 2)
        .map(|_| subscribe(&server, "talk").0)
        .collect();
    let plain: Vec<_> = (0..MEMBERS / 2)
        .map(|_| Client::enter(&server, "talk"))
        .collect();
    let wait = |subscribed: &mut Vec<Client>, number: u64| {
        for client in subscribed {
            while here(&client.next_text()) != Some(number) {}
        }
    };
    wait(&mut subscribed, MEMBERS);
    drop(plain);
    wait(&mut subscribed, MEMBERS / 2);
    subscribed.truncate(1);
    wait(&mut subscribed, 1);
}

#[test]
fn rooms_are_counted_separately() {
    let server = Server::start(&["--presence-interval-ms", "50"]);
    let (_one, number) = subscribe(&server, "one");
    assert_eq!(number, 1);
    let (_two, number) = subscribe(&server, "two");
    assert_eq!(number, 1);
}

#[test]
fn other_members_get_no_presence_messages() {
    let server = Server::start(&["--presence-interval-ms", "20"]);
    let mut plain = Client::enter(&server, "talk");
    let mut off = Client::open(&server, "/party/talk?presence=0");
    assert_eq!(off.next_text(), "{}");
    let (mut subscribed, _) = subscribe(&server, "talk");
    for _ in 0..3 {
        let visitor = subscribe(&server, "talk");
        assert_eq!(here(&subscribed.next_text()), Some(4));
        drop(visitor);
        assert_eq!(here(&subscribed.next_text()), Some(3));
    }
    subscribed.react("love");
    assert_eq!(plain.next_text(), r#"{"love":1}"#);
    assert_eq!(off.next_text(), r#"{"love":1}"#);
}

#[test]
fn many_changes_cost_few_messages() {
    let server = Server::start(&["--presence-interval-ms", "500"]);
    let (mut first, _) = subscribe(&server, "talk");
    let began = Instant::now();
    let crowd: Vec<_> = (0..100).map(|_| Client::enter(&server, "talk")).collect();
    let mut messages = 0;
    while here(&first.next_text()) != Some(101) {
        messages += 1;
    }
    let limit = 1 + began.elapsed().as_millis() / 500;
    assert!(
        messages <= limit,
        "{messages} messages, at most {limit} expected"
    );
    drop(crowd);
}

#[test]
fn a_short_visit_is_not_reported() {
    const INTERVAL: Duration = Duration::from_millis(300);
    let server = Server::start(&["--presence-interval-ms", "300"]);
    let (mut first, _) = subscribe(&server, "talk");
    drop(Client::enter(&server, "talk"));
    // A changed number would have been sent within this time.
    thread::sleep(2 * INTERVAL);
    first.react("love");
    assert_eq!(first.next_text(), r#"{"love":1}"#);
}

#[test]
fn the_presence_key_is_a_reserved_kind() {
    let server = Server::start(&["--max-invalid-messages", "1"]);
    let mut http = Http::connect(&server);
    let refused = http.post("/party/talk", &reaction("$here"));
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("reserved"), "{}", refused.body);
    let escaped = http.post("/party/talk", r#"{"kind":"\u0024here"}"#);
    assert_eq!(escaped.status, 400);
    let mut client = Client::enter(&server, "talk");
    client.react("$here");
    client.react("her$");
    assert_eq!(client.next_text(), r#"{"her$":1}"#);
    client.react("$here");
    assert_eq!(client.close_code(), Some(1008));
}

#[test]
fn presence_can_be_turned_off() {
    let server = Server::start(&["--presence-interval-ms", "0"]);
    let mut client = Client::open(&server, "/party/talk?presence=1");
    assert_eq!(client.next_text(), "{}");
    client.react("love");
    assert_eq!(client.next_text(), r#"{"love":1}"#);
}

#[test]
fn presence_wakes_no_reactor_for_other_rooms() {
    let server = Server::start(&["--reactors", "2", "--presence-interval-ms", "1"]);
    // All subscribers are in one room on one of the two reactors.
    let (_subscribed, _) = subscribe(&server, "subscribed");
    let before = switches_of(&server, "reactor-");
    const JOINS: u64 = 50;
    for _ in 0..JOINS {
        drop(Client::enter(&server, "talk"));
    }
    settled_switches(&server);
    // Each visit wakes a reactor to accept, for the request and for the end. None wakes the other.
    let woken = switches_of(&server, "reactor-") - before;
    assert!(woken <= 3 * JOINS, "{JOINS} visits caused {woken} wake-ups");
}

#[test]
fn idle_subscribers_cause_no_wake_ups() {
    let server = Server::start(&[
        "--ping-interval-ms",
        "0",
        "--head-timeout-ms",
        "100",
        "--presence-interval-ms",
        "50",
    ]);
    let mut members: Vec<_> = (0..50).map(|_| subscribe(&server, "talk").0).collect();
    for member in &mut members[..49] {
        while here(&member.next_text()) != Some(50) {}
    }
    let settled = settled_switches(&server);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(switches(&server) - settled, 0);
}
