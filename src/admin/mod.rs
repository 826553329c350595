//! The admin side: health, metrics, the rooms, and the dashboard, for the operator. It is another
//! application of the reactor, with a listener and a thread of its own, so the limits on requests,
//! connections and slow readers are the reactor's. No reactor of the rooms ever waits for it.
//!
//! - `app`: which request gets which response, and the stream of samples. `guard`: which requests
//!   are allowed.
//! - `start`: settings, binding, the thread. `sources`: what the admin side reads.
//! - `sampler`, `process`: a sample each second. `history`: the samples, in bounded rings.
//! - `metrics`: Prometheus. `rooms`: the list of rooms. `actions`: closing a room. `reset`:
//!   resetting a room, which waits for the disk.
//!
//! The admin side reads atomics that the reactors write, and asks the kernel. It shares one lock
//! with reactors, that of the room table, and holds it for a few hundred rooms at a time.

mod actions;
mod app;
mod guard;
mod history;
mod metrics;
mod process;
mod reset;
mod rooms;
mod sampler;
mod sources;
mod start;

pub(crate) use sources::Sources;
pub(crate) use start::{
    AdminError, AdminSettings, AdminThread, BoundAdmin, DEFAULT_ADMIN_MAX_CONNECTIONS,
    DEFAULT_ADMIN_MAX_PER_ADDRESS, bind,
};

/// Default address of the admin side: the port below that of the rooms.
pub(crate) const DEFAULT_ADMIN: &str = "127.0.0.1:1998";
