//! Resets and removals: whenever the process or the machine dies, each has happened as a whole or
//! not at all.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::faults::{open_bytes, open_switched};
use super::*;

const LATER: u32 = u32::MAX;

pub(super) fn add(store: &Store, room: &str, kinds: &[(&str, u64)]) -> RoomId {
    let id = store.room_or_create("main", room).unwrap();
    for (kind, count) in kinds {
        store.counter_of(id, kind).unwrap().add(*count);
    }
    id
}

pub(super) fn owned(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = counts
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count));
    owned.collect()
}

/// Enough to fill more than a sector.
const KINDS: [(&str, u64); 12] = [
    ("a", 1),
    ("b", 2),
    ("c", 3),
    ("d", 4),
    ("e", 5),
    ("f", 6),
    ("g", 7),
    ("h", 8),
    ("i", 9),
    ("j", 10),
    ("k", 11),
    ("l", 12),
];

/// What a disk may hold on the way from each image to the next, and the last image.
pub(super) fn torn(images: &[Vec<u8>]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let between = images.windows(2).enumerate().flat_map(|(number, pair)| {
        (0..200_u64).map(move |seed| {
            // The bits of the seed, spread: each sector is old or new.
            let bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            let bits: Vec<bool> = (0..64).map(|bit| bits >> bit & 1 == 1).collect();
            (number, images::mix(&pair[0], &pair[1], 512, &bits))
        })
    });
    let last = images.len() - 1;
    between.chain([(last, images[last].clone())])
}

#[test]
fn a_reset_survives_a_crash_at_any_point() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    let room = add(&store, "talk", &KINDS);
    add(&store, "other", &[("love", 11)]);
    store.flush().unwrap();
    let before = fs::read(&path).unwrap();
    disk.copy_at_sync(&path);
    let reset = store.begin_reset(room).unwrap();
    let marked = fs::read(&path).unwrap();
    // The process dies when it has set only one of the counts to zero.
    store.space.zero(store.kinds(room)[1].1.id());
    let half = fs::read(&path).unwrap();
    reset.zero();
    reset.finish().unwrap();
    // The syncs write the mark, the zeros, and the end of the reset.
    let synced = disk.copies();
    assert_eq!(synced.len(), 3);
    let dead = [(1, marked), (1, half)];
    let images = [&[before][..], &synced].concat();
    let copy = directory.path().join("copy");
    for (number, image) in torn(&images).chain(dead) {
        let (store, _) = open_bytes(&copy, &image).unwrap();
        let found = counts(&store, "main", "talk");
        let is_zero = found.len() == KINDS.len() && found.iter().all(|(_, count)| *count == 0);
        // Before the mark is on the disk, the reset may not have happened.
        let is_whole = is_zero || number == 0 && found == owned(&KINDS);
        assert!(is_whole, "after {number}: {found:?}");
        assert_eq!(counts(&store, "main", "other"), owned(&[("love", 11)]));
    }
    // Counting goes on, and new counts are not taken for damage.
    add(&store, "talk", &[("b", 2)]);
    store.close().unwrap();
    drop(store);
    let (store, report) = open(&path);
    assert!(report.was_closed);
    let found = counts(&store, "main", "talk");
    assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), 2);
}

#[test]
fn counts_made_during_a_reset_outlive_the_process() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    let room = add(&store, "talk", &KINDS);
    store.flush().unwrap();
    disk.copy_at_sync(&path);
    let reset = store.begin_reset(room).unwrap();
    reset.zero();
    add(&store, "talk", &[("b", 3), ("l", 4), ("new", 5)]);
    let killed = fs::read(&path).unwrap();
    let begun = disk.copies().remove(0);
    let copy = directory.path().join("copy");
    let (again, report) = open_bytes(&copy, &killed).unwrap();
    assert_eq!(report.finished_resets, 1);
    let mut expected: Vec<(&str, u64)> = KINDS.iter().map(|(kind, _)| (*kind, 0)).collect();
    (expected[1].1, expected[11].1) = (3, 4);
    expected.push(("new", 5));
    assert_eq!(counts(&again, "main", "talk"), owned(&expected));
    drop(again);
    // After a power loss, each count is zero or what was counted since the reset.
    for (_, image) in torn(&[begun, killed]) {
        let (again, _) = open_bytes(&copy, &image).unwrap();
        for (kind, count) in counts(&again, "main", "talk") {
            let known = expected.iter().find(|(known, _)| *known == kind);
            let most = known.map_or(0, |(_, count)| *count);
            assert!(count == 0 || count == most, "{kind}: {count}");
        }
    }
    reset.finish().unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(counts(&open(&path).0, "main", "talk"), owned(&expected));
}

#[test]
fn a_room_with_an_unsealed_reaction_is_not_removed() {
    let directory = directory();
    let (store, _) = open_switched(&directory.path().join("counts"));
    add(&store, "talk", &[("love", 7)]);
    store.flush().unwrap();
    add(&store, "talk", &[("love", 1)]);
    assert!(!store.remove_inactive("main", "talk", LATER));
    store.flush().unwrap();
    assert!(store.remove_inactive("main", "talk", LATER));
}

/// The cells of a store. Something happens when one of them is read.
struct Watched<'s, F: Fn()> {
    store: &'s Store,
    trigger: CellId,
    action: F,
}

impl<F: Fn()> CellSource for Watched<'_, F> {
    fn cells(&self) -> u32 {
        self.store.space.file.cells()
    }

    fn read(&self, cell: CellId) -> format::Cell {
        let content = self.store.space.file.read(cell);
        if cell == self.trigger {
            (self.action)();
        }
        content
    }
}

#[test]
fn a_room_removed_and_created_again_is_not_damage() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    let talk = add(&store, "talk", &[("love", 7)]);
    for other in 0..8 {
        add(&store, &format!("other {other}"), &[("love", 1)]);
    }
    store.flush().unwrap();
    store.space.update_state(talk, |state| {
        let active = Some(1);
        Some(format::RoomState { active, ..state })
    });
    let before = fs::read(&path).unwrap();
    // Another process reads the file while the room is removed.
    let is_done = AtomicBool::new(false);
    let seen = survey::survey(&Watched {
        store: &store,
        trigger: talk.cell() + 1,
        action: || {
            if !is_done.swap(true, Ordering::SeqCst) {
                assert!(store.remove_inactive("main", "talk", LATER));
                add(&store, "talk", &[("clap", 1)]);
            }
        },
    });
    assert!(is_done.load(Ordering::SeqCst));
    assert_eq!(seen.damage.total(), 0, "{}", seen.damage);
    // Or power fails when both the old room and the new one are on the disk.
    let now = fs::read(&path).unwrap();
    let copy = directory.path().join("copy");
    let its_sector = talk.cell().byte_offset() as usize / 512;
    let is_old: Vec<bool> = (0..now.len() / 512).map(|it| it == its_sector).collect();
    let both = images::mix(&before, &now, 512, &is_old);
    let (again, _) = open_bytes(&copy, &both).unwrap();
    assert_eq!(counts(&again, "main", "talk"), owned(&[("clap", 1)]));
    drop(again);
    for (_, image) in torn(&[before, now]) {
        let (again, _) = open_bytes(&copy, &image).unwrap();
        let found = counts(&again, "main", "talk");
        let known = [&[][..], &[("love", 7)], &[("clap", 1)]].map(owned);
        assert!(known.contains(&found), "{found:?}");
        add(&again, "talk", &[("clap", 1)]);
        again.close().unwrap();
        drop(again);
        assert!(open(&copy).1.was_closed);
    }
}

#[test]
fn a_room_that_counted_since_the_last_flush_has_no_age() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    add(&store, "talk", &[("love", 7)]);
    store.flush().unwrap();
    let active = || {
        Snapshot::open(&path)
            .unwrap()
            .contents()
            .next()
            .unwrap()
            .active
    };
    assert!(active().is_some());
    add(&store, "talk", &[("love", 1)]);
    assert_eq!(active(), None);
}

#[test]
fn readers_see_the_counts_until_the_reset_sets_them_to_zero() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    let room = add(&store, "talk", &[("love", 7)]);
    store.flush().unwrap();
    let first = |snapshot: &Snapshot| snapshot.contents().next().unwrap().counts;
    let reset = store.begin_reset(room).unwrap();
    let before = Snapshot::open(&path).unwrap();
    assert_eq!(first(&before), owned(&[("love", 7)]));
    reset.zero();
    // A reader that has read a part of the room must read it again.
    assert!(!before.is_current());
    let after = Snapshot::open(&path).unwrap();
    assert_eq!(first(&after), owned(&[("love", 0)]));
}

#[test]
fn reclaiming_many_rooms_does_not_block_the_index() {
    const ROOMS: usize = 200_000;
    let directory = directory();
    let (store, _) = open_switched(&directory.path().join("counts"));
    for number in 0..ROOMS {
        if number % 4096 == 0 {
            store.grow_ahead().unwrap();
        }
        add(&store, &format!("room {number}"), &[("love", 1)]);
    }
    store.flush().unwrap();
    for number in 0..ROOMS {
        assert!(store.remove_inactive("main", &format!("room {number}"), LATER));
    }
    let is_done = AtomicBool::new(false);
    let (longest, all) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !is_done.load(Ordering::SeqCst) {
                let start = Instant::now();
                store.find("main", "other");
                longest = longest.max(start.elapsed());
            }
            longest
        });
        let start = Instant::now();
        assert_eq!(store.reclaim().unwrap(), 2 * ROOMS);
        let all = start.elapsed();
        is_done.store(true, Ordering::SeqCst);
        (looking.join().unwrap(), all)
    });
    // Most of the work is done under the lock.
    assert!(longest < all / 4, "one lookup took {longest:?} of {all:?}");
}

#[test]
fn closing_after_a_failed_reclaim_leaves_a_whole_file() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    add(&store, "old", &KINDS);
    add(&store, "kept", &[("love", 7)]);
    store.flush().unwrap();
    assert!(store.remove_inactive("main", "old", LATER));
    disk.loses_writes.store(true, Ordering::SeqCst);
    assert!(store.reclaim().is_err());
    assert!(store.close().is_err());
    disk.loses_writes.store(false, Ordering::SeqCst);
    store.close().unwrap();
    drop(store);
    let (store, report) = open(&path);
    assert!(report.was_closed);
    assert_eq!((report.rooms, report.leftovers), (1, 0));
    assert_eq!(counts(&store, "main", "kept"), owned(&[("love", 7)]));
}

#[test]
fn cells_freed_before_a_crash_are_synced_before_reuse() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    add(&store, "old", &KINDS);
    store.flush().unwrap();
    disk.copy_at_sync(&path);
    assert!(store.remove_inactive("main", "old", LATER));
    store.reclaim().unwrap();
    // The process dies during the second sync: the disk has the first, the page cache all.
    let [on_disk, cache] = <[Vec<u8>; 2]>::try_from(disk.copies()).unwrap();
    drop(store);
    fs::write(&path, cache).unwrap();
    let (store, disk) = open_switched(&path);
    let on_disk = disk.on_disk(on_disk, &fs::read(&path).unwrap());
    add(&store, "newcomer", &[("wow", 1)]);
    let now = fs::read(&path).unwrap();
    let copy = directory.path().join("copy");
    for (_, image) in torn(&[on_disk, now]) {
        let (again, _) = open_bytes(&copy, &image).unwrap();
        let found = counts(&again, "main", "newcomer");
        assert!(found.iter().all(|(kind, _)| kind == "wow"), "{found:?}");
    }
}

#[test]
fn a_reader_never_takes_one_rooms_count_for_anothers() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    add(&store, "old", &[("love", 1)]);
    let kept = add(&store, "kept", &[("love", 2)]);
    store.flush().unwrap();
    let snapshot = Snapshot::open(&path).unwrap();
    let contents = snapshot.contents();
    assert!(store.remove_inactive("main", "old", LATER));
    store.reclaim().unwrap();
    store.room_or_create("main", "newcomer").unwrap();
    store.counter_of(kept, "secret").unwrap().add(1_000_000);
    for room in contents {
        let is_strange = |(kind, _): &(String, u64)| kind == "secret" && room.room != "kept";
        assert!(!room.counts.iter().any(is_strange), "{room:?}");
    }
    assert!(!snapshot.is_current());
}

#[test]
fn the_space_of_removed_rooms_is_used_again() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    add(&store, "kept", &[("love", 1)]);
    let used = |store: &Store| store.status().used_bytes;
    let mut first = None;
    for number in 0..50 {
        let name = format!("{number} {}", "long ".repeat(number % 3 * 20));
        add(&store, &name, &[("love", 1), ("clap", 2)]);
        store.flush().unwrap();
        let inactive = store.rooms_inactive_since(LATER).into_iter();
        let inactive: Vec<_> = inactive.filter_map(|it| store.name_of(it)).collect();
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
fn a_removal_survives_a_crash_at_any_point() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    add(&store, "old", &KINDS);
    add(&store, "other", &[("love", 11)]);
    store.flush().unwrap();
    let before = fs::read(&path).unwrap();
    disk.copy_at_sync(&path);
    assert!(store.remove_inactive("main", "old", LATER));
    store.reclaim().unwrap();
    // New rooms take its cells; one has a name of several cells.
    let long = "new ".repeat(40);
    add(&store, &long, &KINDS[..5]);
    add(&store, "new", &[("wow", 1)]);
    store.flush().unwrap();
    // The syncs write: the head is gone, the rest is gone, the new rooms are there.
    let synced = disk.copies();
    assert_eq!(synced.len(), 3);
    let images = [&[before][..], &synced].concat();
    let copy = directory.path().join("copy");
    for (number, image) in torn(&images) {
        let (store, _) = open_bytes(&copy, &image).unwrap();
        assert_eq!(counts(&store, "main", "other"), owned(&[("love", 11)]));
        let old = counts(&store, "main", "old");
        let is_whole = old.is_empty() || number == 0 && old == owned(&KINDS);
        assert!(is_whole, "after {number}: {old:?}");
        for (name, kinds) in [(&*long, &KINDS[..5]), ("new", &[("wow", 1)])] {
            let found = counts(&store, "main", name);
            let is_part = found.iter().all(|it| {
                kinds
                    .iter()
                    .any(|(kind, count)| it.0 == *kind && it.1 <= *count)
            });
            assert!(is_part, "after {number}: {name}: {found:?}");
        }
        // Cells that were left over are used again, without a trace of their past.
        add(&store, "next", &[("ha", 9)]);
        assert_eq!(counts(&store, "main", "next"), owned(&[("ha", 9)]));
    }
}
