//! A model of a disk that loses power: it keeps any of the sectors written since the last sync, and
//! may fail. A store on it counts, resets, removes, dies and starts again. Whenever power fails,
//! the next server starts, and each count is one that there was since the last sync.

mod world;

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;

use super::faults::open_bytes;
use super::*;
use world::{Bounds, Counts, Key, ModelDisk, Modes, World};

/// One crash in so many is checked: opening a server for each would take most of the test's time, and
/// the lives differ anyway.
const CHECKED_CRASHES: usize = 3;

/// Number of lives that are tried, unless `OVATION_LIVES` gives another. `OVATION_TEST_SEED` gives
/// the first seed.
const LIVES: u64 = 20;
const STEPS: usize = 40;
const ROOMS: usize = 14;
const KINDS: usize = 4;
const MODES: [RoomMode; 3] = [RoomMode::Open, RoomMode::Frozen, RoomMode::Closed];

/// Whether syncs may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    None,
    Possible,
}

/// The life of a store, with its crashes.
struct Life {
    store: Option<Store>,
    world: Arc<Mutex<World>>,
    rng: Rng,
    /// The counts that clients see.
    now: Counts,
    modes: Modes,
    /// What was removed, with counters that reactors still hold.
    retired: Vec<(Retired, Vec<(Key, Counter)>)>,
    directory: tempfile::TempDir,
}

impl Life {
    fn begin(seed: u64) -> Self {
        let directory = directory();
        let world = World::new(directory.path().join("counts"), seed);
        let mut life = Self {
            store: None,
            world: Arc::new(Mutex::new(world)),
            rng: Rng::with_seed(!seed),
            now: Counts::new(),
            modes: Modes::new(),
            retired: Vec::new(),
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

    fn any_room(&mut self) -> String {
        room_name(self.rng.usize(..ROOMS))
    }

    /// Returns how much to count, and raises the bounds before that, so that no crash is ahead of
    /// them.
    fn expect(&mut self, key: &Key) -> u64 {
        let delta = self.rng.u64(1..1000);
        let count = self.now.entry(key.clone()).or_default();
        *count += delta;
        let count = *count;
        let mut world = self.world();
        let most = &mut world.bounds.counts.entry(key.clone()).or_default().1;
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
        let grows = self.rng.bool();
        let file = &self.store().space.file;
        if grows && file.cells() < 40_000 {
            file.grow_to(file.cells() + 1).unwrap();
        }
        self.may_fail(faults);
        let is_ok = self.store().flush().is_ok();
        self.stop_failing();
        if is_ok {
            self.settle();
        }
    }

    fn settle(&self) {
        self.world().settle(&self.now, &self.modes);
    }

    fn mode(&self, room: &str) -> RoomMode {
        self.modes.get(room).copied().unwrap_or_default()
    }

    fn set_mode(&mut self) {
        self.moment("a change of a mode");
        let room = self.any_room();
        let mode = self.rng.choice(MODES).unwrap();
        let old = self.mode(&room);
        self.world().may_become(&room, old, mode);
        let id = self.store().room_or_create("main", &room).unwrap();
        self.store().set_mode(id, mode);
        assert_eq!(self.store().mode_of(id), mode);
        self.modes.insert(room, mode);
    }

    fn reset(&mut self, faults: Faults) {
        self.moment("a reset begins");
        let room = self.any_room();
        let Some(id) = self.store().find("main", &room) else {
            return;
        };
        self.world().may_go(|key| key.0 == room);
        // Taken out, so that the store can be used while the reset borrows it.
        let store = self.store.take().unwrap();
        let reset = store.begin_reset(id).unwrap();
        self.moment("a reset");
        self.meddle(&store, &room);
        reset.zero();
        if store.find("main", &room) == Some(id) {
            let mine = self.now.iter_mut().filter(|(key, _)| key.0 == room);
            mine.for_each(|(_, count)| *count = 0);
        }
        self.meddle(&store, &room);
        if self.rng.u32(..5) == 0 {
            self.moment("a reset that a SIGKILL interrupted");
            drop(reset);
            drop(store);
            self.start_again();
            // The maximum is what there is now; new counts may not be on the disk.
            let mut world = self.world.lock().unwrap();
            let bounds = world.bounds.counts.iter_mut();
            for (key, bound) in bounds.filter(|(key, _)| key.0 == room) {
                bound.1 = self.now.get(key).copied().unwrap_or(0).max(bound.0);
            }
        } else {
            self.may_fail(faults);
            let is_ok = reset.finish().is_ok();
            self.stop_failing();
            self.store = Some(store);
            if is_ok {
                self.settle();
            } else {
                self.flush(Faults::None);
            }
        }
    }

    /// What reactors may do to a room while it is being reset.
    fn meddle(&mut self, store: &Store, room: &str) {
        match self.rng.u32(..8) {
            0 => self.retire_room(store, room),
            1 => self.retire_kinds(store, room),
            _ => {}
        }
        let key = (room.to_owned(), self.any_kind());
        let delta = self.expect(&key);
        let id = store.room_or_create("main", room).unwrap();
        store.counter_of(id, &key.1).unwrap().add(delta);
    }

    /// Removes a room, or some of its kinds, while reactors hold its counters.
    fn retire(&mut self) {
        self.moment("a removal of what is in use");
        let room = self.any_room();
        let store = self.store.take().unwrap();
        if self.rng.bool() {
            self.retire_room(&store, &room);
        } else {
            self.retire_kinds(&store, &room);
        }
        self.store = Some(store);
    }

    fn retire_kinds(&mut self, store: &Store, room: &str) {
        let Some(id) = store.find("main", room) else {
            return;
        };
        let mut kinds = store.kinds(id);
        kinds.retain(|_| self.rng.bool());
        let is_removed = |key: &Key| key.0 == room && kinds.iter().any(|it| it.0 == key.1);
        self.world().may_go(is_removed);
        self.now.retain(|key, _| !is_removed(key));
        let counters: Vec<Counter> = kinds.iter().map(|(_, counter)| counter.clone()).collect();
        let retired = store.remove_counters(id, &counters);
        self.hold(store, room, retired, kinds);
    }

    fn retire_room(&mut self, store: &Store, room: &str) {
        let Some(id) = store.find("main", room) else {
            return;
        };
        let old = self.mode(room);
        self.world().may_go(|key| key.0 == room);
        self.world().may_become(room, old, RoomMode::Open);
        self.now.retain(|key, _| key.0 != room);
        self.modes.remove(room);
        let kinds = store.kinds(id);
        let retired = store.remove_room(id, "main", room);
        assert!(store.counter_of(id, "late").is_err() && store.kinds(id).is_empty());
        self.hold(store, room, retired, kinds);
    }

    /// Holds counters that were removed, and adds to them, perhaps.
    fn hold(&mut self, store: &Store, room: &str, retired: Retired, kinds: Vec<(String, Counter)>) {
        let counters = kinds.into_iter();
        let counters = counters.map(|(kind, counter)| ((room.to_owned(), kind), counter));
        self.retired.push((retired, counters.collect()));
        if self.rng.bool() {
            self.react_late(store);
        }
    }

    /// Adds to counters that were removed.
    fn react_late(&self, store: &Store) {
        for (key, counter) in self.retired.iter().flat_map(|(_, counters)| counters) {
            counter.add(1_000_000);
            // If its room comes back, because the removal is not on the disk, then with this.
            let mut world = self.world();
            if let Some((_, most)) = world.bounds.counts.get_mut(key)
                && store.space.counter(counter.id()).is_counter()
            {
                *most = (*most).max(counter.get());
            }
        }
    }

    /// Releases some of what was removed, and perhaps reclaims it.
    fn release(&mut self, faults: Faults) {
        self.moment("a release");
        let store = self.store.take().unwrap();
        self.react_late(&store);
        for (retired, counters) in std::mem::take(&mut self.retired) {
            if self.rng.bool() {
                drop(counters);
                store.release(retired);
            } else {
                self.retired.push((retired, counters));
            }
        }
        self.may_fail(faults);
        let is_settled = self.rng.bool() && store.reclaim().is_ok_and(|cells| cells > 0);
        self.stop_failing();
        self.store = Some(store);
        if is_settled {
            self.settle();
        }
    }

    fn remove(&mut self, faults: Faults) {
        self.moment("a removal");
        let room = self.any_room();
        if self.store().find("main", &room).is_none() {
            return;
        }
        self.flush(Faults::None);
        if !self.mode(&room).is_open() {
            assert!(!self.store().remove_inactive("main", &room, u32::MAX));
            return;
        }
        self.world().may_go(|key| key.0 == room);
        assert!(self.store().remove_inactive("main", &room, u32::MAX));
        self.now.retain(|key, _| key.0 != room);
        self.may_fail(faults);
        let is_reclaimed = self.rng.u32(..4) > 0 && self.store().reclaim().is_ok();
        self.stop_failing();
        if !is_reclaimed && self.rng.bool() {
            self.moment("a removal that a SIGKILL interrupted");
            self.start_again();
        } else {
            self.store().reclaim().unwrap();
        }
        self.world().bounds.counts.retain(|key, _| key.0 != room);
    }

    /// Ends the process without a word, and starts the next one.
    fn start_again(&mut self) {
        // Nothing of the old process may hold the lock of the file.
        self.retired.clear();
        self.store = None;
        self.start();
    }

    fn die(&mut self) {
        self.moment("a SIGKILL");
        self.react_late(self.store());
        self.start_again();
        let mut found = counts_of(self.store());
        found.retain(|_, count| *count > 0);
        self.now.retain(|_, count| *count > 0);
        assert_eq!(found, self.now);
        for room in (0..ROOMS).map(room_name) {
            let id = self.store().find("main", &room);
            let found = id.map_or(RoomMode::Open, |id| self.store().mode_of(id));
            assert_eq!(found, self.mode(&room), "{room}");
        }
    }

    fn close(&mut self) {
        self.moment("a stop");
        self.react_late(self.store());
        self.store().close().unwrap();
        self.retired.clear();
        self.store = None;
        self.settle();
        {
            let world = self.world();
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
            check_bounds(&store, &bounds, &format!("in {moment}: {report:?}"));
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
            match self.rng.u32(..15) {
                0..5 => self.react(),
                5 | 6 => self.flush(faults),
                7 => self.reset(faults),
                8 => self.remove(faults),
                9 => self.die(),
                10 => self.close(),
                11 => self.set_mode(),
                12 => self.retire(),
                13 => self.release(faults),
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

/// The name of a room. Some names take one cell, some several.
fn room_name(number: usize) -> String {
    format!("room {number} {}", "long ".repeat(number % 5 * 9))
}

fn check_bounds(store: &Store, bounds: &Bounds, moment: &str) {
    let found = counts_of(store);
    for (key, (least, most)) in &bounds.counts {
        let count = found.get(key).copied().unwrap_or(0);
        let is_known = (*least..=*most).contains(&count);
        assert!(
            is_known,
            "{moment}: {key:?} is {count}, not {least} to {most}"
        );
    }
    for (key, count) in &found {
        let is_known = bounds.counts.contains_key(key) || *count == 0;
        assert!(is_known, "{moment}: {key:?} {count}");
    }
    for room in (0..ROOMS).map(room_name) {
        let id = store.find("main", &room);
        let mode = id.map_or(RoomMode::Open, |id| store.mode_of(id));
        let known = bounds
            .modes
            .get(&room)
            .map_or(&[RoomMode::Open][..], Vec::as_slice);
        assert!(
            known.contains(&mode),
            "{moment}: {room} is {mode:?}, not {known:?}"
        );
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
