//! The units of the file: cells and pages, the typed numbers that name them, and the limits.

use std::ops::{Add, Range, Sub};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Size of a cell, in bytes.
pub(crate) const CELL_BYTES: usize = 64;
/// Size of a page, in bytes: the unit in which changes are synced.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Number of cells in a page.
pub(crate) const PAGE_CELLS: u32 = (PAGE_BYTES / CELL_BYTES) as u32;
/// Number of cells that the header takes.
pub(crate) const HEADER_CELLS: u32 = 64;

/// Maximum length of a kind, in bytes.
pub(crate) const MAX_KIND_BYTES: usize = 32;
/// Maximum length of a party's and a room's name together, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 2048;
/// Maximum number of kinds in a room.
pub(crate) const MAX_ROOM_COUNTERS: usize = 256;

/// A copy of a cell.
pub type Cell = [u64; CELL_BYTES / 8];
/// A cell in place.
pub(crate) type AtomicCell = [AtomicU64; CELL_BYTES / 8];

/// The bit of a cell's number that marks an overflow cell. No file is large enough to need it.
const OVERFLOW_BIT: u32 = 1 << 31;

/// The number of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(u32);

/// Where a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// In the snapshot file.
    File,
    /// In overflow memory, because the file could not grow.
    Overflow,
}

impl CellId {
    /// The first cell of the header.
    pub(crate) const HEADER: Self = Self(0);
    /// The cell of the header that holds what did not fit into the first.
    pub(crate) const HEADER_EXTENSION: Self = Self(1);
    /// The first cell that can hold a record.
    pub const FIRST_RECORD: Self = Self(HEADER_CELLS);

    /// The cell with this number, as a record stores it.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number of the cell, as a record stores it.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// Where the cell is.
    #[inline]
    pub(crate) const fn home(self) -> Home {
        if self.0 & OVERFLOW_BIT == 0 {
            Home::File
        } else {
            Home::Overflow
        }
    }

    /// Whether the cell is in the file.
    #[inline]
    pub(crate) fn is_in_file(self) -> bool {
        self.home() == Home::File
    }

    /// The overflow cell with this cell's number.
    pub(crate) const fn to_overflow(self) -> Self {
        Self(self.0 | OVERFLOW_BIT)
    }

    /// The number of the cell within its home: overflow memory is a mapping of its own.
    #[inline]
    pub(crate) const fn within_home(self) -> Self {
        Self(self.0 & !OVERFLOW_BIT)
    }

    /// Offset of the cell in the file, in bytes.
    pub fn byte_offset(self) -> u64 {
        u64::from(self.0) * CELL_BYTES as u64
    }

    /// The page that the cell is in.
    pub(crate) fn page(self) -> PageId {
        PageId(self.0 / PAGE_CELLS)
    }

    /// The cell that is `cells` further on, if there can be one.
    pub(crate) fn checked_add(self, cells: u32) -> Option<Self> {
        self.0.checked_add(cells).map(Self)
    }

    /// The cells from this one up to `end`, which is not included.
    pub(crate) fn until(self, end: Self) -> impl Iterator<Item = Self> + Clone {
        (self.0..end.0).map(Self)
    }
}

impl Add<u32> for CellId {
    type Output = Self;

    fn add(self, cells: u32) -> Self {
        Self(self.0 + cells)
    }
}

impl Sub for CellId {
    type Output = u32;

    /// The number of cells from `start` up to this one.
    fn sub(self, start: Self) -> u32 {
        self.0 - start.0
    }
}

/// The number of a page of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PageId(u32);

impl PageId {
    /// The page that the header is in.
    pub(crate) const HEADER: Self = Self(0);

    /// The page with this number.
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number of the page.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// The page after this one.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The first cell of the page.
    pub(crate) fn first_cell(self) -> CellId {
        CellId(self.0 * PAGE_CELLS)
    }

    /// The cells of the page.
    pub(crate) fn cells(self) -> Range<CellId> {
        self.first_cell()..self.first_cell() + PAGE_CELLS
    }
}

/// A room: the cell in which its record begins.
///
/// The record of a room that was created while the file could not grow moves later. The store
/// still knows the room by its old id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(CellId);

impl RoomId {
    /// The room whose record begins at `cell`.
    pub const fn at(cell: CellId) -> Self {
        Self(cell)
    }

    /// The cell in which the room's record begins.
    pub(crate) const fn cell(self) -> CellId {
        self.0
    }
}

/// A counter: its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CounterId(CellId);

impl CounterId {
    /// The counter at `cell`.
    pub(crate) const fn at(cell: CellId) -> Self {
        Self(cell)
    }

    /// The counter's cell.
    #[inline]
    pub(crate) const fn cell(self) -> CellId {
        self.0
    }
}

/// The cell of a counter that may still move, shared by everything that holds the counter.
#[derive(Debug)]
pub(crate) struct AtomicCounterId(AtomicU32);

impl AtomicCounterId {
    pub(crate) fn new(counter: CounterId) -> Self {
        Self(AtomicU32::new(counter.0.0))
    }

    #[inline]
    pub(crate) fn load(&self) -> CounterId {
        CounterId(CellId(self.0.load(Ordering::SeqCst)))
    }

    pub(crate) fn store(&self, counter: CounterId) {
        self.0.store(counter.0.0, Ordering::SeqCst);
    }
}
