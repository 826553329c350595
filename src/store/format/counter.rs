//! Counters: their kinds, their counts, and the sealed copies of the counts.

use std::sync::atomic::Ordering;

use super::checked::{checksum, halves, with_checksum};
use super::tag::CellTag;
use super::text::{bytes_of, put_bytes};
use super::units::{AtomicCell, Cell, CellId, MAX_KIND_BYTES, RoomId};
use super::words::{COMMIT_WORD, COUNT_WORD, MARK_WORD, NAME_WORD, SEALED_WORD};

/// What a counter counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CounterRecord {
    /// The counter's room.
    pub(crate) room: RoomId,
    /// Position of the kind among the kinds of the room.
    pub(crate) ordinal: u16,
    /// The kind.
    pub(crate) kind: String,
}

/// What the sealed copy says about a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// This was the count when it was last sealed.
    Copy(u64),
    /// The copy or its checksum is damaged, or was being written.
    Broken,
}

/// Encodes a counter with a sealed `count`, or returns `None` if the kind is too long.
pub fn encode_counter(room: RoomId, ordinal: u16, kind: &str, count: u64) -> Option<Cell> {
    if kind.len() > MAX_KIND_BYTES {
        return None;
    }
    let mut cell = Cell::default();
    put_bytes(kind.as_bytes(), &mut cell[NAME_WORD..]);
    cell[MARK_WORD] = with_checksum(0, room.cell().number());
    let [ordinal_low, ordinal_high] = ordinal.to_le_bytes();
    let start = u32::from_le_bytes([
        CellTag::COUNTER_BYTE,
        kind.len() as u8,
        ordinal_low,
        ordinal_high,
    ]);
    cell[COMMIT_WORD] = with_checksum(start, counter_checksum(start, &cell));
    cell[COUNT_WORD] = count;
    cell[SEALED_WORD] = count;
    cell[MARK_WORD] = CounterCell(cell).seal_mark(count);
    Some(cell)
}

/// Decodes a counter; `None` if its kind is damaged.
pub(super) fn decode(cell: &Cell) -> Option<CounterRecord> {
    let (start, checksum) = halves(cell[COMMIT_WORD]);
    if counter_checksum(start, cell) != checksum {
        return None;
    }
    let counter = CounterCell(*cell);
    let kind_bytes = usize::from(counter.kind_bytes());
    let kind = bytes_of(&cell[NAME_WORD..]).get(..kind_bytes)?.to_vec();
    Some(CounterRecord {
        room: counter.room(),
        ordinal: counter.ordinal(),
        kind: String::from_utf8(kind).ok()?,
    })
}

fn counter_checksum(start: u32, cell: &Cell) -> u32 {
    let room = CounterCell(*cell).room().cell().number();
    let words = [u64::from(start), u64::from(room)].into_iter();
    checksum(words.chain(cell[NAME_WORD..].iter().copied()))
}

/// A copy of a counter's cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CounterCell(Cell);

impl CounterCell {
    /// A view of a cell that is known to be a counter's.
    pub(crate) fn new(cell: Cell) -> Self {
        Self(cell)
    }

    /// The counter's room.
    pub(crate) fn room(&self) -> RoomId {
        RoomId::at(CellId::new(halves(self.0[MARK_WORD]).1))
    }

    /// Position of the counter's kind among the kinds of the room.
    pub(crate) fn ordinal(&self) -> u16 {
        let [_, _, low, high, ..] = self.0[COMMIT_WORD].to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    fn kind_bytes(&self) -> u8 {
        let [_, kind_bytes, ..] = self.0[COMMIT_WORD].to_le_bytes();
        kind_bytes
    }

    /// Whether both counters have the same kind.
    pub(crate) fn has_kind_of(&self, other: &Self) -> bool {
        self.kind_bytes() == other.kind_bytes() && self.0[NAME_WORD..] == other.0[NAME_WORD..]
    }

    /// The count.
    pub(crate) fn count(&self) -> u64 {
        self.0[COUNT_WORD]
    }

    /// What the sealed copy says about the count.
    pub(crate) fn sealed(&self) -> Sealed {
        let copy = self.0[SEALED_WORD];
        if self.0[MARK_WORD] == self.seal_mark(copy) {
            Sealed::Copy(copy)
        } else {
            Sealed::Broken
        }
    }

    /// Whether the count is equal to its sealed copy.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed() == Sealed::Copy(self.count())
    }

    /// The count that the counter certainly had, and had last as far as the file tells; `None` if
    /// the file does not tell.
    pub(crate) fn proven_count(&self, is_closed: bool) -> Option<u64> {
        let count = self.count();
        match self.sealed() {
            Sealed::Copy(sealed) if is_closed => Some(sealed),
            Sealed::Copy(sealed) => Some(sealed.max(count)),
            // Only the checksum is damaged, or only the copy.
            Sealed::Broken if self.0[SEALED_WORD] == count => Some(count),
            Sealed::Broken if self.0[MARK_WORD] == self.seal_mark(count) => Some(count),
            // The process died while sealing the count.
            Sealed::Broken if !is_closed => Some(count),
            Sealed::Broken => None,
        }
    }

    /// The mark of this counter when its sealed copy is `count`.
    fn seal_mark(&self, count: u64) -> u64 {
        let checksum = checksum([self.0[COMMIT_WORD], count]);
        with_checksum(checksum, self.room().cell().number())
    }
}

/// A counter in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CounterWords<'m>(&'m AtomicCell);

impl<'m> CounterWords<'m> {
    #[inline]
    pub(crate) fn new(cell: &'m AtomicCell) -> Self {
        Self(cell)
    }

    /// Whether the cell is a counter's.
    pub(crate) fn is_counter(&self) -> bool {
        CellTag::of_word(self.0[COMMIT_WORD].load(Ordering::Acquire)) == CellTag::Counter
    }

    /// The count.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.0[COUNT_WORD].load(Ordering::Acquire)
    }

    /// Adds `delta` to the count, which stays at the largest number.
    #[inline]
    pub(crate) fn add(&self, delta: u64) {
        // The closure always returns a value, so this can't fail.
        let _ = self.0[COUNT_WORD].fetch_update(Ordering::SeqCst, Ordering::Relaxed, |count| {
            Some(count.saturating_add(delta))
        });
    }

    /// Takes the count, and leaves zero.
    pub(crate) fn take_count(&self) -> u64 {
        self.0[COUNT_WORD].swap(0, Ordering::SeqCst)
    }

    /// Raises the count to `least`.
    pub(crate) fn raise_count(&self, least: u64) {
        self.0[COUNT_WORD].fetch_max(least, Ordering::SeqCst);
    }

    /// Sets the count of a counter that no reactor knows yet.
    pub(crate) fn restore_count(&self, count: u64) {
        self.0[COUNT_WORD].store(count, Ordering::Relaxed);
    }

    /// Makes `count` the sealed copy. `copy` is a copy of the cell.
    pub(crate) fn seal(&self, copy: &CounterCell, count: u64) {
        self.0[SEALED_WORD].store(count, Ordering::Relaxed);
        self.0[MARK_WORD].store(copy.seal_mark(count), Ordering::Release);
    }

    /// Sets the count and its sealed copy to zero. `copy` is a copy of the cell.
    pub(crate) fn zero(&self, copy: &CounterCell) {
        // The sealed copy first: it may be behind the count, but never ahead of it.
        self.seal(copy, 0);
        self.0[COUNT_WORD].store(0, Ordering::SeqCst);
    }
}

/// Test helpers that damage a counter in place.
#[cfg(test)]
impl CounterWords<'_> {
    /// Writes the sealed copy without its checksum, as a process does that dies in between.
    pub(crate) fn seal_without_checksum(&self, count: u64) {
        self.0[SEALED_WORD].store(count, Ordering::SeqCst);
    }
}
