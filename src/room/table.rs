//! The shared table of the rooms in memory. Locked to enter and to leave a room, never per
//! reaction. A room that nobody uses leaves memory; the store keeps its counts.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;

use super::{Room, RoomLimits};
use crate::store::Store;

/// Rooms that are listed under one lock, so that nobody who enters or leaves waits long for it.
const PORTION: usize = 256;

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
            }
        });
        entry.users += 1;
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

    /// Calls `visit` with each room in memory. Of those that come or go meanwhile, it may miss some.
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

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        // Every change to the table is complete before anything can panic.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut guard = self.table.rooms();
        let rooms = &mut *guard;
        if let Some(reactor) = self.watcher {
            self.room.of_counts.unwatch(reactor);
        }
        if let Some(entry) = rooms.by_key.get_mut(&self.key) {
            entry.users -= 1;
            if entry.users == 0 {
                rooms.listed.try_remove(entry.place);
                rooms.by_key.remove(&self.key);
                rooms.departures += 1;
            }
        }
    }
}
