//! Resets and removals: each is whole or has not happened, whenever the process or the machine
//! dies.

use std::fs;

use super::faults::{open_bytes, open_switched};
use super::*;

const LATER: u32 = u32::MAX;

fn add(store: &Store, room: &str, kinds: &[(&str, u64)]) -> RoomId {
    let id = store.room("main", room).unwrap();
    for (kind, count) in kinds {
        store.counter_of(id, kind).unwrap().add(*count);
    }
    id
}

fn owned(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = counts
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count));
    owned.collect()
}

#[test]
fn a_reset_survives_a_crash_at_any_point_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    let kinds = [("love", 3), ("clap", 5), ("wow", 7)];
    let room = add(&store, "talk", &kinds);
    add(&store, "other", &[("love", 11)]);
    store.flush().unwrap();
    let mut images = vec![fs::read(&path).unwrap()];
    disk.copy_at_sync(&path);
    let reset = store.begin_reset(room).unwrap();
    images.push(fs::read(&path).unwrap());
    // The process dies when it has set but one of them to zero.
    crate::store::retire::zero(&store, store.kinds(room)[1].1.cell());
    images.push(fs::read(&path).unwrap());
    reset.zero();
    images.push(fs::read(&path).unwrap());
    reset.finish().unwrap();
    images.extend(disk.copies());
    images.push(fs::read(&path).unwrap());
    let torn = directory.path().join("torn");
    for (number, image) in images.iter().enumerate() {
        let (store, _) = open_bytes(&torn, image).unwrap();
        let found = counts(&store, "main", "talk");
        let zero = owned(&[("love", 0), ("clap", 0), ("wow", 0)]);
        let is_whole = found == zero || number == 0 && found == owned(&kinds);
        assert!(is_whole, "image {number}: {found:?}");
        assert_eq!(counts(&store, "main", "other"), owned(&[("love", 11)]));
    }
    // Counting goes on, and what is counted is not taken for damage.
    add(&store, "talk", &[("clap", 2)]);
    store.close().unwrap();
    drop(store);
    let (store, report) = open(&path);
    assert!(report.was_closed);
    let expected = owned(&[("love", 0), ("clap", 2), ("wow", 0)]);
    assert_eq!(counts(&store, "main", "talk"), expected);
}

#[test]
fn a_removed_room_is_gone_and_its_space_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    add(&store, "kept", &[("love", 1)]);
    let used = |store: &Store| store.status().used_bytes;
    let mut first = None;
    for number in 0..50 {
        let name = format!("{number} {}", "long ".repeat(number % 3 * 20));
        add(&store, &name, &[("love", 1), ("clap", 2)]);
        store.flush().unwrap();
        let inactive = store.rooms_inactive_since(LATER);
        assert!(inactive.contains(&("main".to_owned(), name.clone())));
        assert!(!store.remove_inactive("main", &name, 0), "it is active");
        assert!(store.remove_inactive("main", &name, LATER));
        assert_eq!(store.find("main", &name), None);
        assert!(store.reclaim().unwrap() >= 3);
        if number == 2 {
            first = Some(used(&store));
        }
    }
    assert_eq!(Some(used(&store)), first, "it grows");
    let status = store.status();
    assert_eq!(status.rooms, 1);
    assert!(status.freed_bytes > 0);
    store.close().unwrap();
    drop(store);
    let (store, report) = open(&path);
    assert_eq!((report.rooms, report.counters), (1, 1));
    assert_eq!(counts(&store, "main", "kept"), owned(&[("love", 1)]));
}

#[test]
fn a_removal_that_a_crash_cuts_short_mixes_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    add(&store, "old", &[("love", 3), ("clap", 5)]);
    add(&store, "other", &[("love", 11)]);
    store.flush().unwrap();
    let mut images = vec![fs::read(&path).unwrap()];
    disk.copy_at_sync(&path);
    assert!(store.remove_inactive("main", "old", LATER));
    images.push(fs::read(&path).unwrap());
    store.reclaim().unwrap();
    images.extend(disk.copies());
    add(&store, "new", &[("wow", 1)]);
    images.push(fs::read(&path).unwrap());
    let torn = directory.path().join("torn");
    for (number, image) in images.iter().enumerate() {
        let (store, _) = open_bytes(&torn, image).unwrap();
        assert_eq!(counts(&store, "main", "other"), owned(&[("love", 11)]));
        let old = counts(&store, "main", "old");
        let is_whole = old.is_empty() || number == 0 && old == owned(&[("love", 3), ("clap", 5)]);
        assert!(is_whole, "image {number}: {old:?}");
        let new = counts(&store, "main", "new");
        let is_last = number + 1 == images.len();
        assert_eq!(new, owned(if is_last { &[("wow", 1)] } else { &[] }));
        // What was left over is used again, and finds nothing of its past.
        add(&store, "next", &[("ha", 9)]);
        assert_eq!(counts(&store, "main", "next"), owned(&[("ha", 9)]));
    }
}
