//! The records: rooms and counters, what is written once and what changes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Cell, Damage, MAX_KIND_BYTES, MAX_NAME_BYTES, checked, checksum, halves, read_checked,
    with_checksum,
};

/// The word of a counter that ties it to its room and holds the checksum of its sealed copy; of
/// a room, the word that says whether it is being reset.
pub(in super::super) const MARK_WORD: usize = 1;
/// The word of a counter that holds the count.
pub(in super::super) const COUNT_WORD: usize = 2;
/// The word of a room that says when it last counted something.
pub(in super::super) const ACTIVE_WORD: usize = 2;
/// The word of a counter that holds the sealed copy of the count.
pub(in super::super) const SEALED_WORD: usize = 3;
/// What a room that is to be set to zero has in the high half of its mark, and what it has once
/// it is.
const TO_BE_ZERO: u32 = u32::from_le_bytes(*b"RSET");
const IS_ZERO: u32 = u32::from_le_bytes(*b"ZERO");

const ROOM: u8 = b'R';
const CONTINUATION: u8 = b'C';
const COUNTER: u8 = b'K';
const ACTIVE: u64 = u64::from_le_bytes(*b"active  ");
const HEAD_NAME_BYTES: usize = 32;
const CONTINUATION_NAME_BYTES: usize = 56;

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

/// Why a record can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The head of a room is whole, and a later cell of it was never written.
    Torn,
    /// Something that was written is not as it was.
    Damaged(Damage),
}

/// How far the reset of a room has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Resetting {
    /// There is none.
    No,
    /// All that is counted is to go. All of it has been sealed.
    Begun,
    /// What had been sealed has gone, and what is counted now is to stay.
    Done,
}

/// What the sealed copy says of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Seal {
    /// This was the count when it was last sealed.
    Holds(u64),
    /// The copy or its checksum is not as it was written, or was being written.
    Broken,
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
    cells[0][MARK_WORD] = u64::from(room_checksum(start, &cells[..1]));
    cells[0][0] = with_checksum(start, room_checksum(start, &cells));
    Some(cells)
}

/// The cell of a counter at `count`, sealed, or `None` if the kind is too long.
pub fn encode_counter(room: u32, ordinal: u8, kind: &str, count: u64) -> Option<Cell> {
    if kind.len() > MAX_KIND_BYTES {
        return None;
    }
    let mut cell = [0; 8];
    put(kind.as_bytes(), &mut cell[4..]);
    cell[MARK_WORD] = with_checksum(0, room);
    let start = u32::from_le_bytes([COUNTER, kind.len() as u8, ordinal, 0]);
    cell[0] = with_checksum(start, counter_checksum(start, &cell));
    cell[COUNT_WORD] = count;
    cell[SEALED_WORD] = count;
    cell[MARK_WORD] = seal_mark(&cell, count);
    Some(cell)
}

/// Decodes the record that starts with `cell`; `read` gives the cell at an offset from it.
///
/// # Errors
/// [`Fault`] if a checksum doesn't hold, the content makes no sense, or the record is torn.
pub fn decode(cell: &Cell, read: impl Fn(u32) -> Option<Cell>) -> Result<Record, Fault> {
    let (start, checksum) = halves(cell[0]);
    let [tag, cells, _, _] = start.to_le_bytes();
    match tag {
        0 if cell[0] == 0 => Ok(Record::Free),
        CONTINUATION if cell[0] == u64::from(CONTINUATION) => Ok(Record::Continuation),
        ROOM => {
            let is_whole = room_checksum(start, &[*cell]) == halves(cell[MARK_WORD]).0;
            if !is_whole || cells_needed(cell, start) != Some(u32::from(cells)) {
                return Err(Fault::Damaged(Damage("a room's name")));
            }
            let mut all = vec![*cell];
            for offset in 1..u32::from(cells) {
                let next = read(offset).filter(|next| next[0] != 0);
                all.push(next.ok_or(Fault::Torn)?);
            }
            if room_checksum(start, &all) != checksum {
                return Err(Fault::Damaged(Damage("a room's name")));
            }
            decode_room(&all, start).ok_or(Fault::Damaged(Damage("a room's name")))
        }
        COUNTER if counter_checksum(start, cell) == checksum => {
            decode_counter(cell, start).ok_or(Fault::Damaged(Damage("a kind's name")))
        }
        COUNTER => Err(Fault::Damaged(Damage("a kind's name"))),
        _ => Err(Fault::Damaged(Damage("what a cell is"))),
    }
}

/// How many cells a room's name takes, if it is one.
fn cells_needed(head: &Cell, start: u32) -> Option<u32> {
    let room_bytes = usize::try_from(head[3]).ok()?;
    let name_bytes = party_bytes(start).checked_add(room_bytes)?;
    let more = name_bytes.saturating_sub(HEAD_NAME_BYTES);
    let cells = 1 + more.div_ceil(CONTINUATION_NAME_BYTES) as u32;
    (name_bytes <= MAX_NAME_BYTES).then_some(cells)
}

fn party_bytes(start: u32) -> usize {
    let [_, _, low, high] = start.to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]))
}

fn decode_room(cells: &[Cell], start: u32) -> Option<Record> {
    let party_length = party_bytes(start);
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

fn decode_counter(cell: &Cell, start: u32) -> Option<Record> {
    let [_, kind_length, ordinal, _] = start.to_le_bytes();
    let kind = bytes_of(&cell[4..])
        .get(..usize::from(kind_length))?
        .to_vec();
    Some(Record::Counter(CounterRecord {
        room: room_of(cell),
        ordinal,
        kind: String::from_utf8(kind).ok()?,
    }))
}

/// Whether this is the first word of a room.
pub(in super::super) fn is_room(word: u64) -> bool {
    word.to_le_bytes()[0] == ROOM
}

/// Whether this is the first word of a counter.
pub(in super::super) fn is_counter(word: u64) -> bool {
    word.to_le_bytes()[0] == COUNTER
}

/// The cell of a counter's room.
pub(in super::super) fn room_of(counter: &Cell) -> u32 {
    halves(counter[MARK_WORD]).1
}

/// What tells the kind of one counter from that of another.
pub(in super::super) fn kind_words(counter: &Cell) -> (u8, &[u64]) {
    (counter[0].to_le_bytes()[1], &counter[4..])
}

/// The mark of a counter whose sealed copy is `count`.
pub(in super::super) fn seal_mark(counter: &Cell, count: u64) -> u64 {
    with_checksum(checksum([counter[0], count]), room_of(counter))
}

impl Seal {
    pub(in super::super) fn of(counter: &Cell) -> Self {
        let sealed = counter[SEALED_WORD];
        if counter[MARK_WORD] == seal_mark(counter, sealed) {
            Self::Holds(sealed)
        } else {
            Self::Broken
        }
    }
}

/// The word of a room that last counted something at `unix_seconds`.
pub(in super::super) fn active_mark(room: &Cell, unix_seconds: u32) -> u64 {
    checked(unix_seconds, ACTIVE, room[0])
}

/// When the room last counted something, in seconds since 1970; `None` if never.
pub(in super::super) fn read_active(room: &Cell) -> Result<Option<u32>, Damage> {
    read_checked(room[ACTIVE_WORD], ACTIVE, room[0])
        .map_err(|()| Damage("when a room was last active"))
}

/// How far the reset of a room had come.
pub(in super::super) fn read_resetting(room: &Cell) -> Result<Resetting, Damage> {
    match halves(room[MARK_WORD]).1 {
        0 => Ok(Resetting::No),
        TO_BE_ZERO => Ok(Resetting::Begun),
        IS_ZERO => Ok(Resetting::Done),
        _ => Err(Damage("whether a room was being reset")),
    }
}

/// Says how far the reset of a room has come.
pub(in super::super) fn set_resetting(mark: &AtomicU64, resetting: Resetting) {
    let (checksum, _) = halves(mark.load(Ordering::Relaxed));
    let flag = match resetting {
        Resetting::No => 0,
        Resetting::Begun => TO_BE_ZERO,
        Resetting::Done => IS_ZERO,
    };
    mark.store(with_checksum(checksum, flag), Ordering::Release);
}

impl Resetting {
    /// Whether a counter of the room has, or may have, what is to go.
    pub(in super::super) fn takes(self, counter: &Cell) -> bool {
        match self {
            Self::No => false,
            Self::Begun => true,
            // What is counted since is not sealed before the reset is over.
            Self::Done => Seal::of(counter) != Seal::Holds(0),
        }
    }
}

fn room_checksum(start: u32, cells: &[Cell]) -> u32 {
    let head = cells[0];
    let names = cells[1..].iter().flatten();
    let words = [u64::from(start), head[3]].into_iter();
    checksum(words.chain(head[4..].iter().chain(names).copied()))
}

fn counter_checksum(start: u32, cell: &Cell) -> u32 {
    let words = [u64::from(start), u64::from(room_of(cell))].into_iter();
    checksum(words.chain(cell[4..].iter().copied()))
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

/// Makes the checksums right for whatever the cells hold.
#[cfg(test)]
pub(super) fn forge(cells: &mut [Cell], start: u32) {
    cells[0][MARK_WORD] = u64::from(room_checksum(start, &cells[..1]));
    cells[0][0] = with_checksum(start, room_checksum(start, cells));
}
