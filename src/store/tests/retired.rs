//! Modes of rooms, and the removal of what reactors may still be using.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use super::faults::{fill, open_bytes, open_switched};
use super::removal::{add, owned, torn};
use super::*;

const LATER: u32 = u32::MAX;
const MODES: [RoomMode; 3] = [RoomMode::Open, RoomMode::Frozen, RoomMode::Closed];

/// The counters of some kinds of a room.
fn counters(store: &Store, room: RoomId, kinds: &[&str]) -> Vec<Counter> {
    let all = store.kinds(room).into_iter();
    let chosen = all.filter(|(kind, _)| kinds.contains(&kind.as_str()));
    chosen.map(|(_, counter)| counter).collect()
}

#[test]
fn a_mode_survives_the_process_and_keeps_the_age() {
    let directory = directory();
    let path = directory.path().join("counts");
    for mode in MODES {
        let (store, _) = open(&path);
        let room = add(&store, "talk", &[("love", 1)]);
        store.flush().unwrap();
        let age = |store: &Store| store.space.room_cell(room).state().unwrap().active;
        let before = age(&store);
        assert!(before.is_some());
        store.set_mode(room, mode);
        assert_eq!((store.mode_of(room), age(&store)), (mode, before));
        drop(store);
        let (store, _) = open(&path);
        assert_eq!((store.mode_of(room), age(&store)), (mode, before));
        store.close().unwrap();
        drop(store);
        let (store, report) = open(&path);
        assert!(report.was_closed);
        assert_eq!(store.mode_of(room), mode);
    }
}

#[test]
fn a_room_that_is_not_open_does_not_expire() {
    let directory = directory();
    let (store, _) = open_switched(&directory.path().join("counts"));
    let room = add(&store, "talk", &[("love", 1)]);
    store.flush().unwrap();
    for mode in [RoomMode::Frozen, RoomMode::Closed] {
        store.set_mode(room, mode);
        assert_eq!(store.rooms_inactive_since(LATER), []);
        assert!(!store.remove_inactive("main", "talk", LATER));
    }
    store.set_mode(room, RoomMode::Open);
    assert_eq!(store.rooms_inactive_since(LATER), [room]);
    assert!(store.remove_inactive("main", "talk", LATER));
}

#[test]
fn no_mode_is_lost_while_the_flusher_writes_ages() {
    let store = Store::anonymous(&StoreLimits::default()).unwrap();
    let room = add(&store, "talk", &[]);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut now = seal::unix_seconds();
            while !is_done.load(Ordering::SeqCst) {
                now += 60;
                seal::note_active(&store.space, room, now);
            }
        });
        for mode in MODES.iter().cycle().take(30_000) {
            store.set_mode(room, *mode);
            assert_eq!(store.mode_of(room), *mode);
        }
        is_done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_room_keeps_its_mode_when_it_moves_into_the_file() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    disk.fill_up();
    let (room, _) = fill(&store);
    store.set_mode(room, RoomMode::Frozen);
    disk.make_space();
    store.grow_ahead().unwrap();
    assert_eq!(store.mode_of(room), RoomMode::Frozen);
    // The old id still leads to the room.
    store.set_mode(room, RoomMode::Closed);
    store.flush().unwrap();
    let (party, name) = store.name_of(room).unwrap();
    drop(store);
    let (store, _) = open(&path);
    let room = store.find(&party, &name).unwrap();
    assert_eq!(store.mode_of(room), RoomMode::Closed);
}

#[test]
fn a_removed_kind_begins_again_at_zero() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    let room = add(&store, "talk", &[("love", 7), ("clap", 2), ("wow", 3)]);
    store.flush().unwrap();
    let held = counters(&store, room, &["love", "wow"]);
    let retired = store.remove_counters(room, &held);
    assert_eq!(counts(&store, "main", "talk"), owned(&[("clap", 2)]));
    // A reactor that has not heard of it yet, before and after the kind comes back.
    held[0].add(100);
    add(&store, "talk", &[("love", 1)]);
    held.iter().for_each(|it| it.add(100));
    let expected = owned(&[("clap", 2), ("love", 1)]);
    assert_eq!(counts(&store, "main", "talk"), expected);
    // Removing again what is removed changes nothing.
    let again = store.remove_counters(room, &held);
    assert_eq!(counts(&store, "main", "talk"), expected);
    store.flush().unwrap();
    held.iter().for_each(|it| it.add(100));
    // The process dies, or the store is closed, before the cells are released.
    let copy = directory.path().join("copy");
    let (other, _) = open_bytes(&copy, &fs::read(&path).unwrap()).unwrap();
    assert_eq!(counts(&other, "main", "talk"), expected);
    store.close().unwrap();
    drop(held);
    store.release(retired);
    store.release(again);
    drop(store);
    let (store, report) = open(&path);
    assert!(report.was_closed);
    assert_eq!(counts(&store, "main", "talk"), expected);
}

#[test]
fn retired_cells_are_used_again_only_after_their_release() {
    let store = Store::anonymous(&StoreLimits::default()).unwrap();
    let room = add(&store, "talk", &[("love", 7), ("clap", 2)]);
    let other = add(&store, "other", &[("love", 7), ("clap", 2)]);
    let held = counters(&store, room, &["love"]);
    let kind = store.remove_counters(room, &held);
    let whole = store.remove_room(other, "main", "other");
    assert_eq!((store.find("main", "other"), store.rooms()), (None, 1));
    assert_eq!(store.reclaim().unwrap(), 0);
    store.release(kind);
    assert_eq!(store.reclaim().unwrap(), 1);
    store.release(whole);
    assert_eq!(store.reclaim().unwrap(), 3);
    let used = store.catalog().free.used_end();
    add(&store, "new", &[("love", 0), ("clap", 0), ("wow", 0)]);
    assert_eq!(store.catalog().free.used_end(), used);
    assert!(counts(&store, "main", "new").iter().all(|it| it.1 == 0));
}

#[test]
fn a_removed_room_in_use_comes_back_empty() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    let room = add(&store, "talk", &[("love", 7)]);
    store.set_mode(room, RoomMode::Frozen);
    store.flush().unwrap();
    let held = counters(&store, room, &["love"]);
    let retired = store.remove_room(room, "main", "talk");
    let late = store.counter_of(room, "late");
    assert!(matches!(late, Err(StoreError::RoomRemoved)));
    // What still has the old id changes nothing.
    store.set_mode(room, RoomMode::Closed);
    let reset = store.begin_reset(room).unwrap();
    reset.zero();
    reset.finish().unwrap();
    held[0].add(5);
    store.flush().unwrap();
    let new = add(&store, "talk", &[("clap", 1)]);
    assert_eq!(store.mode_of(new), RoomMode::Open);
    let expected = owned(&[("clap", 1)]);
    assert_eq!(counts(&store, "main", "talk"), expected);
    // An old id is not taken for the new room's.
    let again = store.remove_room(room, "main", "talk");
    assert_eq!(counts(&store, "main", "talk"), expected);
    held[0].add(5);
    store.close().unwrap();
    drop(held);
    store.release(retired);
    store.release(again);
    drop(store);
    let (store, report) = open(&path);
    assert_eq!((report.rooms, report.counters), (1, 1));
    assert!(report.was_closed);
    assert_eq!(counts(&store, "main", "talk"), expected);
}

#[test]
fn a_kind_removed_and_counted_again_is_not_damage() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    // The kinds fill several sectors, so that old and new counters may both be on the disk.
    let kinds: Vec<String> = (0..40).map(|number| format!("kind {number}")).collect();
    let each = |count| {
        let kinds = kinds.iter().map(move |kind| (kind.as_str(), count));
        kinds.collect::<Vec<_>>()
    };
    let room = add(&store, "talk", &each(7));
    store.flush().unwrap();
    let before = fs::read(&path).unwrap();
    let held: Vec<Counter> = store.kinds(room).into_iter().map(|it| it.1).collect();
    let _retired = store.remove_counters(room, &held);
    add(&store, "talk", &each(3));
    let now = fs::read(&path).unwrap();
    store.flush().unwrap();
    let flushed = fs::read(&path).unwrap();
    let copy = directory.path().join("copy");
    for (number, image) in torn(&[before, now, flushed]) {
        let (again, _) = open_bytes(&copy, &image).unwrap();
        for (kind, count) in counts(&again, "main", "talk") {
            assert!([0, 3, 7].contains(&count), "after {number}: {kind} {count}");
        }
        again.close().unwrap();
        drop(again);
        assert!(open(&copy).1.was_closed);
    }
}

#[test]
fn a_kind_first_used_during_a_reset_stays_reset() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    let room = add(&store, "talk", &[("love", 7)]);
    // The next kind is in another page than the room.
    for number in 0..PAGE_CELLS {
        add(&store, &format!("other {number}"), &[]);
    }
    store.flush().unwrap();
    let reset = store.begin_reset(room).unwrap();
    add(&store, "talk", &[("new", 5)]);
    // The kernel writes that page at once.
    let on_disk = fs::read(&path).unwrap();
    disk.forget_syncs();
    reset.zero();
    reset.finish().unwrap();
    let on_disk = disk.on_disk(on_disk, &fs::read(&path).unwrap());
    let copy = directory.path().join("copy");
    let (again, _) = open_bytes(&copy, &on_disk).unwrap();
    let expected = owned(&[("love", 0), ("new", 0)]);
    assert_eq!(counts(&again, "main", "talk"), expected);
}

#[test]
fn overflow_records_can_be_removed() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    disk.fill_up();
    let (last, rooms) = fill(&store);
    let (party, name) = store.name_of(last).unwrap();
    add(&store, "room 0", &[("clap", 4), ("wow", 5)]);
    let first = store.find("main", "room 0").unwrap();
    let held = counters(&store, first, &["clap", "love"]);
    let lost = counters(&store, last, &["love"]);
    let kinds = store.remove_counters(first, &held);
    let whole = store.remove_room(last, &party, &name);
    held.iter().chain(&lost).for_each(|it| it.add(9));
    assert_eq!(store.find(&party, &name), None);
    let late = store.counter_of(last, "late");
    assert!(matches!(late, Err(StoreError::RoomRemoved)));
    // Only the kind that was not removed moves.
    assert_eq!(store.status().unsaved_records, 1);
    disk.make_space();
    store.grow_ahead().unwrap();
    held.iter().chain(&lost).for_each(|it| it.add(9));
    assert_eq!(counts(&store, "main", "room 0"), owned(&[("wow", 5)]));
    add(&store, &name, &[("love", 1)]);
    store.release(kinds);
    store.release(whole);
    drop((held, lost));
    store.close().unwrap();
    drop(store);
    let (store, report) = open(&path);
    assert_eq!((report.rooms, report.was_closed), (rooms, true));
    assert_eq!(counts(&store, "main", "room 0"), owned(&[("wow", 5)]));
    assert_eq!(counts(&store, &party, &name), owned(&[("love", 1)]));
}

#[test]
fn kinds_stay_in_order_however_many_were_removed() {
    let store = Store::anonymous(&StoreLimits::default()).unwrap();
    let room = add(&store, "talk", &[("first", 1)]);
    for number in 0..u32::from(u16::MAX) + 10 {
        let kind = format!("kind {number}");
        add(&store, "talk", &[(&kind, 1)]);
        if number >= 3 {
            let old = format!("kind {}", number - 3);
            let held = counters(&store, room, &[&old]);
            store.release(store.remove_counters(room, &held));
        }
    }
    // The last ten reused ordinals, and have lost their order, but no count.
    assert_eq!(store.kinds(room).len(), 4);
    let held: Vec<Counter> = store.kinds(room).into_iter().map(|it| it.1).collect();
    store.release(store.remove_counters(room, &held));
    let kinds: Vec<String> = (0..256).map(|number| number.to_string()).collect();
    for kind in &kinds {
        store.counter_of(room, kind).unwrap();
    }
    let full = store.counter_of(room, "more");
    assert!(matches!(full, Err(StoreError::TooManyKinds)));
    let held = counters(&store, room, &["0", "100"]);
    store.release(store.remove_counters(room, &held));
    add(&store, "talk", &[("more", 1), ("0", 1)]);
    let now: Vec<String> = store.kinds(room).into_iter().map(|it| it.0).collect();
    let kept = kinds.iter().filter(|it| *it != "0" && *it != "100");
    let more = ["more".to_owned(), "0".to_owned()];
    let expected: Vec<String> = kept.cloned().chain(more).collect();
    assert_eq!(now, expected);
}
