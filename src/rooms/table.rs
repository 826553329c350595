//! The shared table of the rooms in memory. Locked to enter and to leave a room, never per
//! reaction. A room that nobody uses rests for a while and then leaves memory (it hibernates);
//! the store keeps its counts.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use slab::Slab;

use super::room::{Room, RoomLimits};
use crate::store::Store;

/// The default of how long a room that nobody is in stays in memory.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// The default of how many rooms stay in memory so.
pub const DEFAULT_MAX_RESTING_ROOMS: usize = 4096;
/// Rooms that are listed under one lock, so that nobody who enters or leaves waits long for it.
const PORTION: usize = 256;
/// After so many rooms that were removed, others get at the table for so long.
const EXPIRY_BATCH: usize = 256;
const EXPIRY_PAUSE: Duration = Duration::from_micros(100);

/// All rooms in memory, by party and name.
#[derive(Debug)]
pub struct RoomTable {
    store: Arc<Store>,
    limits: Arc<RoomLimits>,
    rooms: Mutex<Rooms>,
}

#[derive(Debug, Default)]
struct Rooms {
    by_key: HashMap<Key, Entry>,
    /// Rooms that nobody used at the time, in the order in which they leave memory.
    resting: VecDeque<(Instant, Key)>,
    /// The same rooms, in places where they stay.
    listed: Slab<Arc<Room>>,
    /// How many rooms have left memory so far.
    departures: u64,
}

type Key = (Box<str>, Box<str>);

#[derive(Debug)]
struct Entry {
    room: Arc<Room>,
    /// Its place in the list.
    place: usize,
    users: usize,
    /// When it leaves memory if nobody uses it until then.
    rests_until: Option<Instant>,
}

impl RoomTable {
    /// A table over `store`, whose rooms keep to `limits`.
    pub fn new(store: Arc<Store>, limits: RoomLimits) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits: Arc::new(limits),
            rooms: Mutex::default(),
        })
    }

    /// The room of this name, which stays in memory as long as the handle lives. A `watcher` is
    /// a reactor that is to be told of its changes.
    pub fn enter(self: &Arc<Self>, party: &str, name: &str, watcher: Option<usize>) -> RoomHandle {
        let key: Key = (party.into(), name.into());
        let load = || Arc::new(Room::load(party, name, &self.store, &self.limits));
        // Loading reads the file, so it is done without the lock. What was loaded is out of date if
        // the room has come and gone meanwhile, with kinds of which this one knows nothing.
        let (is_known, departures) = {
            let rooms = self.rooms();
            (rooms.by_key.contains_key(&key), rooms.departures)
        };
        let loaded = (!is_known).then(load);
        let mut guard = self.rooms();
        let rooms = &mut *guard;
        let loaded = loaded.filter(|_| rooms.departures == departures);
        let entry = rooms.by_key.entry(key.clone()).or_insert_with(|| {
            let room = loaded.unwrap_or_else(load);
            let place = rooms.listed.insert(Arc::clone(&room));
            Entry {
                room,
                place,
                users: 0,
                rests_until: None,
            }
        });
        entry.users += 1;
        entry.rests_until = None;
        if let Some(reactor) = watcher {
            entry.room.of_counts.watch(reactor);
        }
        RoomHandle {
            room: Arc::clone(&entry.room),
            table: Arc::clone(self),
            key,
            watcher,
        }
    }

    /// Calls `visit` with each room in memory, to look at: a visit is no use of a room, so what it
    /// sees of one that is being removed may be another's. Of those that come or go meanwhile, it
    /// may miss some.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<Room>)) {
        let mut start = 0;
        let mut portion = Vec::with_capacity(PORTION);
        loop {
            {
                let rooms = self.rooms();
                let end = rooms.listed.capacity().min(start + PORTION);
                portion.extend((start..end).filter_map(|place| rooms.listed.get(place).cloned()));
                if start >= end {
                    return;
                }
                start = end;
            }
            portion.drain(..).for_each(|room| visit(&room));
        }
    }

    /// How many rooms are in memory.
    pub fn len(&self) -> usize {
        self.rooms().by_key.len()
    }

    /// Whether no room is in memory.
    pub fn is_empty(&self) -> bool {
        self.rooms().by_key.is_empty()
    }

    /// When the next room that nobody uses is to leave memory.
    pub fn next_hibernation(&self) -> Option<Instant> {
        self.rooms().resting.front().map(|(until, _)| *until)
    }

    /// Lets the rooms leave memory whose time has come.
    pub fn hibernate(&self) {
        let now = Instant::now();
        let mut rooms = self.rooms();
        while rooms
            .resting
            .front()
            .is_some_and(|(until, _)| *until <= now)
        {
            rooms.let_first_leave();
        }
    }

    /// Removes the rooms that nobody is in and that have counted nothing since `unix_seconds`,
    /// with their counts. Returns how many. Their space is free after [`Store::reclaim`].
    pub fn remove_inactive_since(&self, unix_seconds: u32) -> usize {
        let mut removed = 0;
        for (number, room) in (1..).zip(self.store.rooms_inactive_since(unix_seconds)) {
            if number % EXPIRY_BATCH == 0 {
                // Unlocking alone lets nobody else have the locks.
                thread::sleep(EXPIRY_PAUSE);
            }
            let Some((party, name)) = self.store.name_of(room) else {
                continue;
            };
            let key: Key = (party.as_str().into(), name.as_str().into());
            let mut rooms = self.rooms();
            if rooms.by_key.get(&key).is_some_and(|entry| entry.users > 0) {
                continue;
            }
            // Also if it is not there: whoever has loaded it and not entered yet must look again.
            rooms.forget(&key);
            if self.store.remove_inactive(&party, &name, unix_seconds) {
                removed += 1;
            }
        }
        removed
    }

    fn leave(&self, key: &Key, room: &Room, watcher: Option<usize>) {
        let mut rooms = self.rooms();
        if let Some(reactor) = watcher {
            room.of_counts.unwatch(reactor);
        }
        let Some(entry) = rooms.by_key.get_mut(key) else {
            return;
        };
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        if !room.has_record() || self.limits.grace.is_zero() {
            rooms.forget(key);
            return;
        }
        let until = Instant::now() + self.limits.grace;
        entry.rests_until = Some(until);
        rooms.resting.push_back((until, key.clone()));
        if rooms.resting.len() > self.limits.max_resting_rooms {
            rooms.let_first_leave();
        }
        if rooms.resting.len() == 1 {
            // Whoever lets rooms leave may be waiting for nothing.
            self.store.wake();
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        // Every change to the table is complete before anything can panic.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms {
    /// The first that rests leaves memory, unless it has been used since.
    fn let_first_leave(&mut self) {
        let Some((until, key)) = self.resting.pop_front() else {
            return;
        };
        let entry = self.by_key.get(&key);
        if entry.is_some_and(|entry| entry.rests_until == Some(until)) {
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.by_key.remove(key) {
            self.listed.try_remove(entry.place);
        }
        self.departures += 1;
    }
}

/// A use of a room. Dropping it leaves the room.
#[derive(Debug)]
pub struct RoomHandle {
    room: Arc<Room>,
    table: Arc<RoomTable>,
    key: Key,
    watcher: Option<usize>,
}

impl Deref for RoomHandle {
    type Target = Room;

    fn deref(&self) -> &Room {
        &self.room
    }
}

impl Drop for RoomHandle {
    fn drop(&mut self) {
        self.table.leave(&self.key, &self.room, self.watcher);
    }
}
