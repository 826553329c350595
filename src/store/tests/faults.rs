//! Counting while the disk fails, is full, or is slow.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;

/// A disk with switches. It never syncs anything, which no test would notice.
#[derive(Debug, Default)]
pub(super) struct Switches {
    is_full: AtomicBool,
    /// Maximum number of cells of the file; 0 for no maximum.
    max_cells: AtomicU32,
    /// Makes the next sync of the file itself fail.
    fails_file_sync: AtomicBool,
    pub(super) loses_writes: AtomicBool,
    synced: Mutex<Vec<Range<CellId>>>,
    /// Told when a sync begins, which then waits for an answer.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// Path of a file that is copied at each sync, and the copies.
    copied: Mutex<Option<(std::path::PathBuf, Vec<Vec<u8>>)>>,
}

#[derive(Debug)]
struct Switched(Arc<Switches>);

impl Disk for Switched {
    fn allocate(&self, file: &File, cells: Range<CellId>) -> io::Result<()> {
        let max = self.0.max_cells.load(Ordering::SeqCst);
        let is_over = max > 0 && cells.end.number() > max;
        if self.0.is_full.load(Ordering::SeqCst) || is_over {
            return Err(io::ErrorKind::StorageFull.into());
        }
        FileSystem.allocate(file, cells)
    }

    fn sync_cells(&self, _: &Mapping, cells: Range<CellId>) -> io::Result<()> {
        if let Some((begun, answers)) = &*self.0.gate.lock().unwrap() {
            // A test that has ended waits for nothing.
            let _ = begun.send(());
            let _ = answers.recv();
        }
        if let Some((path, copies)) = &mut *self.0.copied.lock().unwrap() {
            copies.push(fs::read(path).unwrap());
        }
        if self.0.loses_writes.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.0.synced.lock().unwrap().push(cells);
        Ok(())
    }

    fn sync_file(&self, _: &File) -> io::Result<()> {
        if self.0.fails_file_sync.swap(false, Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }
}

impl Switches {
    /// Makes each sync report that it begins, and wait for an answer.
    pub(super) fn gate(&self) -> (Receiver<()>, Sender<()>) {
        let (begun, begins) = channel();
        let (answer, answers) = channel();
        *self.gate.lock().unwrap() = Some((begun, answers));
        (begins, answer)
    }

    /// Makes the disk full.
    pub(super) fn fill_up(&self) {
        self.is_full.store(true, Ordering::SeqCst);
    }

    /// Makes space on the disk again.
    pub(super) fn make_space(&self) {
        self.is_full.store(false, Ordering::SeqCst);
    }

    /// Forgets which cells have been synced.
    pub(super) fn forget_syncs(&self) {
        self.synced.lock().unwrap().clear();
    }

    /// What a disk that held `image` holds after all syncs of a page cache that holds `now`.
    pub(super) fn on_disk(&self, mut image: Vec<u8>, now: &[u8]) -> Vec<u8> {
        image.resize(now.len(), 0);
        for range in &*self.synced.lock().unwrap() {
            let bytes = |cell: CellId| (cell.byte_offset() as usize).min(now.len());
            let range = bytes(range.start)..bytes(range.end);
            image[range.clone()].copy_from_slice(&now[range]);
        }
        image
    }

    /// Makes each sync copy the file.
    pub(super) fn copy_at_sync(&self, path: &Path) {
        *self.copied.lock().unwrap() = Some((path.to_owned(), Vec::new()));
    }

    pub(super) fn copies(&self) -> Vec<Vec<u8>> {
        let copied = self.copied.lock().unwrap().take();
        copied.map(|(_, copies)| copies).unwrap_or_default()
    }
}

/// A store on a disk with switches.
pub(super) fn open_switched(path: &Path) -> (Store, Arc<Switches>) {
    let switches = Arc::new(Switches::default());
    let disk = Box::new(Switched(Arc::clone(&switches)));
    let limits = StoreLimits {
        max_overflow_bytes: 64 << 10,
        ..StoreLimits::default()
    };
    let (store, _) = Store::open_on(path, &limits, disk).unwrap();
    (store, switches)
}

/// Opens a file with these bytes, without real syncs.
pub(super) fn open_bytes(path: &Path, bytes: &[u8]) -> Result<(Store, OpenReport), OpenError> {
    fs::write(path, bytes).unwrap();
    let disk = Box::new(Switched(Arc::default()));
    let limits = StoreLimits {
        max_file_bytes: 4 * MIN_FILE_BYTES,
        ..small(100)
    };
    Store::open_on(path, &limits, disk)
}

/// Adds rooms until the file has no space for one. Returns that room, and the number of rooms.
pub(super) fn fill(store: &Store) -> (RoomId, usize) {
    for number in 0.. {
        let room = store
            .room_or_create("main", &format!("room {number}"))
            .unwrap();
        store.counter_of(room, "love").unwrap().add(1);
        if !room.cell().is_in_file() {
            return (room, number + 1);
        }
    }
    unreachable!()
}

#[test]
fn new_counts_are_kept_in_memory_until_the_file_can_grow() {
    let directory = directory();
    let path = directory.path().join("counts");
    let rooms = {
        let (store, disk) = open_switched(&path);
        disk.fill_up();
        let (last, rooms) = fill(&store);
        assert!(matches!(store.grow_ahead(), Err(StoreError::Grow(_))));
        // A new kind in a room that is in the file, and one in a room that is not.
        let first = store.find("main", "room 0").unwrap();
        let counter = store.counter_of(first, "clap").unwrap();
        store.counter_of(last, "clap").unwrap().add(7);
        let status = store.status();
        assert_eq!(status.unsaved_records, 4, "{status:?}");
        let [problem] = &status.problems[..] else {
            panic!("{status:?}");
        };
        assert_eq!(problem.kind.label(), "growth");
        assert!(problem.to_string().contains("can't grow"), "{problem}");

        // Space returns while other threads count.
        let before = thread::scope(|scope| {
            let adders: Vec<_> = (0..4)
                .map(|_| {
                    let counter = counter.clone();
                    scope.spawn(move || (0..10_000).for_each(|_| counter.add(1)))
                })
                .collect();
            disk.make_space();
            store.grow_ahead().unwrap();
            adders.into_iter().for_each(|it| it.join().unwrap());
            counter.get()
        });
        assert_eq!(before, 40_000);
        counter.add(1);
        let status = store.status();
        assert_eq!((status.unsaved_records, status.problems), (0, vec![]));
        // The old id still leads to the room.
        store.counter_of(last, "love").unwrap().add(1);
        assert_eq!(store.find("main", "room 0"), Some(first));
        store.close().unwrap();
        rooms
    };
    let (store, report) = open(&path);
    assert_eq!(report.rooms, rooms);
    let owned = |(kind, count): (&str, u64)| (kind.to_owned(), count);
    let last = format!("room {}", rooms - 1);
    let expected = [("love", 2), ("clap", 7)].map(owned);
    assert_eq!(counts(&store, "main", &last), expected);
    let expected = [("love", 1), ("clap", 40_001)].map(owned);
    assert_eq!(counts(&store, "main", "room 0"), expected);
}

#[test]
fn overflow_has_a_limit_and_its_loss_is_reported() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    disk.fill_up();
    fill(&store);
    let refused = (0..).find_map(|n| store.room_or_create("main", &format!("more {n}")).err());
    assert!(matches!(refused, Some(StoreError::Late)), "{refused:?}");
    let error = store.close().unwrap_err().to_string();
    assert!(error.contains("could not be saved"), "{error}");
    drop(store);
    assert!(!open(&path).1.was_closed);
}

#[test]
fn a_failed_flush_is_repeated_in_full() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let room = store.room_or_create("main", "talk").unwrap();
    let counter = store.counter_of(room, "love").unwrap();
    store.flush().unwrap();
    disk.forget_syncs();
    disk.loses_writes.store(true, Ordering::SeqCst);
    counter.add(3);
    assert_eq!(store.flush().unwrap_err().raw_os_error(), Some(5));
    let status = store.status();
    assert_eq!(status.failed_flushes, 1);
    assert!(store.statistics().behind().is_some());
    assert_eq!(status.problems[0].kind.label(), "flush");
    // Nothing has changed since, but the page does not count as clean.
    disk.loses_writes.store(false, Ordering::SeqCst);
    store.flush().unwrap();
    let synced = disk.synced.lock().unwrap().clone();
    let cell = counter.id().cell();
    assert!(synced.iter().any(|it| it.contains(&cell)), "{synced:?}");
    let status = store.status();
    assert_eq!(
        (store.statistics().behind(), status.problems),
        (None, vec![])
    );
}

#[test]
fn only_the_flusher_waits_for_a_slow_disk() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let room = store.room_or_create("main", "talk").unwrap();
    let counter = store.counter_of(room, "love").unwrap();
    counter.add(1);
    let (begins, answer) = disk.gate();
    thread::scope(|scope| {
        let flushing = scope.spawn(|| store.flush());
        begins.recv().unwrap();
        // Everything that reactors do, while the disk works. A wait for it would never end.
        counter.add(1);
        let other = store.room_or_create("main", "other").unwrap();
        store.counter_of(other, "clap").unwrap().add(1);
        assert_eq!(counts(&store, "main", "talk"), [("love".to_owned(), 2)]);
        assert_eq!(store.status().rooms, 2);
        drop(answer);
        flushing.join().unwrap().unwrap();
    });
}

#[test]
fn the_file_grows_while_a_flush_is_slow() {
    const ROOMS: usize = 60_000;
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    store.grow_ahead().unwrap();
    store.room_or_create("main", "talk").unwrap();
    let (begins, answer) = disk.gate();
    let killed = thread::scope(|scope| {
        scope.spawn(|| store.grow_until_stopped(|| ()));
        let flushing = scope.spawn(|| store.flush());
        begins.recv().unwrap();
        for number in 0..ROOMS {
            let room = store
                .room_or_create("main", &format!("room {number}"))
                .unwrap();
            store.counter_of(room, "love").unwrap().add(1);
            // No crowd is so fast that the grower can't keep up.
            let file = &store.space.file;
            while file.is_running_low(store.catalog().free.used_end()) {
                thread::yield_now();
            }
        }
        assert_eq!(store.status().unsaved_records, 0);
        let killed = fs::read(&path).unwrap();
        drop(answer);
        flushing.join().unwrap().unwrap();
        store.stop_waiting();
        killed
    });
    let copy = directory.path().join("copy");
    fs::write(&copy, killed).unwrap();
    let (_, report) = open(&copy);
    assert_eq!((report.rooms, report.counters), (ROOMS + 1, ROOMS));
}

#[test]
fn a_flush_that_waits_for_a_reset_is_reported_as_behind() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let room = store.room_or_create("main", "talk").unwrap();
    store.counter_of(room, "love").unwrap().add(1);
    store.flush().unwrap();
    let (begins, answer) = disk.gate();
    thread::scope(|scope| {
        let reset = scope.spawn(|| store.begin_reset(room).map(drop));
        begins.recv().unwrap();
        store.counter_of(room, "love").unwrap().add(1);
        assert!(store.wait_until_dirty(None));
        let flushing = scope.spawn(|| store.grow_ahead().map(|()| store.flush()));
        let behind = store.statistics().behind().unwrap();
        while store.statistics().behind().unwrap() < behind + Duration::from_millis(20) {
            thread::yield_now();
        }
        drop(answer);
        reset.join().unwrap().unwrap();
        flushing.join().unwrap().unwrap().unwrap();
    });
    assert_eq!(store.statistics().behind(), None);
}

#[test]
fn a_large_file_grows_into_what_the_disk_has_left() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let file = &store.space.file;
    // An eighth of the file is more than what is left.
    file.grow_to(1 << 20).unwrap();
    let held = file.cells();
    let left = held + (4 << 20) / CELL_BYTES as u32;
    disk.max_cells.store(left, Ordering::SeqCst);
    file.grow_ahead(CellId::new(held - 100)).unwrap();
    assert!(file.cells() > held && file.cells() <= left);
}

#[test]
fn with_little_space_left_not_every_new_room_tries_to_grow() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let held = store.space.file.cells();
    disk.max_cells.store(held, Ordering::SeqCst);
    store.room_or_create("main", "first").unwrap();
    assert!(
        store.growth_signal.wait(Some(Duration::ZERO)),
        "fewer cells are ready than wanted"
    );
    store.grow_ahead().unwrap();
    store.room_or_create("main", "talk").unwrap();
    assert!(!store.growth_signal.is_set());
}

#[test]
fn only_changed_pages_are_synced() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let mut counters = Vec::new();
    for number in 0..2000 {
        let room = store
            .room_or_create("main", &format!("room {number}"))
            .unwrap();
        counters.push(store.counter_of(room, "love").unwrap());
    }
    store.flush().unwrap();
    disk.forget_syncs();
    counters[1000].add(1);
    store.flush().unwrap();
    let cell = counters[1000].id().cell();
    let synced = disk.synced.lock().unwrap().clone();
    assert_eq!(synced.len(), 1, "{synced:?}");
    assert_eq!(synced[0], cell.page().cells(), "the page of {cell:?}");
    // Without a change, nothing is written.
    store.flush().unwrap();
    assert_eq!(disk.synced.lock().unwrap().len(), 1);
    assert_eq!(store.status().flushes, 2);
}

#[test]
fn after_a_failed_sync_even_the_next_process_writes_all() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    let room = store.room_or_create("main", "old").unwrap();
    store.counter_of(room, "love").unwrap().add(7);
    store.flush().unwrap();
    store.room_or_create("main", "new").unwrap();
    assert!(store.remove_inactive("main", "old", u32::MAX));
    // From here on the kernel takes all those pages for clean, the new room's too.
    disk.loses_writes.store(true, Ordering::SeqCst);
    assert!(matches!(store.reclaim(), Err(StoreError::Sync(_))));
    disk.loses_writes.store(false, Ordering::SeqCst);
    let killed = fs::read(&path).unwrap();
    let everything = |store: &Store, disk: &Switches| {
        store.flush().unwrap();
        let synced = disk.synced.lock().unwrap().clone();
        let all = CellId::HEADER..store.space.file.end();
        assert!(synced.contains(&all), "{synced:?}");
    };
    everything(&store, &disk);
    drop(store);
    // Now with a process that died before that.
    fs::write(&path, killed).unwrap();
    let (store, disk) = open_switched(&path);
    everything(&store, &disk);
    disk.forget_syncs();
    store.room_or_create("main", "newer").unwrap();
    store.flush().unwrap();
    let synced = disk.synced.lock().unwrap().clone();
    assert!(
        synced.iter().all(|it| it.end - it.start <= 2 * PAGE_CELLS),
        "{synced:?}"
    );
}

#[test]
fn after_a_failed_sync_of_the_length_all_is_written_again() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    store.room_or_create("main", "old").unwrap();
    store.flush().unwrap();
    store.space.file.grow_to(100_000).unwrap();
    store.room_or_create("main", "new").unwrap();
    disk.fails_file_sync.store(true, Ordering::SeqCst);
    assert!(store.flush().is_err());
    disk.forget_syncs();
    store.flush().unwrap();
    let synced = disk.synced.lock().unwrap().clone();
    assert!(
        synced.contains(&(CellId::HEADER..store.space.file.end())),
        "{synced:?}"
    );
}

#[test]
fn a_file_at_its_maximum_size_is_reported_as_full() {
    let directory = directory();
    let limits = StoreLimits {
        max_file_bytes: 2 * MIN_FILE_BYTES,
        ..StoreLimits::default()
    };
    let (store, _) = Store::open(&directory.path().join("counts"), &limits).unwrap();
    // Nothing makes the file grow.
    while store.status().unsaved_records < 20_000 {
        let number = store.rooms();
        store
            .room_or_create("main", &format!("room {number}"))
            .unwrap();
    }
    assert!(matches!(store.grow_ahead(), Err(StoreError::Full)));
    let problem = store.status().problems.remove(0);
    let is_full = |kind: &ProblemKind| {
        matches!(
            kind,
            ProblemKind::Growth {
                error: GrowthError::Full,
                ..
            }
        )
    };
    assert!(is_full(&problem.kind), "{problem}");
}
