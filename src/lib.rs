//! Ovation: a real-time reaction counter, tuned for connection density.
//!
//! A talk is live. Every tap of a viewer is counted once, shown to everyone in the room at once,
//! and survives a crash. This page is the map of the code. A module may know only the modules named
//! in its row, which all stand above it; `tests/structure` checks every row.
//!
//! | module | purpose | knows |
//! |---|---|---|
//! | `os` | what is read from and asked of the operating system | |
//! | `figures` | numbers as people read them | |
//! | `log` | lines on their way to standard error, which may be stuck | |
//! | [`protocol`] | HTTP, WebSocket, the application's JSON: bytes in, events out; no socket, no clock, no thread | |
//! | [`access`] | access tokens: who may watch, react and moderate; no file, no clock | `protocol` |
//! | [`store`] | the snapshot file: from party, room and kind to a counter in mapped memory | |
//! | `web` | the pages, scripts and styles, ready to be sent | `protocol` |
//! | [`reactor`] | the event loop, connections, timeouts, listeners; it knows no application | `os` `protocol` |
//! | [`rooms`] | the application: rooms, members, fan-out, presence | `access` `os` `protocol` `reactor` `store` `web` |
//! | `admin` | the operator's application: health, metrics, dashboard, on a thread of its own | `log` `os` `protocol` `reactor` `rooms` `store` `web` |
//! | `config` | flags and environment, and advice that names flags | `access` `admin` `os` `protocol` `reactor` `rooms` `store` `web` |
//! | `doctor` | what limits connections on this machine, and what raises each limit | `config` `figures` `os` `reactor` `rooms` `store` |
//! | `server` | the stages and threads of a server | `access` `admin` `config` `doctor` `os` `protocol` `reactor` `rooms` `store` `web` |
//! | `token` | the operator's tools for access tokens | `access` `config` `os` |
//! | `snapshot` | the operator's tools for a snapshot file | `config` `figures` `protocol` `store` |
//! | [`swarm`] | the load generator, which shares no protocol code with the server that it judges | `figures` `os` |
//! | [`cli`] | the command line | `config` `doctor` `log` `reactor` `server` `snapshot` `swarm` `token` |
//!
//! # One reaction's way
//! 1. A reactor reads the socket into its read buffer, and
//!    [`Decoder`](protocol::websocket::frame::Decoder) unmasks the frame in place.
//! 2. [`parse_reaction`](protocol::messages::parse_reaction) finds the kind, and the reactor adds
//!    one to its own pending delta.
//! 3. At the end of the turn, the reactor adds the delta to the room's [`Counter`](store::Counter),
//!    a word of the mapped file, and notifies the other reactors that have members in the room.
//! 4. At the room's tick, [`Room::counts`](rooms::Room::counts) encodes the counts once, and each
//!    reactor sends them to its members, one `send` per member.
//!
//! # Homes of `unsafe`
//! `os/allocator.rs` `os/descriptors.rs` `os/tcp.rs` `store/mapping.rs`

pub mod access;
mod admin;
pub mod cli;
mod config;
mod doctor;
mod figures;
mod log;
mod os;
pub mod protocol;
pub mod reactor;
pub mod rooms;
mod server;
mod snapshot;
pub mod store;
pub mod swarm;
mod token;
mod web;
