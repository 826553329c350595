//! Sessions: numbered taps, each of which is counted once, however often the client sends it.
//!
//! A client names its session when it joins, and numbers its messages from 1. The server counts a
//! message only if its number follows the last one of the session, and tells the client up to which
//! number it has counted. After any break the client sends again what was not acknowledged. Two
//! connections of one session, even in two reactors, can't both count a number: it is claimed by one
//! atomic step.
//!
//! - `table`: the sessions of all reactors, and of clients that have gone for a while.
//! - `local`: the members of one reactor that have a session. `message`: what they are told. `file`:
//!   the sessions over a restart.

mod file;
mod local;
mod message;
mod table;

pub(crate) use file::SessionFile;
pub(super) use local::LocalSessions;
pub(super) use message::{ack, hello};
pub(super) use table::Claim;
pub(crate) use table::{DEFAULT_MAX_SESSIONS, DEFAULT_SESSION_MEMORY, SessionTable};

/// Default interval at which a client with a session hears from the server at least.
pub(crate) const DEFAULT_HEARTBEAT_INTERVAL: std::time::Duration =
    std::time::Duration::from_secs(20);
