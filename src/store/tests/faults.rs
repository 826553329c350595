//! A disk that fails, is slow, or loses power: what is counted meanwhile.

use std::fs::{self, File};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::*;

/// A disk that does as it is told, and forgets to sync otherwise, which no test would see.
#[derive(Debug, Default)]
pub(super) struct Switches {
    is_full: AtomicBool,
    /// How many cells the file may have at most; 0 is as many as it likes.
    most_cells: AtomicU32,
    /// The next sync of the file itself fails.
    fails_file_sync: AtomicBool,
    pub(super) loses_writes: AtomicBool,
    synced: Mutex<Vec<Range<u32>>>,
    /// Told when a sync begins; it waits for an answer then.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// Where the file is that is copied at each sync, and the copies.
    copied: Mutex<Option<(std::path::PathBuf, Vec<Vec<u8>>)>>,
}

#[derive(Debug)]
struct Switched(Arc<Switches>);

impl Disk for Switched {
    fn allocate(&self, file: &File, cells: Range<u32>) -> io::Result<()> {
        let most = self.0.most_cells.load(Ordering::SeqCst);
        if self.0.is_full.load(Ordering::SeqCst) || most > 0 && cells.end > most {
            return Err(io::ErrorKind::StorageFull.into());
        }
        FileSystem.allocate(file, cells)
    }

    fn sync_cells(&self, _: &Mapping, cells: Range<u32>) -> io::Result<()> {
        if let Some((begun, answers)) = &*self.0.gate.lock().unwrap() {
            // Whoever is gone waits for nothing any more.
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
        match self.0.fails_file_sync.swap(false, Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    }
}

impl Switches {
    /// From now on each sync says that it begins, and waits for an answer.
    pub(super) fn gate(&self) -> (Receiver<()>, Sender<()>) {
        let (begun, begins) = channel();
        let (answer, answers) = channel();
        *self.gate.lock().unwrap() = Some((begun, answers));
        (begins, answer)
    }

    /// What a disk that had `image` holds after all the syncs, from a page cache that has `now`.
    pub(super) fn on_disk(&self, mut image: Vec<u8>, now: &[u8]) -> Vec<u8> {
        image.resize(now.len(), 0);
        for range in &*self.synced.lock().unwrap() {
            let bytes = |cell: u32| (cell as usize * format::CELL_BYTES).min(now.len());
            let range = bytes(range.start)..bytes(range.end);
            image[range.clone()].copy_from_slice(&now[range]);
        }
        image
    }

    /// Copies the file at each sync from now on.
    pub(super) fn copy_at_sync(&self, path: &Path) {
        *self.copied.lock().unwrap() = Some((path.to_owned(), Vec::new()));
    }

    pub(super) fn copies(&self) -> Vec<Vec<u8>> {
        let copied = self.copied.lock().unwrap().take();
        copied.map(|(_, copies)| copies).unwrap_or_default()
    }
}

/// A store whose disk does as the switches say.
pub(super) fn open_switched(path: &Path) -> (Store, Arc<Switches>) {
    let switches = Arc::new(Switches::default());
    let disk = Box::new(Switched(Arc::clone(&switches)));
    let limits = StoreLimits {
        max_spare_bytes: 64 << 10,
        ..StoreLimits::default()
    };
    let (store, _) = Store::open_on(path, &limits, disk).unwrap();
    (store, switches)
}

/// Opens whatever the bytes are, as quickly as can be.
pub(super) fn open_bytes(path: &Path, bytes: &[u8]) -> Result<(Store, OpenReport), OpenError> {
    fs::write(path, bytes).unwrap();
    let disk = Box::new(Switched(Arc::default()));
    let limits = StoreLimits {
        max_file_bytes: 4 * MIN_FILE_BYTES,
        ..small(100)
    };
    Store::open_on(path, &limits, disk)
}

/// Adds rooms until one has no place in the file; that one, and how many there are.
fn fill(store: &Store) -> (RoomId, usize) {
    for number in 0.. {
        let room = store.room("main", &format!("room {number}")).unwrap();
        store.counter_of(room, "love").unwrap().add(1);
        if room.0 & SPARE != 0 {
            return (room, number + 1);
        }
    }
    unreachable!()
}

#[test]
fn while_the_file_can_not_grow_what_is_new_is_counted_in_memory_and_then_saved() {
    let directory = directory();
    let path = directory.path().join("counts");
    let rooms = {
        let (store, disk) = open_switched(&path);
        disk.is_full.store(true, Ordering::SeqCst);
        let (last, rooms) = fill(&store);
        assert!(matches!(store.grow_ahead(), Err(StoreError::Grow(_))));
        // A new kind of a room that is in the file, and one of a room that is not.
        let first = store.find("main", "room 0").unwrap();
        let counter = store.counter_of(first, "clap").unwrap();
        store.counter_of(last, "clap").unwrap().add(7);
        let status = store.status();
        assert_eq!(status.unsaved_records, 4, "{status:?}");
        let [problem] = &status.problems[..] else {
            panic!("{status:?}");
        };
        assert!(problem.message.contains("can't grow") && problem.message.contains("make space"));

        // Space returns while others count.
        let before = thread::scope(|scope| {
            let adders: Vec<_> = (0..4)
                .map(|_| {
                    let counter = counter.clone();
                    scope.spawn(move || (0..10_000).for_each(|_| counter.add(1)))
                })
                .collect();
            disk.is_full.store(false, Ordering::SeqCst);
            store.grow_ahead().unwrap();
            adders.into_iter().for_each(|it| it.join().unwrap());
            counter.get()
        });
        assert_eq!(before, 40_000);
        counter.add(1);
        let status = store.status();
        assert_eq!((status.unsaved_records, status.problems), (0, vec![]));
        // Those who knew it by its old place still do.
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
fn what_is_in_memory_has_a_limit_and_is_not_forgotten_in_silence() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    disk.is_full.store(true, Ordering::SeqCst);
    fill(&store);
    let refused = (0..).find_map(|n| store.room("main", &format!("more {n}")).err());
    assert!(matches!(refused, Some(StoreError::Late)), "{refused:?}");
    let error = store.close().unwrap_err().to_string();
    assert!(error.contains("could not be saved"), "{error}");
    drop(store);
    assert!(!open(&path).1.was_closed);
}

#[test]
fn a_flush_that_fails_is_done_again_with_all_of_it() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let room = store.room("main", "talk").unwrap();
    let counter = store.counter_of(room, "love").unwrap();
    store.flush().unwrap();
    disk.synced.lock().unwrap().clear();
    disk.loses_writes.store(true, Ordering::SeqCst);
    counter.add(3);
    assert_eq!(store.flush().unwrap_err().raw_os_error(), Some(5));
    let status = store.status();
    assert_eq!(status.failed_flushes, 1);
    assert!(status.behind.is_some());
    assert_eq!(status.problems[0].label, "flush");
    // Nothing has changed since, and yet it is not clean.
    disk.loses_writes.store(false, Ordering::SeqCst);
    store.flush().unwrap();
    let synced = disk.synced.lock().unwrap().clone();
    let cell = counter.cell();
    assert!(synced.iter().any(|it| it.contains(&cell)), "{synced:?}");
    let status = store.status();
    assert_eq!((status.behind, status.problems), (None, vec![]));
}

#[test]
fn nobody_but_the_flusher_waits_for_a_slow_disk() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let room = store.room("main", "talk").unwrap();
    let counter = store.counter_of(room, "love").unwrap();
    counter.add(1);
    let (begins, answer) = disk.gate();
    thread::scope(|scope| {
        let flushing = scope.spawn(|| store.flush());
        begins.recv().unwrap();
        // All that reactors do, while the disk works. If any waited for it, it would wait forever.
        counter.add(1);
        let other = store.room("main", "other").unwrap();
        store.counter_of(other, "clap").unwrap().add(1);
        assert_eq!(counts(&store, "main", "talk"), [("love".to_owned(), 2)]);
        assert_eq!(store.status().rooms, 2);
        drop(answer);
        flushing.join().unwrap().unwrap();
    });
}

#[test]
fn the_file_grows_also_while_a_flush_is_slow() {
    const ROOMS: usize = 60_000;
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    store.grow_ahead().unwrap();
    store.room("main", "talk").unwrap();
    let (begins, answer) = disk.gate();
    let killed = thread::scope(|scope| {
        scope.spawn(|| store.watch(|| ()));
        let flushing = scope.spawn(|| store.flush());
        begins.recv().unwrap();
        for number in 0..ROOMS {
            let room = store.room("main", &format!("room {number}")).unwrap();
            store.counter_of(room, "love").unwrap().add(1);
            // No crowd is as fast as that.
            let file = &store.core.memory.file;
            while file.is_running_low(store.index().places.free.next_cell()) {
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
fn who_waits_behind_a_reset_is_seen_to_be_behind() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let room = store.room("main", "talk").unwrap();
    store.counter_of(room, "love").unwrap().add(1);
    store.flush().unwrap();
    let (begins, answer) = disk.gate();
    thread::scope(|scope| {
        let reset = scope.spawn(|| store.begin_reset(room).map(drop));
        begins.recv().unwrap();
        store.counter_of(room, "love").unwrap().add(1);
        assert!(store.wait_until_dirty(None));
        let flushing = scope.spawn(|| store.grow_ahead().map(|()| store.flush()));
        let behind = store.status().behind.unwrap();
        while store.status().behind.unwrap() < behind + Duration::from_millis(20) {
            thread::yield_now();
        }
        drop(answer);
        reset.join().unwrap().unwrap();
        flushing.join().unwrap().unwrap().unwrap();
    });
    assert_eq!(store.status().behind, None);
}

#[test]
fn a_large_file_grows_into_what_is_left_of_the_disk() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let file = &store.core.memory.file;
    // An eighth of it is more than what is left.
    file.grow_to(1 << 20).unwrap();
    let held = file.cells();
    let left = held + (4 << 20) / format::CELL_BYTES as u32;
    disk.most_cells.store(left, Ordering::SeqCst);
    file.grow_ahead(held - 100).unwrap();
    assert!(file.cells() > held && file.cells() <= left);
}

#[test]
fn while_little_space_is_left_nobody_tries_again_for_each_new_room() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let held = store.core.memory.file.cells();
    disk.most_cells.store(held, Ordering::SeqCst);
    store.room("main", "first").unwrap();
    assert!(
        store.watch.wait(Some(Duration::ZERO)),
        "less than the most is ready"
    );
    store.grow_ahead().unwrap();
    store.room("main", "talk").unwrap();
    assert!(!store.watch.is_set());
}

#[test]
fn only_what_has_changed_is_synced() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    let mut counters = Vec::new();
    for number in 0..2000 {
        let room = store.room("main", &format!("room {number}")).unwrap();
        counters.push(store.counter_of(room, "love").unwrap());
    }
    store.flush().unwrap();
    disk.synced.lock().unwrap().clear();
    counters[1000].add(1);
    store.flush().unwrap();
    let cell = counters[1000].cell();
    let page = cell / PAGE_CELLS * PAGE_CELLS;
    let synced = disk.synced.lock().unwrap().clone();
    assert_eq!(synced.len(), 1, "{synced:?}");
    assert_eq!(synced[0], page..page + PAGE_CELLS, "of cell {cell}");
    // Nothing has changed: nothing is written.
    store.flush().unwrap();
    assert_eq!(disk.synced.lock().unwrap().len(), 1);
    assert_eq!(store.status().flushes, 2);
}

#[test]
fn after_a_sync_that_failed_anywhere_everything_is_written_again_even_by_the_next_process() {
    let directory = directory();
    let path = directory.path().join("counts");
    let (store, disk) = open_switched(&path);
    let room = store.room("main", "old").unwrap();
    store.counter_of(room, "love").unwrap().add(7);
    store.flush().unwrap();
    store.room("main", "new").unwrap();
    assert!(store.remove_inactive("main", "old", u32::MAX));
    // The kernel takes all those pages for clean from here on, the new room's too.
    disk.loses_writes.store(true, Ordering::SeqCst);
    assert!(matches!(store.reclaim(), Err(StoreError::Sync(_))));
    disk.loses_writes.store(false, Ordering::SeqCst);
    let killed = fs::read(&path).unwrap();
    let everything = |store: &Store, disk: &Switches| {
        store.flush().unwrap();
        let synced = disk.synced.lock().unwrap().clone();
        let all = 0..store.core.memory.file.cells();
        assert!(synced.contains(&all), "{synced:?}");
    };
    everything(&store, &disk);
    drop(store);
    // The same if the process died before that.
    fs::write(&path, killed).unwrap();
    let (store, disk) = open_switched(&path);
    everything(&store, &disk);
    disk.synced.lock().unwrap().clear();
    store.room("main", "newer").unwrap();
    store.flush().unwrap();
    let synced = disk.synced.lock().unwrap().clone();
    assert!(
        synced.iter().all(|it| it.len() <= 2 * PAGE_CELLS as usize),
        "{synced:?}"
    );
}

#[test]
fn when_the_files_length_could_not_be_synced_everything_is_written_again() {
    let directory = directory();
    let (store, disk) = open_switched(&directory.path().join("counts"));
    store.room("main", "old").unwrap();
    store.flush().unwrap();
    store.core.memory.file.grow_to(100_000).unwrap();
    store.room("main", "new").unwrap();
    disk.fails_file_sync.store(true, Ordering::SeqCst);
    assert!(store.flush().is_err());
    disk.synced.lock().unwrap().clear();
    store.flush().unwrap();
    let synced = disk.synced.lock().unwrap().clone();
    assert!(
        synced.contains(&(0..store.core.memory.file.cells())),
        "{synced:?}"
    );
}

#[test]
fn a_file_that_has_its_largest_size_is_named_as_that() {
    let directory = directory();
    let limits = StoreLimits {
        max_file_bytes: 2 * MIN_FILE_BYTES,
        ..StoreLimits::default()
    };
    let (store, _) = Store::open(&directory.path().join("counts"), &limits).unwrap();
    // Faster than the file grows.
    while store.status().unsaved_records < 20_000 {
        let number = store.rooms();
        store.room("main", &format!("room {number}")).unwrap();
    }
    assert!(matches!(store.grow_ahead(), Err(StoreError::Full)));
    let message = store.status().problems.remove(0).message;
    assert!(message.contains("raise --snapshot-max-bytes"), "{message}");
}
