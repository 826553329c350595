//! The rooms: the application that this server is for.
//!
//! - `app`: the application, with the rooms of one reactor: joining, leaving, reactions. `http`:
//!   requests without an upgrade. `moderate`: requests of moderators. `admit`: who gets to a room.
//! - `route`: which room a target names.
//! - `permission`: what clients may do by their access tokens. `expiry`: when connections end with
//!   their tokens.
//! - `refusal`: why clients are refused. `names`: what names must not contain. `shared`: what all
//!   reactors share, and how they notify each other. [`standalone()`]: the rooms without a server.
//! - `local_rooms`, `local_room`, `members`: what one reactor keeps of the rooms in which it has
//!   members.
//! - `session`: numbered taps, each counted once. `tap`: messages of members with a session.
//! - `fanout`, `broadcast`, `tcp_memory`: when members are sent something, and how much at a time.
//! - `table`, `key`, `room`, `error`, `watchers`, `encoded`, `activity`, `shrink`: the rooms in memory, shared by all
//!   reactors. `moderation`: what operators and moderators do to them. `limits`: what rooms are held
//!   to.
//!
//! A reaction first goes into the reactor's own pending delta, which touches no cache line of
//! another reactor. At the end of the turn the reactor adds each delta to its counter, once.

mod activity;
mod admit;
mod app;
mod broadcast;
mod encoded;
mod error;
mod expiry;
mod fanout;
mod http;
mod key;
mod limits;
mod local_room;
mod local_rooms;
mod members;
mod moderate;
mod moderation;
mod names;
mod permission;
mod refusal;
mod room;
mod route;
mod session;
mod shared;
mod shrink;
mod standalone;
mod table;
mod tap;
mod tcp_memory;
mod watchers;

pub(crate) use app::RoomsApp;
pub use encoded::Encoded;
pub use error::RoomError;
pub use limits::RoomLimits;
pub(crate) use limits::{
    DEFAULT_GRACE, DEFAULT_MAX_IDLE_ROOMS, DEFAULT_MAX_KINDS, DEFAULT_ROOM_CREATE_RATE, MAX_KINDS,
};
pub(crate) use permission::Permissions;
pub(crate) use refusal::DISMISSALS;
pub use room::{Counts, Room};
pub(crate) use route::{DEFAULT_MAX_ROOM_NAME_BYTES, MAX_ROOM_NAME_BYTES};
pub use route::{RoomName, RouteError, Router};
pub(crate) use session::{
    DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_MAX_SESSIONS, DEFAULT_SESSION_MEMORY, SessionFile,
    SessionTable,
};
pub(crate) use shared::{DEFAULT_PRESENCE_INTERVAL, DEFAULT_TICK, RoomNotice, Shared};
pub use standalone::standalone;
pub use table::{RoomHandle, RoomTable};
pub(crate) use tcp_memory::{DEFAULT_IN_FLIGHT_PERCENT, TcpMemory};
pub(crate) use watchers::MAX_REACTORS;

#[cfg(test)]
mod tests;
