//! How many are here: told to those who ask, and to nobody else.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, EventStream, Http, Server, eventually, reaction, switches_of};

/// How many are here, if that is what the message says.
fn here(text: &str) -> Option<u64> {
    let number = text.strip_prefix(r#"{"$here":"#)?.strip_suffix('}')?;
    Some(number.parse().unwrap_or_else(|_| panic!("{text}")))
}

/// A WebSocket that asks; reads the counts and the number that come first.
fn ask(server: &Server, room: &str) -> (Client, u64) {
    let mut client = Client::open(server, &format!("/party/{room}?presence=1"));
    assert_eq!(here(&client.next_text()), None, "the counts come first");
    let number = here(&client.next_text()).expect("the number comes second");
    (client, number)
}

/// Reads until the message comes. One who came late may be told a number again with the others.
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
fn those_who_ask_are_told_at_once_and_when_it_changes() {
    let server = Server::start(&["--presence-interval-ms", "100"]);
    let (mut first, number) = ask(&server, "talk");
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
    // The counts come between as ever.
    first.react("love");
    assert_eq!(first.next_text(), r#"{"love":1}"#);
    assert_eq!(stream.next_data(), r#"{"love":1}"#);
}

#[test]
fn members_of_all_reactors_are_counted() {
    const MEMBERS: u64 = 40;
    let server = Server::start(&["--reactors", "4", "--presence-interval-ms", "50"]);
    let mut asking: Vec<_> = (0..MEMBERS / 2).map(|_| ask(&server, "talk").0).collect();
    let plain: Vec<_> = (0..MEMBERS / 2)
        .map(|_| Client::enter(&server, "talk"))
        .collect();
    let wait = |asking: &mut Vec<Client>, number: u64| {
        for client in asking {
            while here(&client.next_text()) != Some(number) {}
        }
    };
    wait(&mut asking, MEMBERS);
    drop(plain);
    wait(&mut asking, MEMBERS / 2);
    asking.truncate(1);
    wait(&mut asking, 1);
}

#[test]
fn rooms_are_counted_apart() {
    let server = Server::start(&["--presence-interval-ms", "50"]);
    let (_one, number) = ask(&server, "one");
    assert_eq!(number, 1);
    let (_two, number) = ask(&server, "two");
    assert_eq!(number, 1);
}

#[test]
fn those_who_do_not_ask_see_nothing_new() {
    let server = Server::start(&["--presence-interval-ms", "20"]);
    let mut plain = Client::enter(&server, "talk");
    let mut off = Client::open(&server, "/party/talk?presence=0");
    assert_eq!(off.next_text(), "{}");
    let (mut asking, _) = ask(&server, "talk");
    for _ in 0..3 {
        let passes_by = ask(&server, "talk");
        assert_eq!(here(&asking.next_text()), Some(4));
        drop(passes_by);
        assert_eq!(here(&asking.next_text()), Some(3));
    }
    asking.react("love");
    assert_eq!(plain.next_text(), r#"{"love":1}"#);
    assert_eq!(off.next_text(), r#"{"love":1}"#);
}

#[test]
fn many_changes_cost_few_messages() {
    let server = Server::start(&["--presence-interval-ms", "500"]);
    let (mut first, _) = ask(&server, "talk");
    let began = Instant::now();
    let crowd: Vec<_> = (0..100).map(|_| Client::enter(&server, "talk")).collect();
    let mut messages = 0;
    while here(&first.next_text()) != Some(101) {
        messages += 1;
    }
    let most = 1 + began.elapsed().as_millis() / 500;
    assert!(messages <= most, "{messages} messages, not {most}");
    drop(crowd);
}

#[test]
fn who_comes_and_goes_at_once_is_not_told_of() {
    let server = Server::start(&["--presence-interval-ms", "300"]);
    let (mut first, _) = ask(&server, "talk");
    drop(Client::enter(&server, "talk"));
    // By the time of this answer, a number that had changed would have been sent.
    thread::sleep(Duration::from_millis(600));
    first.react("love");
    assert_eq!(first.next_text(), r#"{"love":1}"#);
}

#[test]
fn no_kind_is_called_as_the_number_is() {
    let server = Server::start(&["--max-invalid-messages", "1"]);
    let mut http = Http::connect(&server);
    let refused = http.post("/party/talk", &reaction("$here"));
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("reserved"), "{}", refused.body);
    let escaped = http.post("/party/talk", r#"{"kind":"\u0024here"}"#);
    assert_eq!(escaped.status, 400);
    let mut client = Client::enter(&server, "talk");
    client.react("$here");
    client.react("$her");
    assert_eq!(client.next_text(), r#"{"$her":1}"#);
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
fn a_room_where_nobody_asks_is_not_woken_when_others_come() {
    let server = Server::start(&["--reactors", "2", "--presence-interval-ms", "1"]);
    // On one of the two are all who ask, in a room of their own.
    let (_asking, _) = ask(&server, "asking");
    let before = switches_of(&server, "reactor-");
    const JOINS: u64 = 50;
    for _ in 0..JOINS {
        drop(Client::enter(&server, "talk"));
    }
    eventually("quiet", || {
        let now = switches_of(&server, "reactor-");
        thread::sleep(Duration::from_millis(100));
        now == switches_of(&server, "reactor-")
    });
    // Accepting, the request, leaving: not one more for the other reactor.
    let woken = switches_of(&server, "reactor-") - before;
    assert!(woken <= 3 * JOINS, "{JOINS} visitors woke it {woken} times");
}

#[test]
fn members_who_ask_and_stay_cost_no_wake_up() {
    let server = Server::start(&[
        "--ping-interval-ms",
        "0",
        "--head-timeout-ms",
        "100",
        "--presence-interval-ms",
        "50",
    ]);
    let mut members: Vec<_> = (0..50).map(|_| ask(&server, "talk").0).collect();
    for member in &mut members[..49] {
        while here(&member.next_text()) != Some(50) {}
    }
    let settled = crate::idle::settle(&server);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(crate::support::switches(&server) - settled, 0);
}
