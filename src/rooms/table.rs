//! The table of the rooms in memory. Its lock is taken to enter and to leave a room, never per
//! reaction. A room without users stays idle for a while and then hibernates: it leaves memory, and
//! the store keeps its counts.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use slab::Slab;

use super::key::RoomKey;
use super::limits::RoomLimits;
use super::room::Room;
use super::shrink::shrink;
use crate::store::Store;

/// Number of rooms listed under one lock, so that no reactor waits long for it.
const PORTION: usize = 256;
/// Number of rooms removed before the other threads get [`EXPIRY_PAUSE`] at the table.
const EXPIRY_BATCH: usize = 256;
/// Pause after each batch of removed rooms.
const EXPIRY_PAUSE: Duration = Duration::from_micros(100);

/// All rooms in memory, by party and name.
#[derive(Debug)]
pub struct RoomTable {
    store: Arc<Store>,
    limits: Arc<RoomLimits>,
    rooms: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    by_key: HashMap<RoomKey, Entry>,
    /// Rooms that became idle, in the order in which they hibernate.
    idle: VecDeque<(Instant, RoomKey)>,
    /// The rooms again, at indexes that stay the same while a room is in memory.
    listed: Slab<Arc<Room>>,
    /// Number of rooms that have left memory so far.
    departures: u64,
}

#[derive(Debug)]
struct Entry {
    room: Arc<Room>,
    /// The room's index in the list.
    list_index: usize,
    users: usize,
    /// When the room hibernates, unless it is used before.
    idle_until: Option<Instant>,
}

impl RoomTable {
    /// Creates a table of rooms that keep their counts in `store` and hold to `limits`.
    pub fn new(store: Arc<Store>, limits: RoomLimits) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits: Arc::new(limits),
            rooms: Mutex::default(),
        })
    }

    /// The room of this name, which stays in memory while the handle lives. `watcher` is a reactor
    /// to notify of the room's changes.
    pub fn enter(self: &Arc<Self>, party: &str, name: &str, watcher: Option<usize>) -> RoomHandle {
        self.enter_key(RoomKey::new(party, name), watcher)
    }

    /// The room with this key, like [`RoomTable::enter`].
    pub(super) fn enter_key(self: &Arc<Self>, key: RoomKey, watcher: Option<usize>) -> RoomHandle {
        let load = || Arc::new(Room::load(key.clone(), &self.store, &self.limits));
        // Loading reads the file, so it happens without the lock. The loaded room is stale if the
        // room has come and gone in the meantime: it may lack kinds.
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
            let list_index = rooms.listed.insert(Arc::clone(&room));
            Entry {
                room,
                list_index,
                users: 0,
                idle_until: None,
            }
        });
        entry.users += 1;
        entry.idle_until = None;
        if let Some(reactor) = watcher {
            entry.room.count_watchers.watch(reactor);
        }
        RoomHandle {
            room: Arc::clone(&entry.room),
            table: Arc::clone(self),
            watcher,
        }
    }

    /// Removes a room with its counts, whoever uses it. Whoever enters its name from now on gets a
    /// new room. Its members must leave the old one. Returns whether the store had the room.
    pub(super) fn remove(&self, room: &Arc<Room>) -> bool {
        let mut rooms = self.rooms();
        if rooms.has(room) {
            rooms.forget(room.key());
        }
        let had_record = room.has_record();
        room.remove_record();
        had_record
    }

    /// Calls `visit` with each room in memory, for reading only. A visit doesn't keep the room in
    /// memory: the counters of a room that is being removed may already be another room's. Rooms
    /// that come or go in the meantime may be missed.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<Room>)) {
        let mut start = 0;
        let mut portion = Vec::with_capacity(PORTION);
        loop {
            {
                let rooms = self.rooms();
                let end = rooms.listed.capacity().min(start + PORTION);
                portion.extend((start..end).filter_map(|index| rooms.listed.get(index).cloned()));
                if start >= end {
                    return;
                }
                start = end;
            }
            portion.drain(..).for_each(|room| visit(&room));
        }
    }

    /// The number of rooms in memory.
    pub fn len(&self) -> usize {
        self.rooms().by_key.len()
    }

    /// Whether no room is in memory.
    pub fn is_empty(&self) -> bool {
        self.rooms().by_key.is_empty()
    }

    /// When the next idle room hibernates.
    pub fn next_hibernation(&self) -> Option<Instant> {
        self.rooms().idle.front().map(|(until, _)| *until)
    }

    /// Hibernates the rooms that have been idle long enough.
    pub fn hibernate(&self) {
        let now = Instant::now();
        let mut rooms = self.rooms();
        while rooms.idle.front().is_some_and(|(until, _)| *until <= now) {
            rooms.hibernate_first();
        }
    }

    /// Removes the rooms without users that have counted nothing since `unix_seconds`, with their
    /// counts. Returns their number. `Store::reclaim` then frees their space.
    pub fn remove_inactive_since(&self, unix_seconds: u32) -> usize {
        let mut removed = 0;
        for (number, room) in (1..).zip(self.store.rooms_inactive_since(unix_seconds)) {
            if number % EXPIRY_BATCH == 0 {
                // Unlocking alone doesn't give other threads the locks.
                thread::sleep(EXPIRY_PAUSE);
            }
            let Some((party, name)) = self.store.name_of(room) else {
                continue;
            };
            let key = RoomKey::new(&party, &name);
            let mut rooms = self.rooms();
            if rooms.by_key.get(&key).is_some_and(|entry| entry.users > 0) {
                continue;
            }
            // Even if the room isn't in memory: a thread that has just loaded it must load it
            // again.
            rooms.forget(&key);
            if self.store.remove_inactive(&party, &name, unix_seconds) {
                removed += 1;
            }
        }
        removed
    }

    fn leave(&self, room: &Arc<Room>, watcher: Option<usize>) {
        let mut rooms = self.rooms();
        if let Some(reactor) = watcher {
            room.count_watchers.unwatch(reactor);
            room.renewed(reactor);
        }
        let key = room.key();
        if !rooms.has(room) {
            // The room was removed, and another may have its name.
            return;
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
        entry.idle_until = Some(until);
        rooms.idle.push_back((until, key.clone()));
        if rooms.idle.len() > self.limits.max_idle_rooms {
            rooms.hibernate_first();
        }
        if rooms.idle.len() == 1 {
            // The flusher, which hibernates rooms, may be sleeping without a deadline.
            self.store.wake();
        }
    }

    fn rooms(&self) -> MutexGuard<'_, TableState> {
        // No change of the table can panic halfway.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TableState {
    /// Hibernates the first idle room, unless it has been used since.
    fn hibernate_first(&mut self) {
        let Some((until, key)) = self.idle.pop_front() else {
            return;
        };
        let entry = self.by_key.get(&key);
        if entry.is_some_and(|entry| entry.idle_until == Some(until)) {
            self.forget(&key);
        }
    }

    /// Whether this room, and not another of its name, is in memory.
    fn has(&self, room: &Arc<Room>) -> bool {
        let entry = self.by_key.get(room.key());
        entry.is_some_and(|entry| Arc::ptr_eq(&entry.room, room))
    }

    fn forget(&mut self, key: &RoomKey) {
        if let Some(entry) = self.by_key.remove(key) {
            self.listed.try_remove(entry.list_index);
        }
        self.departures += 1;
        shrink(&mut self.by_key);
    }
}

/// A use of a room. Dropping the handle leaves the room.
#[derive(Debug)]
pub struct RoomHandle {
    room: Arc<Room>,
    table: Arc<RoomTable>,
    watcher: Option<usize>,
}

impl RoomHandle {
    /// Removes the room, like [`RoomTable::remove`].
    pub(super) fn remove(&self) -> bool {
        self.table.remove(&self.room)
    }
}

impl Deref for RoomHandle {
    type Target = Room;

    fn deref(&self) -> &Room {
        &self.room
    }
}

impl Drop for RoomHandle {
    fn drop(&mut self) {
        self.table.leave(&self.room, self.watcher);
    }
}
