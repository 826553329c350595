//! The layout of the snapshot file, version 1. Pure: cells in, records out.
//!
//! The file is an array of cells of 64 bytes, each eight little-endian words of 8. A cell lies
//! within one sector and one cache line. The first 64 cells are the header; of these the first
//! is used and the others are zero. Every other cell says in its first byte what it is.
//!
//! ```text
//! header      word 0  magic "OVATION1", written last
//!             word 1  version u32, crc32c u32 over words 0, the version, 2 and 3
//!             word 2  bytes in a cell u32, zero u32
//!             word 3  when it was created, seconds since 1970
//!             word 4  pid of the last process that opened it; not in the checksum
//! room        word 0  'R' u8, cells in the record u8, bytes of party u16, crc32c u32
//!             word 1  first counter u32 (a hint, made anew at each opening), zero u32
//!             word 2  zero
//!             word 3  bytes of room u16, zero
//!             words 4-7  party, then room, UTF-8, zero-padded; goes on in words 1-7 of each
//! continuation  word 0  'C' u8, zero
//! counter     word 0  'K' u8, bytes of kind u8, ordinal u8, zero u8, crc32c u32
//!             word 1  next counter u32 (a hint as above), cell of its room u32
//!             word 2  the count; the only word that changes
//!             word 3  zero
//!             words 4-7  kind, UTF-8, zero-padded
//! free        word 0  zero
//! ```
//!
//! The checksums cover names and what places them, never counts: a count is one aligned word
//! and can't be torn. A record's first word is its commit: it is written after everything else
//! of the record, so a process that dies in between leaves a free cell.
//!
//! A reader refuses a version it doesn't know. A change that version 1 readers would
//! misunderstand needs a new version.

use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

/// Bytes in a cell.
pub const CELL_BYTES: usize = 64;
/// The first cell that is not the header's.
pub const FIRST_CELL: u32 = 64;
/// The longest kind, in bytes.
pub const MAX_KIND_BYTES: usize = 32;
/// The longest party and room together, in bytes.
pub const MAX_NAME_BYTES: usize = 2048;
/// The version that this code reads and writes.
pub const VERSION: u32 = 1;

/// The word of a counter's cell that holds the count.
pub(super) const COUNT_WORD: usize = 2;
/// The word of the header that holds the owner's pid.
pub(super) const OWNER_WORD: usize = 4;
const LINK_WORD: usize = 1;

const MAGIC: u64 = u64::from_le_bytes(*b"OVATION1");
const ROOM: u8 = b'R';
const CONTINUATION: u8 = b'C';
const COUNTER: u8 = b'K';
const HEAD_NAME_BYTES: usize = 32;
const CONTINUATION_NAME_BYTES: usize = 56;

#[cfg(target_endian = "big")]
compile_error!("the snapshot's words are little-endian, and are used in place");

/// A cell by value.
pub type Cell = [u64; CELL_BYTES / 8];

/// Why a header is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Another kind of file.
    #[error("it is not a snapshot of Ovation (no magic at offset 0)")]
    NotASnapshot,
    /// Written by a newer server.
    #[error("it has version {0} (at offset 8), and this server reads version {VERSION}")]
    Version(u32),
    /// Damaged.
    #[error("its header is damaged (checksum at offset 12)")]
    Checksum,
    /// Shorter than a header.
    #[error("it has {0} bytes, less than a header")]
    Truncated(u64),
}

/// A record that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage;

/// What a cell holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing yet.
    Free,
    /// The head of a room's record.
    Room(RoomRecord),
    /// More of a room's name.
    Continuation,
    /// A counter.
    Counter(CounterRecord),
}

/// A room's name.
#[derive(Debug, PartialEq, Eq)]
pub struct RoomRecord {
    /// The party.
    pub party: String,
    /// The room.
    pub room: String,
    /// How many cells the record takes.
    pub cells: u32,
}

/// A counter's place and name.
#[derive(Debug, PartialEq, Eq)]
pub struct CounterRecord {
    /// The cell of its room's record.
    pub room: u32,
    /// Its place among the kinds of the room.
    pub ordinal: u8,
    /// The kind.
    pub kind: String,
}

/// The header of a new file.
pub fn encode_header(created_unix_seconds: u64) -> Cell {
    let mut cell = [0; 8];
    cell[0] = MAGIC;
    cell[2] = CELL_BYTES as u64;
    cell[3] = created_unix_seconds;
    cell[1] = with_checksum(VERSION, header_checksum(&cell, VERSION));
    cell
}

/// Checks a header.
///
/// # Errors
/// [`HeaderError`] says what is wrong with it.
pub fn decode_header(cell: &Cell) -> Result<(), HeaderError> {
    if cell[0] != MAGIC {
        return Err(HeaderError::NotASnapshot);
    }
    let (version, checksum) = halves(cell[1]);
    if header_checksum(cell, version) != checksum {
        return Err(HeaderError::Checksum);
    }
    if version != VERSION || cell[2] != CELL_BYTES as u64 {
        return Err(HeaderError::Version(version));
    }
    Ok(())
}

fn header_checksum(cell: &Cell, version: u32) -> u32 {
    checksum([cell[0], u64::from(version), cell[2], cell[3]].into_iter())
}

/// The cells of a room's record, or `None` if the names are too long.
pub fn encode_room(party: &str, room: &str) -> Option<Vec<Cell>> {
    let name = [party.as_bytes(), room.as_bytes()].concat();
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let (head, tail) = name.split_at(name.len().min(HEAD_NAME_BYTES));
    let mut cells = vec![[0; 8]];
    put(head, &mut cells[0][4..]);
    for piece in tail.chunks(CONTINUATION_NAME_BYTES) {
        let mut cell = [0; 8];
        cell[0] = u64::from(CONTINUATION);
        put(piece, &mut cell[1..]);
        cells.push(cell);
    }
    cells[0][3] = room.len() as u64;
    let start = u32::from_le_bytes([
        ROOM,
        cells.len() as u8,
        party.len() as u8,
        (party.len() >> 8) as u8,
    ]);
    cells[0][0] = with_checksum(start, room_checksum(start, &cells));
    Some(cells)
}

/// The cell of a counter at zero, or `None` if the kind is too long.
pub fn encode_counter(room: u32, ordinal: u8, kind: &str) -> Option<Cell> {
    if kind.len() > MAX_KIND_BYTES {
        return None;
    }
    let mut cell = [0; 8];
    put(kind.as_bytes(), &mut cell[4..]);
    cell[LINK_WORD] = u64::from(room) << 32;
    let start = u32::from_le_bytes([COUNTER, kind.len() as u8, ordinal, 0]);
    cell[0] = with_checksum(start, counter_checksum(start, &cell));
    Some(cell)
}

/// Decodes the record that starts with `cell`; `read` gives the cell at an offset from it.
///
/// # Errors
/// [`Damage`] if its checksum doesn't hold or its content makes no sense.
pub fn decode(cell: &Cell, read: impl Fn(u32) -> Option<Cell>) -> Result<Record, Damage> {
    let (start, checksum) = halves(cell[0]);
    let [tag, a, b, c] = start.to_le_bytes();
    match tag {
        0 if cell[0] == 0 => Ok(Record::Free),
        CONTINUATION if cell[0] == u64::from(CONTINUATION) => Ok(Record::Continuation),
        ROOM => {
            let cells: Option<Vec<Cell>> = (1..u32::from(a)).map(read).collect();
            let mut all = vec![*cell];
            all.extend(cells.ok_or(Damage)?);
            if room_checksum(start, &all) != checksum {
                return Err(Damage);
            }
            decode_room(&all, usize::from(u16::from_le_bytes([b, c]))).ok_or(Damage)
        }
        COUNTER if counter_checksum(start, cell) == checksum => {
            decode_counter(cell, usize::from(a), b).ok_or(Damage)
        }
        _ => Err(Damage),
    }
}

fn decode_room(cells: &[Cell], party_length: usize) -> Option<Record> {
    let room_length = usize::try_from(cells[0][3]).ok()?;
    let (head, tail) = cells.split_first()?;
    let mut name = bytes_of(&head[4..]);
    for cell in tail {
        if cell[0] != u64::from(CONTINUATION) {
            return None;
        }
        name.extend(bytes_of(&cell[1..]));
    }
    let name = name.get(..party_length.checked_add(room_length)?)?;
    let (party, room) = name.split_at(party_length);
    Some(Record::Room(RoomRecord {
        party: String::from_utf8(party.to_vec()).ok()?,
        room: String::from_utf8(room.to_vec()).ok()?,
        cells: cells.len() as u32,
    }))
}

fn decode_counter(cell: &Cell, kind_length: usize, ordinal: u8) -> Option<Record> {
    let kind = bytes_of(&cell[4..]).get(..kind_length)?.to_vec();
    Some(Record::Counter(CounterRecord {
        room: halves(cell[LINK_WORD]).1,
        ordinal,
        kind: String::from_utf8(kind).ok()?,
    }))
}

/// The first counter of a room, or the next of a counter; 0 for none.
pub(super) fn link_of(cell: &Cell) -> u32 {
    halves(cell[LINK_WORD]).0
}

/// Sets the link, and writes only if it differs: opening a clean file dirties no page.
pub(super) fn set_link(cell: &[AtomicU64; 8], link: u32) {
    let word = cell[LINK_WORD].load(Ordering::Relaxed);
    let linked = with_checksum(link, halves(word).1);
    if linked != word {
        cell[LINK_WORD].store(linked, Ordering::Relaxed);
    }
}

fn room_checksum(start: u32, cells: &[Cell]) -> u32 {
    let head = cells[0];
    let names = cells[1..].iter().flatten();
    let words = [u64::from(start), head[3]].into_iter();
    checksum(words.chain(head[4..].iter().chain(names).copied()))
}

fn counter_checksum(start: u32, cell: &Cell) -> u32 {
    let room = u64::from(halves(cell[LINK_WORD]).1);
    let words = [u64::from(start), room].into_iter();
    checksum(words.chain(cell[4..].iter().copied()))
}

fn checksum(words: impl Iterator<Item = u64>) -> u32 {
    words.fold(0, |sum, word| {
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

fn put(bytes: &[u8], words: &mut [u64]) {
    for (word, piece) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..piece.len()].copy_from_slice(piece);
        *word = u64::from_le_bytes(padded);
    }
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(cells: &[Cell]) -> Result<Record, Damage> {
        decode(&cells[0], |offset| cells.get(offset as usize).copied())
    }

    proptest! {
        #[test]
        fn rooms_come_back(party in "\\PC{0,30}", room in "\\PC{0,300}") {
            let cells = encode_room(&party, &room).unwrap();
            let expected = RoomRecord { party, room, cells: cells.len() as u32 };
            prop_assert_eq!(decode_all(&cells), Ok(Record::Room(expected)));
        }

        #[test]
        fn counters_come_back(room: u32, ordinal: u8, kind in "[a-z❤]{0,10}") {
            let cell = encode_counter(room, ordinal, &kind).unwrap();
            let expected = CounterRecord { room, ordinal, kind };
            prop_assert_eq!(decode_all(&[cell]), Ok(Record::Counter(expected)));
        }

        #[test]
        fn a_flipped_bit_of_a_name_is_seen(bit in 0usize..1024, room in "\\PC{40,56}") {
            let mut cells = encode_room("main", &room).unwrap();
            prop_assume!(bit < cells.len() * 512);
            let (cell, word) = (bit / 512, bit % 512 / 64);
            // Words 1 and 2 of the head are not part of the name.
            prop_assume!(cell > 0 || !(1..=2).contains(&word));
            cells[cell][word] ^= 1 << (bit % 64);
            let decoded = decode_all(&cells);
            prop_assert!(decoded == Err(Damage), "{decoded:?}");
        }

        #[test]
        fn any_cells_decode_without_a_panic(cells in proptest::collection::vec(any::<Cell>(), 1..4)) {
            let _ = decode_all(&cells);
            let _ = decode_header(&cells[0]);
        }
    }

    #[test]
    fn headers_are_checked() {
        let header = encode_header(7);
        assert_eq!(decode_header(&header), Ok(()));
        assert_eq!(decode_header(&[0; 8]), Err(HeaderError::NotASnapshot));
        for word in 1..4 {
            let mut damaged = header;
            damaged[word] ^= 1 << 40;
            assert_eq!(decode_header(&damaged), Err(HeaderError::Checksum));
        }
        let mut newer = header;
        newer[1] = with_checksum(2, header_checksum(&newer, 2));
        assert_eq!(decode_header(&newer), Err(HeaderError::Version(2)));
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert_eq!(encode_room("main", &"x".repeat(MAX_NAME_BYTES)), None);
        assert_eq!(encode_counter(1, 0, &"x".repeat(MAX_KIND_BYTES + 1)), None);
    }
}
