//! The store as rooms see it: what was counted comes back.

mod faults;
mod images;
mod model;
mod removal;
mod retired;

use std::path::Path;

use super::cells::CellSource;
use super::disk::{Disk, FileSystem};
use super::format::{CELL_BYTES, CellId, PAGE_CELLS};
use super::mapping::Mapping;
use super::*;

const NEW: OpenReport = OpenReport {
    rooms: 0,
    counters: 0,
    was_empty: false,
    was_closed: true,
    restored_counts: 0,
    finished_resets: 0,
    leftovers: 0,
    salvaged: None,
};

/// A directory in memory where possible: no test here needs a real disk.
fn directory() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(path: &Path) -> (Store, OpenReport) {
    Store::open(path, &StoreLimits::default()).unwrap()
}

/// Limits of the smallest possible file.
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
        let room = store.room_or_create("main", "talk").unwrap();
        for (kind, delta) in [("love", 3), ("clap", 1), ("❤", 5)] {
            store.counter_of(room, kind).unwrap().add(delta);
        }
        store.counter_of(room, "love").unwrap().add(1);
        let other = store.room_or_create("main", &"long ".repeat(50)).unwrap();
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
fn a_counter_never_wraps() {
    let store = Store::anonymous(&small(1)).unwrap();
    let room = store.room_or_create("main", "talk").unwrap();
    let counter = store.counter_of(room, "love").unwrap();
    counter.add(u64::MAX - 1);
    counter.add(7);
    assert_eq!(counter.get(), u64::MAX);
}

#[test]
fn a_room_beyond_a_limit_is_an_error() {
    let store = Store::anonymous(&small(2)).unwrap();
    store.room_or_create("main", "a").unwrap();
    store.room_or_create("main", "b").unwrap();
    assert!(matches!(
        store.room_or_create("main", "c"),
        Err(StoreError::TooManyRooms(2))
    ));
    assert!(store.room_or_create("main", "a").is_ok());

    let store = Store::anonymous(&small(usize::MAX)).unwrap();
    let error = (0..).find_map(|n| store.room_or_create("main", &n.to_string()).err());
    assert!(matches!(error, Some(StoreError::Full)));
}

#[test]
fn a_locked_file_is_refused_with_the_holders_pid() {
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
fn foreign_files_are_refused_and_left_unchanged() {
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
        // Compaction and imports take the lock first.
        assert!(Lock::acquire_or_create(&path).is_err());
        let error = Store::open(&path, &StoreLimits::default()).unwrap_err();
        assert!(matches!(error, OpenError::Unreadable { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_huge_sparse_file_is_refused_without_reading_it() {
    let directory = directory();
    let path = directory.path().join("sparse");
    let file = std::fs::File::create(&path).unwrap();
    // Reading so much would time out.
    file.set_len(1 << 43).unwrap();
    let error = Store::open(&path, &StoreLimits::default()).unwrap_err();
    assert!(matches!(error, OpenError::TooLarge { .. }), "{error}");
}

#[test]
fn a_file_without_a_header_is_completed() {
    let directory = directory();
    let path = directory.path().join("blank");
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    let empty = OpenReport {
        was_empty: true,
        ..NEW
    };
    assert_eq!(open(&path).1, empty);
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
            let id = store.room_or_create("main", &format!("room {n}")).unwrap();
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
fn an_opened_file_is_not_marked_as_closed() {
    let directory = directory();
    let path = directory.path().join("counts");
    for round in 1..=3 {
        let (store, report) = open(&path);
        assert!(report.was_closed, "in round {round}");
        let room = store.room_or_create("main", "talk").unwrap();
        store.counter_of(room, "love").unwrap().add(1);
        // The process dies here. The next one must not take its counts for damage.
        drop(store);
        let (store, report) = open(&path);
        assert!(!report.was_closed);
        assert_eq!(counts(&store, "main", "talk"), [("love".to_owned(), round)]);
        store.close().unwrap();
    }
}
