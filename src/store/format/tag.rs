//! The first byte of a cell, which says what the cell holds.

use super::units::Cell;
use super::words::COMMIT_WORD;

/// What a cell holds, as its first byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellTag {
    /// Nothing.
    Free,
    /// The beginning of a room's record.
    Room,
    /// More of a room's name.
    Continuation,
    /// A counter.
    Counter,
    /// Something that this code does not know.
    Unknown,
}

impl CellTag {
    /// First byte of a room's record.
    pub(super) const ROOM_BYTE: u8 = b'R';
    /// First byte of a counter.
    pub(super) const COUNTER_BYTE: u8 = b'K';
    /// First word of a cell with more of a room's name.
    pub(super) const CONTINUATION_WORD: u64 = b'C' as u64;

    pub(crate) fn of(cell: &Cell) -> Self {
        Self::of_word(cell[COMMIT_WORD])
    }

    /// What the cell with this first word holds.
    pub(super) fn of_word(word: u64) -> Self {
        match word.to_le_bytes()[0] {
            Self::ROOM_BYTE => Self::Room,
            Self::COUNTER_BYTE => Self::Counter,
            _ if word == 0 => Self::Free,
            _ if word == Self::CONTINUATION_WORD => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}
