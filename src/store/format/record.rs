//! Records: what a cell, or several in a row, hold.

use super::checked::extend_checksum;
use super::counter::{self, CounterRecord};
use super::damage::{Damage, Fault};
use super::room::{self, RoomRecord};
use super::tag::CellTag;
use super::units::Cell;
use super::words::{COMMIT_WORD, COUNT_WORD};

/// What a cell holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Nothing.
    Free,
    /// The beginning of a room's record.
    Room(RoomRecord),
    /// More of a room's name.
    Continuation,
    /// A counter.
    Counter(CounterRecord),
}

/// Decodes the record that begins with `cell`; `read` returns the cell at an offset from it.
///
/// # Errors
/// [`Fault`] if a checksum does not hold, the content makes no sense, or the record is torn.
pub(crate) fn decode(cell: &Cell, read: impl Fn(u32) -> Option<Cell>) -> Result<Record, Fault> {
    match CellTag::of(cell) {
        CellTag::Free => Ok(Record::Free),
        CellTag::Continuation => Ok(Record::Continuation),
        CellTag::Room => room::decode(cell, read).map(Record::Room),
        CellTag::Counter => counter::decode(cell)
            .map(Record::Counter)
            .ok_or(Fault::Damaged(Damage::KindName)),
        CellTag::Unknown => Err(Fault::Damaged(Damage::CellType)),
    }
}

/// Adds a cell to the digest of all records.
pub(crate) fn extend_digest(digest: u32, cell: &Cell) -> u32 {
    let words = match CellTag::of(cell) {
        CellTag::Room | CellTag::Counter => &cell[..=COUNT_WORD],
        CellTag::Free | CellTag::Continuation | CellTag::Unknown => &cell[..=COMMIT_WORD],
    };
    extend_checksum(digest, words.iter().copied())
}
