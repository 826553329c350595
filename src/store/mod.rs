//! The snapshot file: where the counts live.
//!
//! [`Store`] is what rooms see: it leads from a party, a room and a kind to a [`Counter`]. A
//! counter is an aligned word of the mapped file. So what a client has seen counted is in the page
//! cache, and survives the death of the process at any instruction.
//!
//! # The promise
//! - The process dies (SIGKILL, abort, out of memory): no reaction that a client has seen counted
//!   is lost, and none is counted twice.
//! - The machine dies: what was counted since the last flush may be lost, and nothing else. The
//!   counts that remain are counts that there were. No name is corrupt. The next server starts by
//!   itself.
//! - The file can't grow, or not in time (full disk, limit on file sizes, a disk that hangs): new
//!   rooms and kinds are counted in overflow memory, up to [`StoreLimits::max_overflow_bytes`],
//!   and move into the file as soon as it can grow. They are lost only if the process dies before.
//!   Counts that are in the file are not affected: their blocks are allocated, so writing to them
//!   never needs space.
//! - The disk fails (EIO): the counts stay in the page cache, and the next flush writes everything
//!   again.
//! - A foreign file, or one of another version: it is refused and left as it was.
//! - A damaged or truncated file: it is refused, with the places of the damage, and left as it was;
//!   or it is salvaged. [`mod@format`] says what can be known of a file, and what can't.
//!
//! No server can survive another program that ignores the lock, and truncates the mapped file
//! (SIGBUS) or writes to it.
//!
//! # Why threads can't harm each other
//! All memory of the file is reached as atomics. Of the words that change:
//! - A count is changed by atomic additions only, except while its room is reset.
//! - Its sealed copy and mark, and the mark of a room's reset, are changed by the one thread that
//!   holds the maintenance lock.
//! - A room's mode and the time when it was active share a word, which is compared and exchanged.
//! - The first word of a record is changed when the record is made or removed, under the lock of
//!   the catalog.
//!
//! A cell is reused only when its old record is gone from the disk, and no thread holds a counter
//! or a room that was there.
//!
//! # Files
//! Each file uses only files above it.
//! - [`mod@format`]: the layout of the file, pure: cells to records and back.
//! - `cells`: cells that can be read. `mapping`: mapped memory as cells; a home of `unsafe`.
//! - `disk`: what the store asks of the file system. `signal`: what threads wait for. `dirty`:
//!   which pages have changed.
//! - `damage`, `error`, `problem`: what can go wrong, as typed facts.
//! - `file`: the snapshot file: lock, growth, sync.
//! - `space`: the cells of the file and of overflow memory. `counter`: what reactors add to.
//! - `free`, `index`: which cells are free, and where the rooms are. `survey`: what a whole file
//!   holds.
//! - `overflow`: records that wait until the file can grow. `catalog`: all of this under one lock.
//! - `seal`, `statistics`: what a flush does, and how it went.
//! - `contents`: rooms as values. `snapshot`: reading a file that another process may use.
//! - `handle`: [`Store`] itself. On it, `rooms`: finding and creating; `modes`; `status`; `growth`;
//!   `flush`; `reset`; `removal`; `expiry`; `close`; `open`.
//! - `rewrite`: writing a file anew. `salvage`: out of a damaged one.

mod catalog;
mod cells;
mod close;
mod contents;
mod counter;
mod damage;
mod dirty;
mod disk;
mod error;
mod expiry;
mod file;
mod flush;
pub mod format;
mod free;
mod growth;
mod handle;
mod index;
mod mapping;
mod modes;
mod open;
mod overflow;
mod problem;
mod removal;
mod reset;
mod rewrite;
mod rooms;
mod salvage;
mod seal;
mod signal;
mod snapshot;
mod space;
mod statistics;
mod status;
mod survey;

pub use contents::RoomContents;
pub use counter::Counter;
pub use damage::DamageReport;
pub use error::{CloseError, OpenError, Refusal, StoreError};
pub use file::MIN_FILE_BYTES;
pub(crate) use file::{
    Access, DEFAULT_MAX_FILE_BYTES, Lock, MAX_FILE_BYTES, NewFile, open_regular,
};
pub use format::{RoomId, RoomMode};
pub(crate) use handle::DEFAULT_MAX_ROOMS;
pub use handle::{Store, StoreLimits};
pub use open::{OpenReport, Salvaged};
pub(crate) use overflow::DEFAULT_MAX_OVERFLOW_BYTES;
pub(crate) use problem::{GrowthError, Problem, ProblemKind};
pub use removal::Retired;
pub(crate) use rewrite::Rewrite;
pub use snapshot::Snapshot;
pub(crate) use status::Status;

#[cfg(test)]
mod tests;
