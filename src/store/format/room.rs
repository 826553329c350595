//! Rooms: names, which are written once, and the words that change.

use std::sync::atomic::Ordering;

use super::checked::{checksum, halves, with_checksum};
use super::counter::{CounterCell, Sealed};
use super::damage::{Damage, Fault};
use super::mode::RoomState;
use super::tag::CellTag;
use super::text::{bytes_of, put_bytes};
use super::units::{AtomicCell, Cell, MAX_NAME_BYTES};
use super::words::{COMMIT_WORD, MARK_WORD, NAME_WORD, ROOM_BYTES_WORD, STATE_WORD};

/// High half of a room's mark while its counts are to be set to zero.
const TO_BE_ZERO: u32 = u32::from_le_bytes(*b"RSET");
/// High half of a room's mark while its counts are zero, but perhaps not on the disk.
const IS_ZERO: u32 = u32::from_le_bytes(*b"ZERO");

/// Bytes of the name in the first cell of a room's record.
const HEAD_NAME_BYTES: usize = 32;
/// Bytes of the name in each further cell.
const CONTINUATION_NAME_BYTES: usize = 56;

/// The name of a room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RoomRecord {
    /// Name of the party.
    pub(crate) party: String,
    /// Name of the room within the party.
    pub(crate) room: String,
    /// Number of cells that the record takes.
    pub(crate) cells: u32,
}

/// How far the reset of a room has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resetting {
    /// The room is not being reset.
    No,
    /// Everything counted so far is to go. All of it has been sealed.
    Begun,
    /// Everything that had been sealed has gone. What is counted from now on stays.
    Done,
}

/// Encodes a room's record, or returns `None` if its names are too long.
pub fn encode_room(party: &str, room: &str) -> Option<Vec<Cell>> {
    let name = [party.as_bytes(), room.as_bytes()].concat();
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let (head, tail) = name.split_at(name.len().min(HEAD_NAME_BYTES));
    let mut cells = vec![Cell::default()];
    put_bytes(head, &mut cells[0][NAME_WORD..]);
    for piece in tail.chunks(CONTINUATION_NAME_BYTES) {
        let mut cell = Cell::default();
        cell[COMMIT_WORD] = CellTag::CONTINUATION_WORD;
        put_bytes(piece, &mut cell[1..]);
        cells.push(cell);
    }
    cells[0][ROOM_BYTES_WORD] = room.len() as u64;
    let start = u32::from_le_bytes([
        CellTag::ROOM_BYTE,
        cells.len() as u8,
        party.len() as u8,
        (party.len() >> 8) as u8,
    ]);
    write_checksums(&mut cells, start);
    Some(cells)
}

/// Writes the low half of the first word, and the checksums that cover it and the names.
pub(super) fn write_checksums(cells: &mut [Cell], start: u32) {
    cells[0][MARK_WORD] = u64::from(room_checksum(start, &cells[..1]));
    cells[0][COMMIT_WORD] = with_checksum(start, room_checksum(start, cells));
}

/// Writes the state of a room into the first cell of its new record.
pub(crate) fn stamp_state(head: &mut Cell, state: RoomState) {
    head[STATE_WORD] = state.encode(head[COMMIT_WORD]);
}

/// Decodes the record that begins with `head`; `read` returns the cell at an offset from it.
pub(super) fn decode(head: &Cell, read: impl Fn(u32) -> Option<Cell>) -> Result<RoomRecord, Fault> {
    const DAMAGED: Fault = Fault::Damaged(Damage::RoomName);
    let (start, checksum) = halves(head[COMMIT_WORD]);
    let cells = RoomCell(*head).stated_cells();
    let is_head_whole = room_checksum(start, &[*head]) == halves(head[MARK_WORD]).0;
    if !is_head_whole || needed_cells(head, start) != Some(cells) {
        return Err(DAMAGED);
    }
    let mut all = vec![*head];
    for offset in 1..cells {
        let next = read(offset).filter(|next| next[COMMIT_WORD] != 0);
        all.push(next.ok_or(Fault::Torn)?);
    }
    if room_checksum(start, &all) != checksum {
        return Err(DAMAGED);
    }
    decode_name(&all, start).ok_or(DAMAGED)
}

fn decode_name(cells: &[Cell], start: u32) -> Option<RoomRecord> {
    let party_bytes = party_bytes(start);
    let (head, tail) = cells.split_first()?;
    let room_bytes = usize::try_from(head[ROOM_BYTES_WORD]).ok()?;
    let mut name = bytes_of(&head[NAME_WORD..]);
    for cell in tail {
        if cell[COMMIT_WORD] != CellTag::CONTINUATION_WORD {
            return None;
        }
        name.extend(bytes_of(&cell[1..]));
    }
    let name = name.get(..party_bytes.checked_add(room_bytes)?)?;
    let (party, room) = name.split_at(party_bytes);
    Some(RoomRecord {
        party: String::from_utf8(party.to_vec()).ok()?,
        room: String::from_utf8(room.to_vec()).ok()?,
        cells: cells.len() as u32,
    })
}

/// Number of cells that a room's name needs; `None` if it can't be a name.
fn needed_cells(head: &Cell, start: u32) -> Option<u32> {
    let room_bytes = usize::try_from(head[ROOM_BYTES_WORD]).ok()?;
    let name_bytes = party_bytes(start).checked_add(room_bytes)?;
    let more = name_bytes.saturating_sub(HEAD_NAME_BYTES);
    let cells = 1 + more.div_ceil(CONTINUATION_NAME_BYTES) as u32;
    (name_bytes <= MAX_NAME_BYTES).then_some(cells)
}

fn party_bytes(start: u32) -> usize {
    let [_, _, low, high] = start.to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]))
}

fn room_checksum(start: u32, cells: &[Cell]) -> u32 {
    let head = cells[0];
    let names = cells[1..].iter().flatten();
    let words = [u64::from(start), head[ROOM_BYTES_WORD]].into_iter();
    checksum(words.chain(head[NAME_WORD..].iter().chain(names).copied()))
}

/// A copy of the first cell of a room's record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoomCell(Cell);

impl RoomCell {
    /// A view of a cell that is known to be a room's.
    pub(crate) fn new(cell: Cell) -> Self {
        Self(cell)
    }

    /// A view of the cell, if it is a room's.
    pub(crate) fn parse(cell: Cell) -> Option<Self> {
        (CellTag::of(&cell) == CellTag::Room).then_some(Self(cell))
    }

    /// Whether the cell is a room's.
    pub(crate) fn is_room(&self) -> bool {
        CellTag::of(&self.0) == CellTag::Room
    }

    /// Number of cells in the record, at least one.
    pub(crate) fn record_cells(&self) -> u32 {
        self.stated_cells().max(1)
    }

    fn stated_cells(&self) -> u32 {
        let [_, cells, ..] = self.0[COMMIT_WORD].to_le_bytes();
        u32::from(cells)
    }

    /// The room's mode, and when it was last active.
    pub(crate) fn state(&self) -> Result<RoomState, Damage> {
        RoomState::decode(self.0[STATE_WORD], self.0[COMMIT_WORD])
    }

    /// How far the reset of the room had come.
    pub(crate) fn resetting(&self) -> Result<Resetting, Damage> {
        match halves(self.0[MARK_WORD]).1 {
            0 => Ok(Resetting::No),
            TO_BE_ZERO => Ok(Resetting::Begun),
            IS_ZERO => Ok(Resetting::Done),
            _ => Err(Damage::ResetMark),
        }
    }
}

/// The first cell of a room's record, in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoomWords<'m>(&'m AtomicCell);

impl<'m> RoomWords<'m> {
    pub(crate) fn new(cell: &'m AtomicCell) -> Self {
        Self(cell)
    }

    /// Changes the state of the room, if the cell is a room's and `change` returns another state.
    /// Several threads may do so at once: none undoes what another has changed. Returns whether
    /// the state was changed.
    pub(crate) fn update_state(&self, change: impl Fn(RoomState) -> Option<RoomState>) -> bool {
        let owner = self.0[COMMIT_WORD].load(Ordering::Acquire);
        if CellTag::of_word(owner) != CellTag::Room {
            return false;
        }
        let updated = self.0[STATE_WORD].fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
            let state = RoomState::decode(word, owner).unwrap_or_default();
            change(state).map(|changed| changed.encode(owner))
        });
        updated.is_ok()
    }

    /// Writes how far the reset of the room has come.
    pub(crate) fn set_resetting(&self, resetting: Resetting) {
        let mark = &self.0[MARK_WORD];
        let (checksum, _) = halves(mark.load(Ordering::Relaxed));
        let progress = match resetting {
            Resetting::No => 0,
            Resetting::Begun => TO_BE_ZERO,
            Resetting::Done => IS_ZERO,
        };
        mark.store(with_checksum(checksum, progress), Ordering::Release);
    }
}

impl Resetting {
    /// Whether a counter of the room has, or may have, a count that is to go.
    pub(crate) fn takes(self, counter: &CounterCell) -> bool {
        match self {
            Self::No => false,
            Self::Begun => true,
            // What was counted since is not sealed before the reset is over.
            Self::Done => counter.sealed() != Sealed::Copy(0),
        }
    }
}
