//! The limits of rooms, with their defaults.

use std::time::Duration;

/// Default maximum number of kinds in a room.
pub(crate) const DEFAULT_MAX_KINDS: usize = 64;
/// Maximum value of the limit on kinds.
pub(crate) const MAX_KINDS: usize = 256;
/// Default time that an idle room stays in memory.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// Default maximum number of idle rooms in memory.
pub(crate) const DEFAULT_MAX_IDLE_ROOMS: usize = 4096;

/// Default maximum number of rooms that the clients of one address create in a minute. A room is
/// created by its first reaction, and then takes space in the snapshot for as long as rooms are kept.
pub(crate) const DEFAULT_ROOM_CREATE_RATE: u32 = 60;

/// The limits of rooms.
#[derive(Debug, Clone)]
pub struct RoomLimits {
    /// Maximum number of kinds in a room.
    pub max_kinds: usize,
    /// The kinds that clients may use; `None` for any kind.
    pub allowed_kinds: Option<Vec<String>>,
    /// Time that an idle room with counts stays in memory.
    pub grace: Duration,
    /// Maximum number of idle rooms in memory.
    pub max_idle_rooms: usize,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            max_kinds: DEFAULT_MAX_KINDS,
            allowed_kinds: None,
            grace: DEFAULT_GRACE,
            max_idle_rooms: DEFAULT_MAX_IDLE_ROOMS,
        }
    }
}
