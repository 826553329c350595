//! Ovation: a real-time reaction counter, tuned for connection density.
//!
//! A talk is live; every tap of anyone in its room is counted once, seen by everyone in the room
//! at once, and still there after a crash. This page is the map of the code. Arrows go one way,
//! from the lower lines to the upper ones, and a test keeps it so:
//!
//! - [`protocol`]: request heads, frames, the application's JSON. Bytes in, events out: no socket,
//!   no clock, no thread.
//! - [`store`]: the snapshot file; (party, room, kind) to a counter in mapped memory. One of the
//!   homes of `unsafe`.
//! - [`room`]: counters, versions, the encoded counts, the table of all rooms.
//! - [`http`]: routes, responses, and the pages that are in the binary; pure.
//! - [`reactor`]: the loop, connections, timers, and the rooms' fan-out. The only sockets.
//! - [`admin`]: health, metrics, the rooms and the dashboard, for the operator; another application
//!   of the reactor, on a thread of its own.
//! - [`server`]: threads, signals, the flusher and the watcher; [`config`]: settings; [`cli`]: the
//!   command line.
//! - [`doctor`]: what bounds connections on this machine, and what raises each bound; asked by the
//!   server when it starts.
//! - [`snapshot`]: what an operator does with a snapshot file apart from serving it.
//! - [`swarm`]: the load generator, which stands beside all of this and uses none of it.
//! - `procfs`, `figures`: how `/proc` is read and numbers are shown, for the last three.
//!
//! # One reaction's way
//! Socket, the reactor's read buffer, [`protocol::frame::Decoder`] in place,
//! [`protocol::message::parse_reaction`], the reactor's pending delta; at the end of the turn one
//! atomic add to the room's [`store::Counter`]; at the tick [`room::Room::counts`], encoded once,
//! and one send per member, by the reactor that owns it.

pub mod admin;
pub mod cli;
pub mod config;
pub(crate) mod doctor;
mod figures;
mod os;
pub mod protocol;
pub mod reactor;
pub mod rooms;
pub mod server;
pub mod snapshot;
pub mod store;
pub mod swarm;
pub mod web;
