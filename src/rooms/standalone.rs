//! The rooms without a server: a reactor for programs that bring connections and a clock of their
//! own, such as the fuzz target of a whole connection.

use std::io;
use std::sync::Arc;

use super::app::RoomsApp;
use super::permission::Permissions;
use super::route::Router;
use super::session::{
    DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_MAX_SESSIONS, DEFAULT_SESSION_MEMORY, SessionTable,
};
use super::shared::{DEFAULT_PRESENCE_INTERVAL, DEFAULT_TICK, Shared};
use super::table::RoomTable;
use super::tcp_memory::TcpMemory;
use crate::protocol::http::Origins;
use crate::protocol::messages::DEFAULT_MAX_KIND_BYTES;
use crate::reactor::{
    AddressRate, Admission, App, ConnectionLimits, Enforcement, LogThrottle, Reactor, ReactorParts,
};
use crate::store::StoreError;

/// Creates a reactor that serves the rooms of `table` to the connections that it is given with
/// [`Reactor::adopt`], and runs with [`Reactor::step`]. It serves the party `main` to all origins,
/// without pages, and any client may create rooms.
///
/// # Errors
/// The operating system's error if it refuses a poll.
pub fn standalone(
    table: &Arc<RoomTable>,
    limits: ConnectionLimits,
    admission: Arc<Admission>,
) -> io::Result<Reactor<impl App + use<>>> {
    let parts = ReactorParts::new(Vec::new())?;
    let shared = Shared {
        table: Arc::clone(table),
        mailboxes: vec![Arc::clone(&parts.mailbox)],
        router: Router::default(),
        origins: Origins::default(),
        permissions: Permissions::new(None),
        pages: None,
        max_kind_bytes: DEFAULT_MAX_KIND_BYTES,
        tick: DEFAULT_TICK,
        presence_interval: Some(DEFAULT_PRESENCE_INTERVAL),
        sessions: Arc::new(SessionTable::new(
            0,
            DEFAULT_MAX_SESSIONS,
            DEFAULT_SESSION_MEMORY,
            [],
        )),
        heartbeat_interval: Some(DEFAULT_HEARTBEAT_INTERVAL),
        creation: AddressRate::new(0, Enforcement::Refuse),
        drop_log: LogThrottle::default(),
        tcp_memory: TcpMemory::new(0),
        explain: StoreError::to_string,
    };
    let app = RoomsApp::new(0, Arc::new(shared));
    Reactor::new(parts, app, limits, admission)
}
