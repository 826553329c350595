//! The shared table of the rooms in memory. Locked to enter and to leave a room, never per
//! reaction. A room that nobody uses leaves memory; the store keeps its counts.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Room, RoomLimits};
use crate::store::Store;

/// All rooms in memory, by party and name.
#[derive(Debug)]
pub struct RoomTable {
    store: Arc<Store>,
    limits: Arc<RoomLimits>,
    rooms: Mutex<HashMap<Key, Entry>>,
}

type Key = (Box<str>, Box<str>);

#[derive(Debug)]
struct Entry {
    room: Arc<Room>,
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
        let mut rooms = self.rooms();
        let entry = rooms.entry(key.clone()).or_insert_with(|| Entry {
            room: Arc::new(Room::load(party, name, &self.store, &self.limits)),
            users: 0,
        });
        entry.users += 1;
        if let Some(reactor) = watcher {
            entry.room.watch(reactor);
        }
        RoomHandle {
            room: Arc::clone(&entry.room),
            table: Arc::clone(self),
            key,
            watcher,
        }
    }

    /// How many rooms are in memory.
    pub fn len(&self) -> usize {
        self.rooms().len()
    }

    /// Whether no room is in memory.
    pub fn is_empty(&self) -> bool {
        self.rooms().is_empty()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
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
        let mut rooms = self.table.rooms();
        if let Some(reactor) = self.watcher {
            self.room.unwatch(reactor);
        }
        if let Some(entry) = rooms.get_mut(&self.key) {
            entry.users -= 1;
            if entry.users == 0 {
                rooms.remove(&self.key);
            }
        }
    }
}
