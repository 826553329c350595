//! The layout of the snapshot file, version 2. Pure: cells in, records out.
//!
//! The file is an array of cells of 64 bytes. A cell is eight little-endian words of 8 bytes, and
//! lies within one sector and one cache line. The first 64 cells are the header: two of them are
//! used, and the others are zero. The first byte of every other cell says what the cell holds.
//!
//! | cell | word | content |
//! |---|---|---|
//! | header, cell 0 | 0 | magic `OVATION1`, written last |
//! | | 1 | version u32; CRC u32 over words 0, the version, 2 and 3 |
//! | | 2 | size of a cell in bytes u32; zero u32 |
//! | | 3 | time of creation, in seconds since 1970 |
//! | | 4 | pid of the last process that opened the file; no checksum covers it |
//! | | 5 | zero while the file is open; after it was closed in order, checked: number of cells in use, header included |
//! | | 6 | checked: number of cells that the file has at least; zero if not known yet |
//! | | 7 | number of removals so far, which tells readers of a file in use that a room, its counts, or the past of reused cells has gone |
//! | header, cell 1 | 0 | checked: digest of all records of a file that was closed in order |
//! | | 1 | not zero if a sync has failed, and the whole file must be written again |
//! | room | 0 | `R` u8; number of cells in the record u8; bytes of the party's name u16; CRC u32 over everything that is written once: the low half of this word, word 3 and the names |
//! | | 1 | CRC u32 over the same parts of this cell alone; `RSET` u32 while the counts of the room are to be set to zero, `ZERO` u32 from then until that is on the disk, else zero |
//! | | 2 | checked: when the room last counted something, in seconds since 1970; zero if never |
//! | | 3 | bytes of the room's name u16; zero |
//! | | 4-7 | the party's name, then the room's, UTF-8, padded with zeros; continued in words 1-7 of the following cells |
//! | continuation | 0 | `C` u8; zero |
//! | | 1-7 | more of the names |
//! | counter | 0 | `K` u8; bytes of the kind u8; ordinal u8; zero u8; CRC u32 over the low half of this word, the room's cell and the kind |
//! | | 1 | CRC u32 over words 0 and 3; cell of the room u32 |
//! | | 2 | the count: the only word that reactors change |
//! | | 3 | the sealed copy of the count |
//! | | 4-7 | the kind, UTF-8, padded with zeros |
//! | free | 0 | zero |
//! | | 1-7 | anything |
//!
//! "CRC" is CRC-32C (Castagnoli, RFC 3720 appendix B.4). A u32 or u16 is at the lower end of what
//! is left of its word.
//!
//! A *checked* word holds a value u32, and a CRC u32 over three words: the word's meaning (8
//! bytes of text: `closed  `, `length  `, `digest  `, `active  `), the value, and its owner (word
//! 3 of the header, or word 0 of the room). So it changes as one.
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
//!   difference is [`Damage`].
//! - In a file that was not closed, a count may be ahead of its sealed copy, by what was counted
//!   since the last flush. A count behind its copy is set to the copy, which is a count that there
//!   was. So rot that makes a count smaller costs no more than what was counted since the last
//!   flush. Rot that makes a count larger can't be told from reactions.
//! - When the machine loses power, each sector (512 bytes) of the file may be old or new. Cells
//!   don't cross sectors, so only a room's record of several cells can be torn: its first cell is
//!   whole, and a later one is still free. Such a record was never synced, and is left out. So are
//!   counters without a room, continuations without a room, and the older of two rooms with the
//!   same name, one of which had just been removed. Anything else is damage, here too.
//!
//! A reader refuses a version that it does not know. A change that readers of this version would
//! misunderstand needs a new version.
//!
//! # Files
//! Lower lines use upper lines only.
//! - `units`: cells, pages and their numbers. `words`: which word holds what. `checked`, `text`,
//!   `tag`: parts of records.
//! - `damage`: what can be wrong.
//! - `header`, `counter`, `room`: each with an encoder, a view of a copied cell, and a view of the
//!   cell in place.
//! - `record`: what a cell holds.

mod checked;
mod counter;
mod damage;
mod header;
mod record;
mod room;
mod tag;
mod text;
mod units;
mod words;

pub(crate) use counter::{CounterCell, CounterWords, Sealed};
pub use counter::{CounterRecord, encode_counter};
pub use damage::{Damage, Fault};
pub(crate) use header::{HeaderCell, HeaderExtensionCell, HeaderWords, OWNER_OFFSET};
pub use header::{HeaderError, VERSION, decode_header, encode_header};
pub(crate) use record::extend_digest;
pub use record::{Record, decode};
pub(crate) use room::{Resetting, RoomCell, RoomWords, stamp_active};
pub use room::{RoomRecord, encode_room};
pub(crate) use tag::CellTag;
pub(crate) use units::{
    AtomicCell, AtomicCounterId, CounterId, HEADER_CELLS, Home, PAGE_CELLS, PageId,
};
pub use units::{
    CELL_BYTES, Cell, CellId, MAX_KIND_BYTES, MAX_NAME_BYTES, MAX_ROOM_COUNTERS, RoomId,
};

#[cfg(target_endian = "big")]
compile_error!("words of the snapshot are little-endian, and are used in place");

#[cfg(test)]
mod tests;
