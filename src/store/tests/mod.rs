//! The store as rooms see it: what was counted comes back, whatever was left half-written.

mod faults;
mod images;
mod model;
mod retire;

use std::path::Path;

use super::dirty::PAGE_CELLS;
use super::disk::{Disk, FileSystem};
use super::mapping::{Cells, Mapping};
use super::*;

const NEW: OpenReport = OpenReport {
    rooms: 0,
    counters: 0,
    was_closed: true,
    restored_counts: 0,
    finished_resets: 0,
    leftovers: 0,
    salvaged: None,
};

/// In memory where that can be had: what a disk makes of syncs is not what is tested here.
fn directory() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(path: &Path) -> (Store, OpenReport) {
    Store::open(path, &StoreLimits::default()).unwrap()
}

/// In as small a file as there is.
fn small(max_rooms: usize) -> StoreLimits {
    StoreLimits {
        max_file_bytes: MIN_FILE_BYTES,
        max_rooms,
        ..StoreLimits::default()
    }
}

fn counts(store: &Store, party: &str, room: &str) -> Vec<(String, u64)> {
    let Some(id) = store.find(party, room) else {
        return Vec::new();
    };
    let kinds = store.kinds(id).into_iter();
    kinds.map(|(kind, counter)| (kind, counter.get())).collect()
}

#[test]
fn counts_come_back_in_the_order_of_their_kinds() {
    let directory = directory();
    let path = directory.path().join("counts");
    {
        let (store, report) = open(&path);
        assert_eq!(report, NEW);
        let room = store.room("main", "talk").unwrap();
        for (kind, delta) in [("love", 3), ("clap", 1), ("❤", 5)] {
            store.counter_of(room, kind).unwrap().add(delta);
        }
        store.counter_of(room, "love").unwrap().add(1);
        let other = store.room("main", &"long ".repeat(50)).unwrap();
        store.counter_of(other, "love").unwrap().add(9);
    }
    let (store, report) = open(&path);
    let expected = OpenReport {
        rooms: 2,
        counters: 4,
        ..OpenReport::default()
    };
    assert_eq!(report, expected);
    let owned = |(kind, count): (&str, u64)| (kind.to_owned(), count);
    let talk = [("love", 4), ("clap", 1), ("❤", 5)].map(owned);
    assert_eq!(counts(&store, "main", "talk"), talk);
    assert_eq!(
        counts(&store, "main", &"long ".repeat(50)),
        [owned(("love", 9))]
    );
    assert_eq!(counts(&store, "other", "talk"), []);
}

#[test]
fn a_counter_stays_at_the_largest_number() {
    let store = Store::anonymous(&small(1)).unwrap();
    let room = store.room("main", "talk").unwrap();
    let counter = store.counter_of(room, "love").unwrap();
    counter.add(u64::MAX - 1);
    counter.add(7);
    assert_eq!(counter.get(), u64::MAX);
}

#[test]
fn limits_are_errors() {
    let store = Store::anonymous(&small(2)).unwrap();
    store.room("main", "a").unwrap();
    store.room("main", "b").unwrap();
    assert!(matches!(
        store.room("main", "c"),
        Err(StoreError::TooManyRooms(2))
    ));
    assert!(store.room("main", "a").is_ok());

    let store = Store::anonymous(&small(usize::MAX)).unwrap();
    let error = (0..).find_map(|n| store.room("main", &n.to_string()).err());
    assert!(matches!(error, Some(StoreError::Full)));
}

#[test]
fn a_second_opener_is_told_who_holds_the_file() {
    let directory = directory();
    let path = directory.path().join("counts");
    let _held = open(&path);
    let error = Store::open(&path, &StoreLimits::default()).unwrap_err();
    assert!(
        matches!(error, OpenError::Locked { pid, .. } if pid == std::process::id()),
        "{error}"
    );
}

#[test]
fn foreign_files_are_refused_and_left_alone() {
    let directory = directory();
    let path = directory.path().join("foreign");
    let mut zero_first = vec![0; 8192];
    zero_first[8..24].copy_from_slice(b"somebody's notes");
    for content in [
        b"x".repeat(10),
        b"PNG ".repeat(5000),
        vec![1; 4096],
        zero_first,
    ] {
        std::fs::write(&path, &content).unwrap();
        // What compaction and imports do first.
        assert!(Lock::of(&path, true).is_err());
        let error = Store::open(&path, &StoreLimits::default()).unwrap_err();
        assert!(matches!(error, OpenError::Unreadable { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_file_of_nothing_that_is_too_large_is_refused_without_reading_it() {
    let directory = directory();
    let path = directory.path().join("sparse");
    let file = std::fs::File::create(&path).unwrap();
    // So much that reading it would time out.
    file.set_len(1 << 43).unwrap();
    let error = Store::open(&path, &StoreLimits::default()).unwrap_err();
    assert!(matches!(error, OpenError::TooLarge { .. }), "{error}");
}

#[test]
fn a_file_that_was_only_just_created_is_completed() {
    let directory = directory();
    let path = directory.path().join("blank");
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    assert_eq!(open(&path).1, NEW);
    assert!(std::fs::read(&path).unwrap().starts_with(b"OVATION1"));
}

#[test]
fn many_rooms_grow_the_file_and_come_back() {
    let directory = directory();
    let path = directory.path().join("many");
    let rooms = 20_000;
    {
        let (store, _) = open(&path);
        for n in 0..rooms {
            let id = store.room("main", &format!("room {n}")).unwrap();
            store.counter_of(id, "love").unwrap().add(n);
        }
        store.close().unwrap();
    }
    let (store, report) = open(&path);
    assert_eq!(report.rooms as u64, rooms);
    for n in (0..rooms).step_by(997) {
        let room = format!("room {n}");
        assert_eq!(counts(&store, "main", &room), [("love".to_owned(), n)]);
    }
}

#[test]
fn a_file_that_was_closed_is_open_again_from_the_first_moment() {
    let directory = directory();
    let path = directory.path().join("counts");
    for round in 1..=3 {
        let (store, report) = open(&path);
        assert!(report.was_closed, "in round {round}");
        let room = store.room("main", "talk").unwrap();
        store.counter_of(room, "love").unwrap().add(1);
        // It dies here, and the next one must not take what it counted for rot.
        drop(store);
        let (store, report) = open(&path);
        assert!(!report.was_closed);
        assert_eq!(counts(&store, "main", "talk"), [("love".to_owned(), round)]);
        store.close().unwrap();
    }
}
