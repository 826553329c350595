//! Rooms by their promises: exact counts, first seen first, one notice for each change.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::store::{Store, StoreLimits};

fn table(limits: RoomLimits) -> Arc<RoomTable> {
    let store = Store::anonymous(&StoreLimits::default()).unwrap();
    RoomTable::new(Arc::new(store), limits)
}

fn json(room: &Room) -> String {
    String::from_utf8(room.counts().message.json().to_vec()).unwrap()
}

#[test]
fn kinds_are_shown_in_the_order_in_which_they_came() {
    let table = table(RoomLimits::default());
    let room = table.enter("main", "talk", None);
    assert_eq!(json(&room), "{}");
    for (kind, delta) in [("love", 2), ("clap", 1), ("a\"b", 1), ("love", 1)] {
        room.counter(kind).unwrap().add(delta);
        room.publish(None).for_each(drop);
    }
    assert_eq!(json(&room), r#"{"love":3,"clap":1,"a\"b":1}"#);
}

#[test]
fn counts_are_encoded_once_per_version() {
    let table = table(RoomLimits::default());
    let room = table.enter("main", "talk", None);
    let first = room.counts();
    assert_eq!(
        first.message.frame().as_ptr(),
        room.counts().message.frame().as_ptr()
    );
    room.counter("love").unwrap().add(1);
    room.publish(None).for_each(drop);
    assert!(room.counts().version > first.version);
    assert_eq!(&room.counts().message.frame()[..2], [0x81, 10]);
}

#[test]
fn a_watcher_is_notified_once_until_it_acknowledges() {
    let table = table(RoomLimits::default());
    let handles = [0, 1, 64, 255].map(|reactor| table.enter("main", "talk", Some(reactor)));
    let notified = |by| handles[0].publish(by).collect::<Vec<_>>();
    assert_eq!(notified(Some(1)), [0, 64, 255]);
    assert_eq!(notified(Some(0)), [1]);
    assert_eq!(notified(None), [0; 0]);
    handles[0].acknowledge_counts(64);
    assert_eq!(notified(None), [64]);
    let again = table.enter("main", "talk", Some(2));
    assert!(notified(None).contains(&2));
    drop(again);
    let _again = table.enter("main", "talk", Some(2));
    assert!(
        notified(None).contains(&2),
        "notified before it left, and not since"
    );
    let [first, ..] = handles;
    first.acknowledge_counts(255);
    drop(table.enter("main", "talk", Some(255)));
    assert_eq!(first.publish(None).collect::<Vec<_>>(), [0; 0]);
}

#[test]
fn limits_on_kinds_hold_and_spare_existing_kinds() {
    let table = table(RoomLimits {
        max_kinds: 2,
        ..RoomLimits::default()
    });
    let room = table.enter("main", "talk", None);
    room.counter("a").unwrap();
    room.counter("b").unwrap().add(1);
    assert!(matches!(room.counter("c"), Err(RoomError::TooManyKinds(2))));
    assert!(room.counter("a").is_ok());
    assert_eq!(json(&room), r#"{"b":1}"#);
}

#[test]
fn listed_kinds_are_counted_beyond_the_limit_and_no_others() {
    let table = table(RoomLimits {
        max_kinds: 2,
        allowed_kinds: Some(["a", "b", "c"].map(String::from).to_vec()),
        ..RoomLimits::default()
    });
    let room = table.enter("main", "talk", None);
    assert!(matches!(room.counter("x"), Err(RoomError::KindNotAllowed)));
    for kind in ["a", "b", "c"] {
        assert!(room.counter(kind).is_ok(), "{kind}");
    }
}

#[test]
fn an_unused_room_hibernates_and_comes_back() {
    let table = table(RoomLimits {
        grace: Duration::ZERO,
        ..RoomLimits::default()
    });
    let (one, two) = (
        table.enter("main", "talk", None),
        table.enter("main", "talk", Some(3)),
    );
    one.counter("love").unwrap().add(5);
    drop(one);
    assert_eq!(table.len(), 1);
    drop(two);
    assert!(table.is_empty());
    assert_eq!(json(&table.enter("main", "talk", None)), r#"{"love":5}"#);
}

#[test]
fn rooms_stay_idle_for_a_time_within_their_limit() {
    const IDLE: usize = 3;
    let table = table(RoomLimits {
        grace: Duration::from_millis(20),
        max_idle_rooms: IDLE,
        ..RoomLimits::default()
    });
    drop(table.enter("main", "empty", None));
    assert!(table.is_empty(), "a room without counts does not stay");
    for number in 0..10 {
        let room = table.enter("main", &number.to_string(), None);
        room.counter("love").unwrap().add(number);
    }
    assert_eq!(table.len(), IDLE);
    let used = table.enter("main", "9", None);
    let end = table.next_hibernation().unwrap() + Duration::from_millis(30);
    while std::time::Instant::now() < end {
        table.hibernate();
        std::thread::yield_now();
    }
    assert_eq!(table.len(), 1, "every room but the used one has left");
    assert_eq!(table.next_hibernation(), None);
    assert_eq!(json(&used), r#"{"love":9}"#);
    assert_eq!(json(&table.enter("main", "5", None)), r#"{"love":5}"#);
}

#[test]
fn a_used_room_does_not_expire() {
    let store = Arc::new(Store::anonymous(&StoreLimits::default()).unwrap());
    let table = RoomTable::new(Arc::clone(&store), RoomLimits::default());
    for name in ["used", "idle", "gone"] {
        let room = table.enter("main", name, None);
        room.counter("love").unwrap().add(3);
    }
    let used = table.enter("main", "used", None);
    assert_eq!(table.remove_inactive_since(0), 0);
    assert_eq!(
        table.remove_inactive_since(u32::MAX),
        0,
        "the rooms have just counted"
    );
    store.flush().unwrap();
    assert_eq!(table.remove_inactive_since(u32::MAX), 2);
    assert_eq!(json(&used), r#"{"love":3}"#);
    assert_eq!(json(&table.enter("main", "idle", None)), "{}");
}

#[test]
fn threads_in_a_new_room_share_one_counter() {
    let table = table(RoomLimits::default());
    std::thread::scope(|scope| {
        for reactor in 0..4 {
            let table = &table;
            scope.spawn(move || {
                for _ in 0..1000 {
                    let room = table.enter("main", "talk", Some(reactor));
                    room.counter("love").unwrap().add(1);
                    room.publish(Some(reactor)).for_each(drop);
                }
            });
        }
    });
    assert_eq!(json(&table.enter("main", "talk", None)), r#"{"love":4000}"#);
}

#[test]
fn a_message_has_two_forms() {
    let table = table(RoomLimits::default());
    let room = table.enter("main", "talk", None);
    room.counter("love").unwrap().add(7);
    let message = room.counts().message;
    assert_eq!(&message.frame()[..], b"\x81\x0a{\"love\":7}");
    assert_eq!(&message.event()[..], b"data: {\"love\":7}\n\n");
    assert_eq!(message.json(), br#"{"love":7}"#);
}

#[test]
fn presence_is_notified_only_where_it_is_watched() {
    let table = table(RoomLimits::default());
    let room = table.enter("main", "talk", Some(0));
    assert_eq!(room.member_joined().count(), 0);
    room.watch_presence(3);
    assert_eq!(room.member_joined().collect::<Vec<_>>(), [3]);
    assert_eq!(
        room.member_joined().count(),
        0,
        "notified, and not acknowledged yet"
    );
    assert_eq!(room.presence().1.json(), br#"{"$here":3}"#);
    room.acknowledge_presence(3);
    assert_eq!(room.member_left().collect::<Vec<_>>(), [3]);
    assert_eq!(room.members(), 2);
    room.acknowledge_presence(3);
    room.unwatch_presence(3);
    assert_eq!(room.member_left().count(), 0);
}

#[test]
fn a_reset_is_published_like_any_change() {
    let table = table(RoomLimits::default());
    let room = table.enter("main", "talk", Some(2));
    room.counter("love").unwrap().add(7);
    room.reset().unwrap();
    assert_eq!(room.publish(None).collect::<Vec<_>>(), [2]);
    assert_eq!(json(&room), "{}");
    room.counter("love").unwrap().add(1);
    room.publish(None).for_each(drop);
    assert_eq!(json(&room), r#"{"love":1}"#);
}

#[test]
fn all_rooms_in_memory_are_listed() {
    let table = table(RoomLimits::default());
    let mut rooms: Vec<_> = (0..1000)
        .map(|number| table.enter("main", &number.to_string(), None))
        .collect();
    let names = || {
        let mut names = Vec::new();
        table.for_each(|room| names.push(room.name().parse::<usize>().unwrap()));
        names.sort_unstable();
        names
    };
    assert_eq!(names(), (0..1000).collect::<Vec<_>>());
    rooms.drain(1..999);
    assert_eq!(names(), [0, 999]);
    drop(rooms);
    assert_eq!(names(), [0; 0]);
}
