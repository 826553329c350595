//! Files as power loss, rot and truncation leave them.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::contents::FileUse;
use super::faults::{open_bytes, open_switched};
use super::format::Resetting;
use super::*;

/// Number of torn images that are tried, unless `OVATION_TORN_IMAGES` gives another.
const TORN_IMAGES: u32 = 2000;

pub(super) type All = HashMap<(String, String), Vec<(String, u64)>>;

pub(super) fn all(store: &Store) -> All {
    let file = &store.space.file;
    let survey = survey::survey_file(file).unwrap();
    let rooms = contents::contents(file, &survey, FileUse::AtRest);
    rooms
        .map(|room| ((room.party, room.room), room.counts))
        .collect()
}

fn count_of(all: &All, room: &(String, String), kind: &str) -> u64 {
    let counts = all.get(room).map_or(&[][..], Vec::as_slice);
    let found = counts.iter().find(|(known, _)| known == kind);
    found.map_or(0, |(_, count)| *count)
}

/// Reactions: room, kind and number.
fn reactions() -> impl Strategy<Value = Vec<(usize, usize, u64)>> {
    prop::collection::vec((0usize..12, 0usize..4, 1u64..1 << 40), 0..60)
}

fn react(store: &Store, reactions: &[(usize, usize, u64)]) {
    for (room, kind, delta) in reactions {
        // Some names take one cell, some several, and some cross sectors.
        let name = format!("room {room} {}", "long ".repeat(room % 6 * 7));
        let room = store.room_or_create("main", &name).unwrap();
        let kind = ["love", "clap", "❤", "a longer name of a kind"][*kind];
        store.counter_of(room, kind).unwrap().add(*delta);
    }
}

/// The new image, with the sectors of the old one where a bit is set.
pub(super) fn mix(old: &[u8], new: &[u8], sector_bytes: usize, bits: &[bool]) -> Vec<u8> {
    let mut mixed = new.to_vec();
    for (index, is_old) in bits
        .iter()
        .cycle()
        .take(new.len() / sector_bytes)
        .enumerate()
    {
        let range = index * sector_bytes..(index + 1) * sector_bytes;
        if *is_old {
            match old.get(range.clone()) {
                Some(sector) => mixed[range].copy_from_slice(sector),
                None => mixed[range].fill(0),
            }
        }
    }
    mixed
}

fn torn_images() -> u32 {
    let asked = std::env::var("OVATION_TORN_IMAGES").ok();
    asked.map_or(TORN_IMAGES, |number| {
        number.parse().expect("OVATION_TORN_IMAGES is a number")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(torn_images()))]
    /// Each sector that was written since the last flush may be on the disk or not.
    #[test]
    fn a_torn_image_opens_with_counts_between_old_and_new(
        before in reactions(),
        after in reactions(),
        is_sealed: bool,
        sector_bytes in prop::sample::select(vec![512usize, 4096]),
        bits in prop::collection::vec(any::<bool>(), 97),
        is_short: bool,
    ) {
        let directory = directory();
        let path = directory.path().join("counts");
        let (store, _) = open_switched(&path);
        react(&store, &before);
        store.flush().unwrap();
        let (old, least) = (fs::read(&path).unwrap(), all(&store));
        react(&store, &after);
        if is_sealed {
            // Power fails during the flush: all is sealed, but not all is on the disk.
            store.flush().unwrap();
        }
        let (new, most) = (fs::read(&path).unwrap(), all(&store));
        drop(store);
        let mut torn = mix(&old, &new, sector_bytes, &bits);
        if is_short {
            torn.truncate(old.len());
        }
        let (store, report) = open_bytes(&directory.path().join("torn"), &torn)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let found = all(&store);
        prop_assert_eq!(report.rooms, found.len());
        for (room, counts) in &least {
            for (kind, count) in counts {
                let is_kept = count_of(&found, room, kind) >= *count;
                prop_assert!(is_kept, "{:?} {}", room, kind);
            }
        }
        for (room, counts) in &found {
            prop_assert!(most.contains_key(room), "{:?}", room);
            for (kind, count) in counts {
                let is_known = count_of(&most, room, kind) >= *count;
                prop_assert!(is_known, "{:?} {} {}", room, kind, count);
            }
        }
        // The store works: new reactions are counted.
        react(&store, &after);
        store.close().unwrap();
        drop(store);
        prop_assert!(open(&directory.path().join("torn")).1.was_closed);
    }
}

/// Makes a file of three rooms, closed in order, without unused space.
fn closed(path: &Path) -> All {
    fs::write(path, "").unwrap();
    let original = fs::metadata(path).unwrap();
    let rewrite = Rewrite::begin(path, &small(100)).unwrap();
    for (room, counts) in [
        ("talk", vec![("love", 3), ("clap", u64::MAX)]),
        (
            "a name that does not fit in one cell of the file",
            vec![("❤", 1 << 40)],
        ),
        ("quiet", vec![]),
    ] {
        let counts = counts
            .into_iter()
            .map(|(kind, count)| (kind.to_owned(), count));
        rewrite
            .add(&RoomContents {
                party: "main".to_owned(),
                room: room.to_owned(),
                mode: RoomMode::default(),
                active: None,
                counts: counts.collect(),
            })
            .unwrap();
    }
    rewrite.replace(&original).unwrap();
    let (store, report) =
        open_bytes(&path.with_extension("copy"), &fs::read(path).unwrap()).unwrap();
    assert!(report.was_closed);
    all(&store)
}

#[test]
fn every_flipped_bit_of_a_closed_file_is_found() {
    let directory = directory();
    let path = directory.path().join("closed");
    let whole = closed(&path);
    assert_eq!(whole.len(), 3);
    let bytes = fs::read(&path).unwrap();
    let flipped_path = directory.path().join("flipped");
    let header_bytes = CellId::FIRST_RECORD.byte_offset() as usize;
    let mut found = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match open_bytes(&flipped_path, &flipped) {
            Ok((store, _)) => {
                assert_eq!(all(&store), whole, "bit {bit}");
                // Only the header has bits without a meaning.
                assert!(
                    bit / 8 < header_bytes,
                    "bit {bit} is covered by no checksum"
                );
            }
            Err(OpenError::Damaged { .. } | OpenError::Unreadable { .. }) => {
                assert_eq!(fs::read(&flipped_path).unwrap(), flipped, "bit {bit}");
                found += 1;
            }
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
    let covered = (bytes.len() - header_bytes) * 8;
    assert!(found > covered, "{found} of {covered} bits were found");
}

#[test]
fn a_lost_or_stale_sector_of_a_closed_file_is_found() {
    let directory = directory();
    let path = directory.path().join("counts");
    let reactions: Vec<_> = (0..12).map(|room| (room, room % 4, 100)).collect();
    let (store, _) = open_switched(&path);
    react(&store, &reactions);
    store.flush().unwrap();
    let older = fs::read(&path).unwrap();
    react(&store, &reactions);
    store.close().unwrap();
    let whole = all(&store);
    let used = store.status().used_bytes as usize;
    drop(store);
    let bytes = fs::read(&path).unwrap();
    let copy = directory.path().join("copy");
    for start in (4096..used).step_by(512) {
        let sector = start..start + 512;
        let mut zeroed = bytes.clone();
        zeroed[sector.clone()].fill(0);
        let mut stale = bytes.clone();
        stale[sector.clone()].copy_from_slice(&older[sector]);
        for (what, image) in [("lost", zeroed), ("out of date", stale)] {
            match open_bytes(&copy, &image) {
                // The sector held only a part of a long name, which had not changed.
                Ok((store, _)) => assert_eq!((&image, all(&store)), (&bytes, whole.clone())),
                Err(OpenError::Damaged { .. }) => {}
                Err(other) => panic!("{what} at {start}: {other}"),
            }
        }
    }
}

#[test]
fn a_closed_file_with_an_unfinished_reset_is_damaged() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    react(&store, &[(0, 0, 5)]);
    let room = store.find("main", "room 0 ").unwrap();
    store.close().unwrap();
    // The disk has lost the write that removed the mark.
    store.space.set_resetting(room, Resetting::Done);
    let copy = directory.path().join("copy");
    let error = open_bytes(&copy, &fs::read(&path).unwrap()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn salvage_reports_the_counts_of_a_damaged_room() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    react(&store, &[(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 0, 1)]);
    store.flush().unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 + 40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (_, report) = Store::open_or_salvage(&path, &small(100)).unwrap();
    assert_eq!(report.salvaged.unwrap().lost_counts, 3);
}

#[test]
fn a_file_that_grows_while_it_is_read_is_not_damaged() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    store.flush().unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..60 {
                let file = &store.space.file;
                file.grow_to(file.cells() + 1).unwrap();
                file.sync_length().unwrap();
            }
            is_done.store(true, Ordering::SeqCst);
        });
        while !is_done.load(Ordering::SeqCst) {
            // Reading may fail because the file changes too fast.
            if let Ok(snapshot) = Snapshot::open(&path) {
                assert_eq!(snapshot.damage().total(), 0, "{}", snapshot.damage());
            }
        }
    });
}

#[test]
fn salvage_never_yields_a_wrong_count() {
    let directory = directory();
    let path = directory.path().join("closed");
    let whole = closed(&path);
    let bytes = fs::read(&path).unwrap();
    // Not every bit, because each new file is synced, but bits of each word of each cell.
    for bit in (0..bytes.len() * 8).filter(|bit| bit % 67 == 0 && bit / 8 >= 4000 || *bit < 192) {
        let home = tempfile::tempdir_in(directory.path()).unwrap();
        let path = home.path().join("flipped");
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        let (store, report) = Store::open_or_salvage(&path, &small(100)).unwrap();
        let found = all(&store);
        for (room, counts) in &found {
            for (kind, count) in counts {
                assert_eq!(count_of(&whole, room, kind), *count, "bit {bit}");
            }
        }
        if let Some(salvaged) = report.salvaged {
            assert_eq!(fs::read(&salvaged.original).unwrap(), flipped, "bit {bit}");
            let kept: usize = found.values().map(Vec::len).sum();
            // A damaged name costs the room; anything else costs at most one count.
            assert!(found.len() >= 2 && kept >= 1, "bit {bit}: {found:?}");
        } else {
            assert_eq!(found, whole, "bit {bit}");
        }
    }
}

#[test]
fn a_truncated_file_is_refused_and_left_unchanged() {
    let directory = directory();
    let path = directory.path().join("closed");
    closed(&path);
    let bytes = fs::read(&path).unwrap();
    let short_path = directory.path().join("short");
    // An empty file is a new one.
    for length in 1..bytes.len() {
        let error = open_bytes(&short_path, &bytes[..length]).unwrap_err();
        let is_refused = matches!(
            error,
            OpenError::Damaged { .. } | OpenError::Unreadable { .. }
        );
        assert!(is_refused, "{length}: {error}");
        assert_eq!(fs::read(&short_path).unwrap(), bytes[..length], "{length}");
    }
    // Also one that a crashed server has left. What is whole of it can be salvaged.
    let (store, _) = open(&directory.path().join("open"));
    react(&store, &[(0, 0, 5), (1, 1, 7)]);
    store.flush().unwrap();
    let crashed = fs::read(directory.path().join("open")).unwrap();
    for length in (4096..crashed.len()).step_by(64 * 61) {
        let error = open_bytes(&short_path, &crashed[..length]).unwrap_err();
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{length}: {error}"
        );
    }
    fs::write(&short_path, &crashed[..4096 + 3 * 64]).unwrap();
    let (store, report) = Store::open_or_salvage(&short_path, &small(100)).unwrap();
    assert_eq!(report.salvaged.unwrap().lost_counts, 0);
    assert_eq!(counts(&store, "main", "room 0 "), [("love".to_owned(), 5)]);
}

#[test]
fn a_half_written_sealed_copy_is_written_again() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    react(&store, &[(0, 0, 5)]);
    store.flush().unwrap();
    react(&store, &[(0, 0, 2)]);
    let room = store.find("main", "room 0 ").unwrap();
    let counter = store.counter_of(room, "love").unwrap().id();
    store.space.counter(counter).seal_without_checksum(7);
    let torn = directory.path().join("torn");
    let (store, _) = open_bytes(&torn, &fs::read(&path).unwrap()).unwrap();
    assert_eq!(counts(&store, "main", "room 0 "), [("love".to_owned(), 7)]);
    store.close().unwrap();
    drop(store);
    assert!(open(&torn).1.was_closed);
}

#[test]
fn a_count_that_rot_made_smaller_is_restored() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, _) = open_switched(&path);
    react(&store, &[(0, 0, 1 << 20), (0, 1, 3)]);
    store.flush().unwrap();
    react(&store, &[(0, 1, 1)]);
    let mut bytes = fs::read(&path).unwrap();
    let room = store.find("main", "room 0 ").unwrap();
    let counter = store.counter_of(room, "love").unwrap().id();
    let offset = counter.cell().byte_offset() as usize;
    drop(store);
    // The third byte of the count, which is word 2.
    bytes[offset + 2 * 8 + 2] ^= 1 << 4;
    let (store, report) = open_bytes(&path, &bytes).unwrap();
    assert_eq!(report.restored_counts, 1);
    let expected = [("love", 1 << 20), ("clap", 4)];
    let expected = expected.map(|(kind, count)| (kind.to_owned(), count));
    assert_eq!(counts(&store, "main", "room 0 "), expected);
}
