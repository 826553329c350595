//! The layout of the snapshot file, version 2. Pure: cells in, records out.
//!
//! The file is an array of cells of 64 bytes. A cell is eight little-endian words of 8 bytes, and
//! lies within one sector and one cache line. The first 64 cells are the header: two of them are
//! used, and the others are zero. The first byte of every other cell says what the cell holds.
//!
//! ```text
//! cell           word  content
//!
//! header cell 0  0     magic "OVATION1", written last
//!                1     u32 version; u32 CRC over words 0, the version, 2 and 3
//!                2     u32 size of a cell in bytes; u32 zero
//!                3     time of creation, in seconds since 1970
//!                4     pid of the last process that opened the file; in no checksum
//!                5     zero while the file is open. After it was closed in order, checked:
//!                      number of cells in use, header included
//!                6     checked: number of cells that the file has at least; zero if not known
//!                7     number of removals so far. It tells readers of a file in use that a room,
//!                      the counts of a room, or the old content of reused cells has gone
//! header cell 1  0     checked: digest of all records of a file that was closed in order
//!                1     not zero if a sync has failed, so that all must be written again
//!
//! room           0     u8 'R'; u8 number of cells in the record; u16 bytes of the party's name;
//!                      u32 CRC over everything that is written once: the low half of this word,
//!                      word 3 and the names
//!                1     u32 CRC over the same parts of this cell alone; u32 "RSET" while the
//!                      counts of the room are to be set to zero, "ZERO" from then until the
//!                      zeros are on the disk, otherwise zero
//!                2     checked: when the room last counted something, in seconds since 1970, or
//!                      0 if never. Its meaning is the room's mode: open, frozen or closed. The
//!                      whole word is zero in an open room that never counted anything
//!                3     u16 bytes of the room's name; zero
//!                4-7   name of the party, then of the room: UTF-8, padded with zeros; they go on
//!                      in words 1-7 of the following cells
//! continuation   0     u8 'C'; zero
//!                1-7   more of the names
//!
//! counter        0     u8 'K'; u8 bytes of the kind; u16 ordinal; u32 CRC over the low half of
//!                      this word, the cell of the room and the kind
//!                1     u32 CRC over words 0 and 3; u32 cell of the room
//!                2     the count: the only word that reactors change
//!                3     sealed copy of the count
//!                4-7   kind: UTF-8, padded with zeros
//!
//! free           0     zero
//!                1-7   anything
//! ```
//!
//! The parts of a word are listed from its lowest byte. A CRC is CRC-32C (Castagnoli, RFC 3720
//! appendix B.4) over whole words; a u32 is extended to a word with zeros.
//!
//! A *checked* word holds a value u32, and a CRC u32 over three words: the word's meaning (8
//! bytes of text: `closed  `, `length  `, `digest  `, or a room's mode: `active  ` for open,
//! `frozen  `, `shut    ` for closed), the value, and its owner (word 3 of the header, or word 0 of
//! the room). So it changes as one.
//!
//! The *digest* begins with the number of cells in use, and is extended by each cell from 64 up to
//! there: by words 0 to 2 of rooms and counters, and by word 0 of other cells.
//!
//! # What a reader can know
//! A count is one aligned word, so it is never torn. Names have checksums. Each counter has a
//! sealed copy of its count, with a checksum, which the flusher keeps up to date.
//! - The first word of a record commits it, and is written after the others. A process that dies
//!   in between leaves a free cell.
//! - In a file that was closed in order, every count is equal to its sealed copy. Every bit in use
//!   has a checksum, and the digest finds sectors that were lost or never reached the disk. Any
//!   difference is `Damage`.
//! - In a file that was not closed, a count may be ahead of its sealed copy, by what was counted
//!   since the last flush. A count behind its copy is set to the copy, which is a count that there
//!   was. So rot that makes a count smaller costs no more than what was counted since the last
//!   flush. Rot that makes a count larger can't be told from reactions.
//! - When the machine loses power, each sector (512 bytes) of the file may be old or new. Cells
//!   don't cross sectors, so only a room's record of several cells can be torn: its first cell is
//!   whole, and a later one is still free. Such a record was never synced, and is left out. So are
//!   counters without a room, continuations without a room, the older of two rooms with the same
//!   name, and one of two counters of a room with the same kind or ordinal, if one of the two had
//!   just been removed. Anything else is damage, here too.
//!
//! A reader refuses a version that it does not know. A change that readers of this version would
//! misunderstand needs a new version.
//!
//! # Files
//! Lower lines use upper lines only.
//! - `units`: cells, pages and their numbers. `words`: which word holds what. `checked`, `text`,
//!   `tag`: parts of records.
//! - `damage`: what can be wrong. `mode`: what changes about a room.
//! - `header`, `counter`, `room`: each with an encoder, a view of a copied cell, and a view of the
//!   cell in place.
//! - `record`: what a cell holds.

mod checked;
mod counter;
mod damage;
mod header;
mod mode;
mod record;
mod room;
mod tag;
mod text;
mod units;
mod words;

pub use counter::encode_counter;
pub(crate) use counter::{CounterCell, CounterRecord, CounterWords, Sealed};
pub(crate) use damage::{Damage, Fault};
pub use header::HeaderError;
pub(crate) use header::{
    HeaderCell, HeaderExtensionCell, HeaderWords, OWNER_OFFSET, encode_header,
};
pub use mode::RoomMode;
pub(crate) use mode::RoomState;
pub(crate) use record::{Record, decode, extend_digest};
pub use room::encode_room;
pub(crate) use room::{Resetting, RoomCell, RoomRecord, RoomWords, stamp_state};
pub(crate) use tag::CellTag;
pub(crate) use units::{
    AtomicCell, AtomicCounterId, CELL_BYTES, CounterId, HEADER_CELLS, Home, MAX_KIND_BYTES,
    MAX_NAME_BYTES, MAX_ROOM_COUNTERS, PAGE_CELLS, PageId,
};
pub use units::{Cell, CellId, RoomId};

#[cfg(target_endian = "big")]
compile_error!("words of the snapshot are little-endian, and are used in place");

#[cfg(test)]
mod tests;
