//! A model of a disk that loses power: it keeps any of the sectors written since the last sync, and
//! may fail. A store on it counts, resets, removes, dies and starts again. Whenever power fails,
//! the next server starts, and each count is one that there was since the last sync.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;

use super::faults::open_bytes;
use super::*;

/// One crash in so many is checked: opening a server for each would take most of the test's time, and
/// the lives differ anyway.
const CHECKED_CRASHES: usize = 3;

/// Number of lives that are tried, unless `OVATION_LIVES` gives another. `OVATION_TEST_SEED` gives
/// the first seed.
const LIVES: u64 = 20;
const STEPS: usize = 40;
const ROOMS: usize = 14;
const KINDS: usize = 4;
const SECTOR_BYTES: usize = 512;
/// Size of the part of the file that is modelled. All records fit into it.
const BYTES: usize = 256 << 10;

/// A room and a kind.
type Key = (String, String);
type Counts = HashMap<Key, u64>;
/// Minimum and maximum of each count after a crash.
type Bounds = HashMap<Key, (u64, u64)>;

/// Which sectors a sync writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sectors {
    /// Those whose content has changed.
    Changed,
    /// All, because the store has made their pages dirty.
    All,
}

/// Whether syncs may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    None,
    Possible,
}

/// The disk, and what may be found on it.
#[derive(Debug)]
struct World {
    path: PathBuf,
    rng: Rng,
    /// What is on the disk.
    durable: Vec<u8>,
    /// What the kernel believes to be on the disk.
    clean: Vec<u8>,
    /// Number of syncs that succeed before one fails; `None` if none fails.
    fails_after: Option<u32>,
    bounds: Bounds,
    /// What would be left if power had failed, and at which moment.
    crashes: Vec<(Vec<u8>, Bounds, &'static str)>,
    moment: &'static str,
}

impl World {
    /// The page cache.
    fn cache(&mut self) -> Vec<u8> {
        let mut cache = fs::read(&self.path).unwrap();
        cache.truncate(BYTES);
        self.durable.resize(cache.len(), 0);
        self.clean.resize(cache.len(), 0);
        cache
    }

    /// Writes some sectors, as the kernel does at any time.
    fn write_back(&mut self, one_in: u32) {
        let cache = self.cache();
        for start in (0..cache.len()).step_by(SECTOR_BYTES) {
            let sector = start..start + SECTOR_BYTES;
            let is_dirty = self.clean[sector.clone()] != cache[sector.clone()];
            if is_dirty && self.rng.u32(..one_in) == 0 {
                self.durable[sector.clone()].copy_from_slice(&cache[sector]);
            }
        }
    }

    /// Syncs some bytes. Like Linux, takes sectors for clean even if the sync fails.
    fn sync(&mut self, bytes: Range<usize>, which: Sectors) -> io::Result<()> {
        let cache = self.cache();
        let fails = self.fails_after == Some(0);
        self.fails_after = match self.fails_after {
            Some(0) | None => None,
            Some(left) => Some(left - 1),
        };
        for start in bytes
            .step_by(SECTOR_BYTES)
            .take_while(|it| *it < cache.len())
        {
            let sector = start..start + SECTOR_BYTES;
            let is_dirty =
                which == Sectors::All || self.clean[sector.clone()] != cache[sector.clone()];
            if is_dirty && !(fails && self.rng.bool()) {
                self.durable[sector.clone()].copy_from_slice(&cache[sector.clone()]);
            }
            self.clean[sector.clone()].copy_from_slice(&cache[sector]);
        }
        if fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    /// What is on the disk, with the length of the file.
    fn image(&self) -> Vec<u8> {
        let mut image = self.durable.clone();
        image.resize(fs::metadata(&self.path).unwrap().len() as usize, 0);
        image
    }

    fn power_may_fail(&mut self) {
        let image = self.image();
        self.crashes.push((image, self.bounds.clone(), self.moment));
    }

    /// Notes that these counts are on the disk.
    fn raise(&mut self, synced: Counts) {
        for (key, count) in synced {
            self.bounds.entry(key).or_default().0 = count;
        }
    }

    fn of_room(&mut self, room: &str) -> impl Iterator<Item = (&Key, &mut (u64, u64))> {
        let bounds = self.bounds.iter_mut();
        bounds.filter(move |(key, _)| key.0 == room)
    }
}

#[derive(Debug)]
struct ModelDisk(Arc<Mutex<World>>);

impl Disk for ModelDisk {
    fn allocate(&self, file: &File, cells: Range<CellId>) -> io::Result<()> {
        FileSystem.allocate(file, cells)
    }

    fn sync_cells(&self, mapping: &Mapping, cells: Range<CellId>) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        for one_in in [6, 2, 2] {
            world.write_back(one_in);
            world.power_may_fail();
        }
        let byte = |cell: CellId| cell.byte_offset() as usize;
        let which = if cells == (CellId::HEADER..mapping.end()) {
            Sectors::All
        } else {
            Sectors::Changed
        };
        let start = byte(cells.start) / SECTOR_BYTES * SECTOR_BYTES;
        let synced = world.sync(start..byte(cells.end), which);
        world.power_may_fail();
        synced
    }

    fn sync_file(&self, _: &File) -> io::Result<()> {
        self.0.lock().unwrap().sync(0..BYTES, Sectors::Changed)
    }
}

/// The life of a store, with its crashes.
struct Life {
    store: Option<Store>,
    world: Arc<Mutex<World>>,
    rng: Rng,
    /// The counts that clients see.
    now: Counts,
    directory: tempfile::TempDir,
}

impl Life {
    fn begin(seed: u64) -> Self {
        let directory = directory();
        let world = World {
            path: directory.path().join("counts"),
            rng: Rng::with_seed(seed),
            durable: Vec::new(),
            clean: Vec::new(),
            fails_after: None,
            bounds: Bounds::new(),
            crashes: Vec::new(),
            moment: "it is made",
        };
        let mut life = Self {
            store: None,
            world: Arc::new(Mutex::new(world)),
            rng: Rng::with_seed(!seed),
            now: Counts::new(),
            directory,
        };
        life.start();
        life
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn start(&mut self) -> OpenReport {
        let path = self.world().path.clone();
        let disk = Box::new(ModelDisk(Arc::clone(&self.world)));
        let (store, report) = Store::open_on(&path, &StoreLimits::default(), disk).unwrap();
        self.store = Some(store);
        report
    }

    fn moment(&self, moment: &'static str) {
        self.world().moment = moment;
    }

    /// Lets one of the next syncs fail, perhaps.
    fn may_fail(&mut self, faults: Faults) {
        if faults == Faults::Possible && self.rng.bool() {
            self.world().fails_after = Some(self.rng.u32(..2));
        }
    }

    fn stop_failing(&self) {
        self.world().fails_after = None;
    }

    /// A room. Some names take one cell, some several.
    fn any_room(&mut self) -> String {
        let number = self.rng.usize(..ROOMS);
        format!("room {number} {}", "long ".repeat(number % 5 * 9))
    }

    /// Returns how much to count, and raises the bounds before that, so that no crash is ahead of
    /// them.
    fn expect(&mut self, key: &Key) -> u64 {
        let delta = self.rng.u64(1..1000);
        let count = self.now.entry(key.clone()).or_default();
        *count += delta;
        let count = *count;
        let mut world = self.world();
        let most = &mut world.bounds.entry(key.clone()).or_default().1;
        *most = (*most).max(count);
        delta
    }

    fn any_kind(&mut self) -> String {
        format!("kind {}", self.rng.usize(..KINDS))
    }

    fn react(&mut self) {
        for _ in 0..self.rng.usize(1..13) {
            let key = (self.any_room(), self.any_kind());
            let delta = self.expect(&key);
            let room = self.store().room_or_create("main", &key.0).unwrap();
            self.store().counter_of(room, &key.1).unwrap().add(delta);
        }
    }

    fn flush(&mut self, faults: Faults) {
        self.moment("a flush");
        let flushed = self.now.clone();
        let grows = self.rng.bool();
        let file = &self.store().space.file;
        if grows && file.cells() < 40_000 {
            file.grow_to(file.cells() + 1).unwrap();
        }
        self.may_fail(faults);
        let is_ok = self.store().flush().is_ok();
        self.stop_failing();
        if is_ok {
            self.world().raise(flushed);
        }
    }

    fn reset(&mut self, faults: Faults) {
        self.moment("a reset begins");
        let room = self.any_room();
        let Some(id) = self.store().find("main", &room) else {
            return;
        };
        self.world()
            .of_room(&room)
            .for_each(|(_, bound)| bound.0 = 0);
        // Taken out, so that the store can be used while the reset borrows it.
        let store = self.store.take().unwrap();
        let reset = store.begin_reset(id).unwrap();
        self.moment("a reset");
        let count_on = |life: &mut Self| {
            let key = (room.clone(), life.any_kind());
            let delta = life.expect(&key);
            store.counter_of(id, &key.1).unwrap().add(delta);
        };
        count_on(self);
        reset.zero();
        let mine = self.now.iter_mut().filter(|(key, _)| key.0 == room);
        mine.for_each(|(_, count)| *count = 0);
        count_on(self);
        if self.rng.u32(..5) == 0 {
            self.moment("a reset that a SIGKILL interrupted");
            drop(reset);
            drop(store);
            self.start();
        } else {
            self.may_fail(faults);
            let is_ok = reset.finish().is_ok();
            self.stop_failing();
            self.store = Some(store);
            if !is_ok {
                self.flush(Faults::None);
            }
        }
        // The maximum is what there is now; new counts may not be on the disk.
        let now = self.now.clone();
        for (key, bound) in self.world().of_room(&room) {
            bound.1 = now.get(key).copied().unwrap_or(0).max(bound.0);
        }
    }

    fn remove(&mut self, faults: Faults) {
        self.moment("a removal");
        let room = self.any_room();
        if self.store().find("main", &room).is_none() {
            return;
        }
        self.flush(Faults::None);
        self.world()
            .of_room(&room)
            .for_each(|(_, bound)| bound.0 = 0);
        assert!(self.store().remove_inactive("main", &room, u32::MAX));
        self.now.retain(|key, _| key.0 != room);
        self.may_fail(faults);
        let is_reclaimed = self.rng.u32(..4) > 0 && self.store().reclaim().is_ok();
        self.stop_failing();
        if !is_reclaimed && self.rng.bool() {
            self.moment("a removal that a SIGKILL interrupted");
            self.store = None;
            self.start();
        } else {
            self.store().reclaim().unwrap();
        }
        self.world().bounds.retain(|key, _| key.0 != room);
    }

    fn die(&mut self) {
        self.moment("a SIGKILL");
        self.store = None;
        self.start();
        let mut found = counts_of(self.store());
        found.retain(|_, count| *count > 0);
        self.now.retain(|_, count| *count > 0);
        assert_eq!(found, self.now);
    }

    fn close(&mut self) {
        self.moment("a stop");
        self.store().close().unwrap();
        self.store = None;
        let closed = self.now.clone();
        {
            let mut world = self.world();
            for (key, count) in closed {
                world.bounds.insert(key, (count, count));
            }
            // The machine is switched off and on again.
            fs::write(&world.path, world.image()).unwrap();
        }
        assert!(self.start().was_closed);
    }

    /// Starts a server from what each crash has left.
    fn check(&self) {
        let crashes = std::mem::take(&mut self.world().crashes);
        let copy = self.directory.path().join("copy");
        for (image, bounds, moment) in crashes.into_iter().step_by(CHECKED_CRASHES) {
            if !image.starts_with(b"OVATION1") {
                continue;
            }
            let opened = open_bytes(&copy, &image);
            let (store, report) = opened.unwrap_or_else(|error| panic!("in {moment}: {error}"));
            let found = counts_of(&store);
            for (key, (least, most)) in &bounds {
                let count = found.get(key).copied().unwrap_or(0);
                let is_known = (*least..=*most).contains(&count);
                assert!(
                    is_known,
                    "in {moment}: {key:?} is {count}, not {least} to {most}; {report:?}"
                );
            }
            for (key, count) in &found {
                assert!(
                    bounds.contains_key(key) || *count == 0,
                    "in {moment}: {key:?} {count}"
                );
            }
            // The store works: a new room has no trace of the past.
            let fresh = store.room_or_create("main", "fresh").unwrap();
            let counter = store.counter_of(fresh, "ha").unwrap();
            assert_eq!(
                (counter.get(), store.kinds(fresh).len()),
                (0, 1),
                "in {moment}"
            );
            store.close().unwrap();
            drop(store);
            let damage = Snapshot::open(&copy).unwrap().damage().clone();
            assert_eq!(damage.total(), 0, "after {moment}: {damage}");
        }
    }

    fn live(mut self, faults: Faults) {
        for _ in 0..STEPS {
            match self.rng.u32(..12) {
                0..5 => self.react(),
                5 | 6 => self.flush(faults),
                7 => self.reset(faults),
                8 => self.remove(faults),
                9 => self.die(),
                10 => self.close(),
                _ => {
                    self.moment("nothing");
                    self.world().write_back(3);
                    self.world().power_may_fail();
                }
            }
            self.check();
        }
    }
}

fn counts_of(store: &Store) -> Counts {
    let all = images::all(store).into_iter();
    let flat = all.flat_map(|((_, room), counts)| {
        let counts = counts.into_iter();
        counts.map(move |(kind, count)| ((room.clone(), kind), count))
    });
    flat.collect()
}

fn number(variable: &str, default: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked.map_or(default, |it| it.parse().expect("it is a number"))
}

#[test]
fn after_any_power_loss_the_next_server_has_known_counts() {
    let first = number("OVATION_TEST_SEED", 1);
    for seed in first..first + number("OVATION_LIVES", LIVES) {
        println!("OVATION_TEST_SEED={seed}");
        let faults = if seed % 2 == 0 {
            Faults::Possible
        } else {
            Faults::None
        };
        Life::begin(seed).live(faults);
    }
}
