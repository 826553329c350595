//! What the server promises, proved on the real binary over loopback. Every test starts a server
//! of its own, with its own directory and port, and no test looks inside.
//!
//! - `rooms`: the wire between a room and its members. `limits`: what is refused, and how.
//! - `crowd`: many members, many reactors, the tick. `slow`: a member that stops reading.
//! - `durability`: restarts, SIGKILL, what the snapshot file goes through, exit codes.
//! - `disk`: a disk that is full, fails or is slow; a damaged snapshot; rooms that are removed.
//! - `frames`: RFC 6455, rule by rule. `http`: RFC 9112, and what hostile clients do with it.
//! - `pages`: the page and the element, as far as HTTP goes.
//! - `sse`: event streams. `presence`: how many are here.
//! - `admin`: health, metrics, and what an operator does to rooms.
//! - `listen`: addresses. `idle`: wake-ups and pings. `descriptors`: when they run out.
//! - `support`: the server process, the clients and the clocks that the others stand on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "here a panic is a verdict"
)]

mod admin;
mod crowd;
mod descriptors;
mod disk;
mod durability;
mod frames;
mod http;
mod idle;
mod limits;
mod listen;
mod pages;
mod presence;
mod rooms;
mod slow;
mod sse;
mod support;
