//! The promises of the server and its commands, proved on the real binary over loopback. Every test
//! starts its own processes in its own directory.
//!
//! Where a test belongs:
//! - `rooms`: messages between a room and its members. `limits`: what is refused, and how.
//! - `crowd`: many members, many reactors, the tick. `slow`: members that stop reading.
//! - `sse`: event streams. `presence`: the number of members.
//! - `abuse`: clients that flood the server without breaking a rule.
//! - `addresses`: limits by address, and proxies that name their clients. `proxies`: nginx and
//!   HAProxy in front.
//! - `frames`: RFC 6455, rule by rule. `http`: RFC 9112, and hostile clients.
//! - `bodies`: bodies of requests, with a length or in chunks.
//! - `pages`: the room's page and the element, as far as HTTP goes.
//! - `tokens`: access tokens that PyJWT made.
//! - `settings`: flags from the environment. `listen`: addresses. `idle`: wake-ups and pings.
//! - `descriptors`: file descriptors run out. `overload`: the kernel runs out of something else.
//! - `durability`: restarts, SIGKILL, exit codes. `disk`: a full, failing or slow disk, damage.
//! - `admin`: health, metrics and samples. `operator`: actions on rooms. `moderation`: modes and
//!   removals. `admin_access`: who may use the admin side.
//! - `files`: which files Ovation opens, makes and leaves, and who may read them.
//! - `log`: a log that can't be written.
//! - `snapshot`: the command `ovation snapshot`. `doctor`: the command `ovation doctor`.
//! - `documentation`: the pages of the documentation, held to the code.
//! - `support`: the harness. It starts the server, and has the clients and the waits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, a panic is a verdict"
)]

mod abuse;
mod addresses;
mod admin;
mod admin_access;
mod bodies;
mod crowd;
mod descriptors;
mod disk;
mod doctor;
mod documentation;
mod durability;
mod files;
mod frames;
mod http;
mod idle;
mod limits;
mod listen;
mod log;
mod moderation;
mod operator;
mod overload;
mod pages;
mod presence;
mod proxies;
mod rooms;
mod sessions;
mod settings;
mod slow;
mod snapshot;
mod sse;
mod support;
mod tokens;
