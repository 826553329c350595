//! Settings of `ovation serve`: its flags. Each flag can also be set in the environment. Every
//! limit of the server is here, with its default and its bounds. Each default is a constant of the
//! module whose limit it is.
//!
//! - `listen`, `rooms`, `sessions`, `pages`, `snapshot`, `admin`, `access`, `limits`, `tuning`: the
//!   flags, by heading, and the settings of other modules that they make.
//! - `exposure`: what an operator must choose before other machines may reach the server.
//! - `parse`: parsers for values of flags.
//! - [`advice`]: what an operator can do about an error or a limit.

mod access;
mod admin;
pub(crate) mod advice;
mod exposure;
mod limits;
mod listen;
mod pages;
mod parse;
mod rooms;
mod sessions;
mod snapshot;
pub(crate) mod threads;
mod tuning;

use clap::Args;

pub(crate) use access::{KeyFileError, VerificationArgs};
pub(crate) use exposure::undecided;
pub(crate) use limits::MAX_CONNECTIONS;
pub(crate) use listen::reactor_count;
pub(crate) use parse::{ranged, room_ttl};
pub(crate) use snapshot::DEFAULT_SNAPSHOT;

/// The flags of `ovation serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) listen: listen::ListenArgs,
    #[command(flatten)]
    pub(crate) rooms: rooms::RoomArgs,
    #[command(flatten)]
    pub(crate) sessions: sessions::SessionArgs,
    #[command(flatten)]
    pub(crate) pages: pages::PageArgs,
    #[command(flatten)]
    pub(crate) snapshot: snapshot::SnapshotFileArgs,
    #[command(flatten)]
    pub(crate) admin: admin::AdminArgs,
    #[command(flatten)]
    pub(crate) access: access::AccessArgs,
    #[command(flatten)]
    pub(crate) limits: limits::LimitArgs,
    #[command(flatten)]
    pub(crate) tuning: tuning::TuningArgs,
}
