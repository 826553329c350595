//! What the rooms of all reactors share, and how reactors notify each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broadcast::Topic;
use super::error::RoomError;
use super::permission::Permissions;
use super::room::Room;
use super::route::Router;
use super::session::SessionTable;
use super::table::{RoomHandle, RoomTable};
use super::tcp_memory::TcpMemory;
use crate::protocol::http::Origins;
use crate::reactor::{AddressRate, Client, LogThrottle, Mailbox};
use crate::store::{RoomMode, StoreError};
use crate::web::Pages;

/// Default minimum time between two broadcasts of a room.
pub(crate) const DEFAULT_TICK: Duration = Duration::from_millis(50);
/// Default maximum time until presence subscribers learn that members have come or left.
pub(crate) const DEFAULT_PRESENCE_INTERVAL: Duration = Duration::from_secs(1);

/// What happened to a room, for a reactor that has members in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoomNotice {
    pub(super) room_id: u64,
    pub(super) topic: Topic,
}

/// What the rooms of all reactors share, and their settings.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The rooms in memory.
    pub(crate) table: Arc<RoomTable>,
    /// The mailboxes of all reactors, by the number of the reactor.
    pub(crate) mailboxes: Vec<Arc<Mailbox<RoomNotice>>>,
    /// Which targets name rooms.
    pub(crate) router: Router,
    /// Which web pages may use this server.
    pub(crate) origins: Origins,
    /// What clients may do.
    pub(crate) permissions: Permissions,
    /// The pages, if the server serves them.
    pub(crate) pages: Option<Pages>,
    /// Maximum length of a kind, in bytes.
    pub(crate) max_kind_bytes: usize,
    /// Minimum time between two broadcasts of a room.
    pub(crate) tick: Duration,
    /// Maximum time until presence subscribers learn that members have come or left; `None` if the
    /// server has no presence.
    pub(crate) presence_interval: Option<Duration>,
    /// The sessions of all reactors.
    pub(crate) sessions: Arc<SessionTable>,
    /// Interval at which a member with a session hears from the server at least; `None` if it need
    /// not.
    pub(crate) heartbeat_interval: Option<Duration>,
    /// The limit on new rooms.
    pub(crate) creation: AddressRate,
    /// How often reactions that can't be stored are logged.
    pub(crate) drop_log: LogThrottle,
    /// The memory of TCP, for backpressure.
    pub(crate) tcp_memory: TcpMemory,
    /// Words for an error of the store, with advice for the operator.
    pub(crate) explain: fn(&StoreError) -> String,
}

impl Shared {
    /// Publishes a change of the room's counts and notifies the reactors that must know, other
    /// than `by`.
    pub(crate) fn publish(&self, room: &Room, by: Option<usize>) {
        self.notify(room, Topic::Counts, room.publish(by));
    }

    /// Publishes that counts of the room were set to zero or removed. Members that want the mode are
    /// told so, since counts don't fall otherwise.
    pub(crate) fn publish_reset(&self, room: &Room) {
        self.publish(room, None);
        room.note_reset();
        self.notify(room, Topic::Reset, room.reactors());
    }

    /// Whether the client may create one more room.
    pub(super) fn may_create_room(&self, client: Client<'_>) -> bool {
        let address = || client.limited_address();
        self.creation.allows(address, Instant::now())
    }

    /// Counts a member that joined the room.
    pub(super) fn member_joined(&self, room: &Room) {
        self.notify(room, Topic::Presence, room.member_joined());
    }

    /// Counts a member that left the room.
    pub(super) fn member_left(&self, room: &Room) {
        self.notify(room, Topic::Presence, room.member_left());
    }

    /// Sets the mode of a room. Members that want it are told; the members of a closed room are
    /// dismissed.
    ///
    /// Returns whether the mode is another than before.
    ///
    /// # Errors
    /// [`RoomError`] if the store can't add the room, or the room was removed.
    pub(crate) fn set_mode(&self, room: &Room, mode: RoomMode) -> Result<bool, RoomError> {
        let is_changed = room.set_mode(mode)?;
        if is_changed {
            let topic = match mode {
                RoomMode::Open | RoomMode::Frozen => Topic::Mode,
                RoomMode::Closed => Topic::Closing,
            };
            self.notify(room, topic, room.reactors());
        }
        Ok(is_changed)
    }

    /// Removes a kind of a room with its count. Returns whether the room had it.
    pub(crate) fn remove_kind(&self, room: &Room, kind: &str) -> bool {
        let had_kind = room.remove_kind(kind);
        if had_kind {
            self.publish_reset(room);
        }
        had_kind
    }

    /// Removes a room with its counts and dismisses its members. Returns whether the store had it.
    pub(crate) fn remove(&self, room: &RoomHandle) -> bool {
        let had_record = room.remove();
        self.notify(room, Topic::Closing, room.reactors());
        had_record
    }

    fn notify(&self, room: &Room, topic: Topic, reactors: impl Iterator<Item = usize>) {
        let room_id = room.id();
        for reactor in reactors {
            self.mailboxes[reactor].post(RoomNotice { room_id, topic });
        }
    }
}
