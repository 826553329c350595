//! The rooms in which one reactor has members.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::key::RoomKey;
use super::local_room::LocalRoom;
use super::shrink::shrink;
use super::table::RoomTable;

/// The rooms in which one reactor has members, by index, name and id.
#[derive(Debug)]
pub(super) struct LocalRooms {
    /// The number of the reactor.
    reactor: usize,
    table: Arc<RoomTable>,
    /// Boxed, so that the slab stays small after a time with many rooms.
    rooms: Slab<Box<LocalRoom>>,
    /// Indexes by party and name.
    by_name: HashMap<RoomKey, u32>,
    /// Indexes by [`super::Room::id`].
    by_id: HashMap<u64, u32>,
}

impl LocalRooms {
    pub(super) fn new(reactor: usize, table: Arc<RoomTable>) -> Self {
        Self {
            reactor,
            table,
            rooms: Slab::new(),
            by_name: HashMap::new(),
            by_id: HashMap::new(),
        }
    }

    /// The index of a room. The reactor enters the room if it has no members in it yet.
    pub(super) fn enter(&mut self, party: &str, name: &str) -> u32 {
        let key = RoomKey::new(party, name);
        if let Some(index) = self.by_name.get(&key) {
            return *index;
        }
        let handle = self.table.enter_key(key, Some(self.reactor));
        let (id, key) = (handle.id(), handle.key().clone());
        let index = self.rooms.insert(Box::new(LocalRoom::new(handle))) as u32;
        self.by_name.insert(key, index);
        self.by_id.insert(id, index);
        index
    }

    /// The room at `index`, which a member of this reactor is in.
    #[inline]
    pub(super) fn of_member(&mut self, index: u32) -> &mut LocalRoom {
        &mut self.rooms[index as usize]
    }

    /// The room at `index`, if the reactor still has it.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut LocalRoom> {
        self.rooms.get_mut(index as usize).map(Box::as_mut)
    }

    /// The room with this id and its index, if the reactor has members in it.
    pub(super) fn by_id(&mut self, id: u64) -> Option<(u32, &mut LocalRoom)> {
        let index = *self.by_id.get(&id)?;
        Some((index, self.rooms.get_mut(index as usize)?))
    }

    /// Lets nobody else join the room at `index` by its name. A new room can have the name.
    pub(super) fn forget_name(&mut self, index: u32) {
        if let Some(local) = self.rooms.get(index as usize)
            && self.by_name.get(local.handle.key()) == Some(&index)
        {
            self.by_name.remove(local.handle.key());
        }
    }

    /// Lets go of the room at `index` if the reactor has no members in it any more.
    pub(super) fn release_if_unused(&mut self, index: u32) {
        let room = self.rooms.get(index as usize);
        if room.is_some_and(|local| local.is_unused()) {
            self.forget_name(index);
            let local = self.rooms.remove(index as usize);
            self.by_id.remove(&local.handle.id());
            shrink(&mut self.by_name);
            shrink(&mut self.by_id);
        }
    }
}
