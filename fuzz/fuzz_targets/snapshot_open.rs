//! Opens arbitrary files as snapshots: reading one changes nothing, a refusal leaves it as it was,
//! salvage leaves a whole file, and an opened store works.
//!
//! The first byte says how the other bytes become a file, so that the fuzzer gets past the first
//! check: as they are; as flipped bits of a whole file, closed or not; or as records with right
//! checksums, which may contradict each other.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ovation::store::format::{Cell, CellId, encode_counter, encode_room};
use ovation::store::{
    MIN_FILE_BYTES, OpenError, RoomContents, RoomId, Snapshot, Store, StoreLimits,
};
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: RefCell<TempDir> = RefCell::new(directory());
}

/// A directory in memory where possible, because every file is synced more than once.
fn directory() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

fn limits() -> StoreLimits {
    StoreLimits {
        max_file_bytes: 4 * MIN_FILE_BYTES,
        max_rooms: 1000,
        max_overflow_bytes: 4096,
    }
}

/// How the server ended that wrote a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closed,
    Killed,
}

/// A whole file with a room.
fn whole(path: &Path, ending: Ending) -> Vec<u8> {
    let (store, _) = Store::open(path, &limits()).unwrap();
    let room = store.room_or_create("main", "talk").unwrap();
    store.counter_of(room, "love").unwrap().add(7);
    store.flush().unwrap();
    if ending == Ending::Closed {
        store.close().unwrap();
    }
    drop(store);
    let bytes = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    bytes
}

/// A file of records with right checksums.
fn crafted(path: &Path, bytes: &[u8]) -> Vec<u8> {
    const MAX_CELLS: usize = 1000;
    let mut cells: Vec<Cell> = Vec::new();
    for change in bytes.chunks_exact(4) {
        let [what, a, b, c] = change.try_into().unwrap();
        let text = |length: u8| char::from(c % 128).to_string().repeat(usize::from(length));
        match what % 4 {
            0 => cells.extend(encode_room("main", &text(a)).unwrap()),
            1 => {
                let kind = text(b % 4);
                let room = RoomId::at(CellId::FIRST_RECORD + u32::from(a % 32));
                cells.push(encode_counter(room, u16::from(b / 4), &kind, u64::from(c)).unwrap());
            }
            2 => cells.push(Cell::default()),
            _ => {
                if let Some(cell) = cells.last_mut() {
                    cell[usize::from(a % 8)] ^= u64::from(b) << (c % 64);
                }
            }
        }
    }
    let mut file = whole(path, Ending::Killed);
    let words = cells.iter().take(MAX_CELLS).flatten();
    let records: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    let first = CellId::FIRST_RECORD.byte_offset() as usize;
    file[first..first + records.len()].copy_from_slice(&records);
    file
}

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else {
        return;
    };
    DIRECTORY.with_borrow(|directory| {
        let path = directory.path().join("snapshot");
        let content = match how % 4 {
            0 => bytes.to_vec(),
            3 => crafted(&path, bytes),
            how => {
                // Flips bits of a whole file: each change is an offset and a mask.
                let ending = if how == 1 {
                    Ending::Closed
                } else {
                    Ending::Killed
                };
                let mut file = whole(&path, ending);
                let records = 4096 + 8 * 64;
                for change in bytes.chunks_exact(3) {
                    let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % records;
                    file[at] ^= change[2];
                }
                file
            }
        };
        fs::write(&path, &content).unwrap();
        let seen = Snapshot::open(&path);
        assert_eq!(
            fs::read(&path).unwrap(),
            content,
            "reading has changed the file"
        );
        let rooms: Option<Vec<RoomContents>> = seen.ok().map(|it| it.contents().collect());
        match Store::open(&path, &limits()) {
            Err(error) => {
                assert!(error.to_string().contains("snapshot"));
                assert_eq!(
                    fs::read(&path).unwrap(),
                    content,
                    "a refusal has changed the file"
                );
                salvage(&path, &error, rooms.as_deref());
            }
            Ok((store, _)) => {
                // Opening the file loses nothing that reading it has shown.
                for room in rooms.iter().flatten() {
                    assert_covers(&store, room);
                }
                use_it(store, &path);
            }
        }
        for entry in fs::read_dir(directory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    });
});

fn salvage(path: &Path, refusal: &OpenError, rooms: Option<&[RoomContents]>) {
    let before = fs::read(path).unwrap();
    match Store::open_or_salvage(path, &limits()) {
        Err(_) => {
            assert!(!matches!(refusal, OpenError::Damaged { .. }), "{refusal}");
            assert_eq!(
                fs::read(path).unwrap(),
                before,
                "a refusal has changed the file"
            );
        }
        Ok((store, report)) => {
            let salvaged = report.salvaged.unwrap();
            assert_eq!(fs::read(salvaged.original).unwrap(), before);
            for room in rooms.unwrap_or_default() {
                assert_covers(&store, room);
            }
            use_it(store, path);
        }
    }
}

fn assert_covers(store: &Store, room: &RoomContents) {
    let id = store.find(&room.party, &room.room).unwrap();
    let kinds = store.kinds(id);
    for (kind, count) in &room.counts {
        let (_, counter) = kinds.iter().find(|(known, _)| known == kind).unwrap();
        assert_eq!(counter.get(), *count);
    }
}

/// Counts in a room, which the file may have or not, and checks that the counts come back.
fn use_it(store: Store, path: &Path) {
    let Ok(room) = store.room_or_create("main", "talk") else {
        return;
    };
    let Ok(counter) = store.counter_of(room, "love") else {
        return;
    };
    let before = counter.get();
    counter.add(3);
    let closed = store.close();
    drop((counter, store));
    let (store, report) = Store::open(path, &limits()).unwrap();
    assert_eq!(report.was_closed, closed.is_ok());
    let room = store.find("main", "talk").unwrap();
    let kinds = store.kinds(room);
    let (_, counter) = kinds.iter().find(|(kind, _)| kind == "love").unwrap();
    assert_eq!(counter.get(), before.saturating_add(3));
}
