//! The layout of the snapshot file, version 2. Pure: cells in, records out.
//!
//! The file is an array of cells of 64 bytes, each eight little-endian words of 8. A cell lies
//! within one sector and one cache line. The first 64 cells are the header; of these the first
//! two are used and the others are zero. Every other cell says in its first byte what it is.
//!
//! ```text
//! header      word 0  magic "OVATION1", written last
//!             word 1  version u32, crc32c u32 over words 0, the version, 2 and 3
//!             word 2  bytes in a cell u32, zero u32
//!             word 3  when it was created, seconds since 1970
//!             word 4  pid of the last process that opened it; not in a checksum
//!             word 5  zero while the file is open; once it was closed in order, checked: how
//!                     many cells are used
//!             word 6  checked: how many cells the file is sure to have; zero if not yet known
//!             word 7  how often something has gone, so that whoever looks can tell: a room, its
//!                     counts, or cells that are used again
//!             word 8  checked: crc32c over the first word of every cell that is used, and the
//!                     next two of rooms and counters, of a file that was closed in order
//!             word 9  not zero if a write to the disk has failed, and all must be written again
//! room        word 0  'R' u8, cells in the record u8, bytes of party u16, crc32c u32 over all
//!                     that is written once: the low half of this word, word 3 and the names
//!             word 1  crc32c u32 over the same of this cell alone; "RSET" u32 while the room's
//!                     counts are to be set to zero, "ZERO" u32 once they are, until all of
//!                     that is on the disk, else zero
//!             word 2  checked: when it last counted something, seconds since 1970; zero if never
//!             word 3  bytes of room u16, zero
//!             words 4-7  party, then room, UTF-8, zero-padded; goes on in words 1-7 of each
//! continuation  word 0  'C' u8, zero
//! counter     word 0  'K' u8, bytes of kind u8, ordinal u8, zero u8, crc32c u32 over the low
//!                     half, the room's cell and the kind
//!             word 1  crc32c u32 over words 0 and 3, cell of its room u32
//!             word 2  the count; the only word that reactors change
//!             word 3  the sealed copy of the count
//!             words 4-7  kind, UTF-8, zero-padded
//! free        word 0  zero; the others may be anything
//! ```
//!
//! A checked word is a u32 and the crc32c (Castagnoli, as in RFC 3720 appendix B.4) u32 over its
//! meaning, itself and what it belongs to, so that it changes as one.
//!
//! # What can be known of a file
//! A count is one aligned word and can't be torn; names are checksummed; each counter has a
//! sealed copy of its count, with a checksum, that the flusher brings up to date.
//! - A record's first word is its commit, written after everything else of the record: a process
//!   that dies in between leaves a free cell.
//! - In a file that was closed in order every count is equal to its sealed copy, every bit that
//!   is in use is covered by one checksum or another, and one over all of them finds sectors
//!   that were lost, or written and not kept. Whatever differs is [`Damage`].
//! - In a file that was not, a count may be ahead of its copy, by what was counted since the last
//!   flush. A count behind its copy is set to the copy, which is a count that there was. So rot
//!   that makes a count smaller costs at most what was counted since the last flush, and only
//!   rot that makes it larger can't be told from reactions.
//! - Sectors (512 bytes) of a file that lost power may be old or new, each for itself. Cells do
//!   not cross sectors, so only a room's record of several cells can be torn: its head is whole
//!   and a later cell is still free. It had not been synced, and is left out. So are counters
//!   without a room, continuations without a head, and the second of two rooms of one name, of
//!   which one had just been removed. Anything else is damage, there too.
//!
//! A reader refuses a version it doesn't know. A change that readers of this version would
//! misunderstand needs a new one.

mod header;
mod record;

pub(super) use header::{
    CLOSED_WORD, DIGEST_CELL, DIGEST_WORD, GONE_WORD, LENGTH_WORD, OWNER_WORD, REWRITE_WORD,
    closed_mark, digest_mark, is_unfinished, length_mark, read_closed, read_digest, read_length,
};
pub use header::{HeaderError, VERSION, decode_header, encode_header};
pub(super) use record::{
    ACTIVE_WORD, COUNT_WORD, MARK_WORD, Resetting, SEALED_WORD, Seal, active_mark, is_counter,
    is_room, kind_words, read_active, read_resetting, room_of, seal_mark, set_resetting,
};
pub use record::{CounterRecord, Fault, Record, RoomRecord, decode, encode_counter, encode_room};

use std::sync::atomic::AtomicU64;

/// Bytes in a cell.
pub const CELL_BYTES: usize = 64;
/// The first cell that is not the header's.
pub const FIRST_CELL: u32 = 64;
/// The longest kind, in bytes.
pub const MAX_KIND_BYTES: usize = 32;
/// The longest party and room together, in bytes.
pub const MAX_NAME_BYTES: usize = 2048;
/// The most kinds that a room's record can have.
pub const MAX_ROOM_COUNTERS: usize = 256;

#[cfg(target_endian = "big")]
compile_error!("the snapshot's words are little-endian, and are used in place");

/// A cell by value.
pub type Cell = [u64; CELL_BYTES / 8];
/// A cell in place.
pub(super) type AtomicCell = [AtomicU64; CELL_BYTES / 8];

/// What is not as it was written, in words for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage(pub &'static str);

/// A `u32` that carries its own checksum. `of` is what it belongs to, `meaning` what it says.
fn checked(value: u32, meaning: u64, of: u64) -> u64 {
    with_checksum(value, checksum([meaning, u64::from(value), of]))
}

/// Reads what [`checked`] made; `None` if it was never written.
fn read_checked(word: u64, meaning: u64, of: u64) -> Result<Option<u32>, ()> {
    let value = halves(word).0;
    match word {
        0 => Ok(None),
        _ if word == checked(value, meaning, of) => Ok(Some(value)),
        _ => Err(()),
    }
}

fn checksum(words: impl IntoIterator<Item = u64>) -> u32 {
    words.into_iter().fold(0, |sum, word| {
        crc32c::crc32c_append(sum, &word.to_le_bytes())
    })
}

fn with_checksum(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The low and the high half of a word, as the file has them in this order.
fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

#[cfg(test)]
mod tests;
