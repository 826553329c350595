//! All cells of a store: those of the file, and overflow cells in memory for what the file has no
//! space for.

use super::cells::CellSource;
use super::dirty::DirtyPages;
use super::file::SnapshotFile;
use super::format::{
    AtomicCell, Cell, CellId, CounterId, CounterWords, Home, PageId, Resetting, RoomId, RoomState,
    RoomWords,
};
use super::mapping::Mapping;

/// The cells, and which pages of the file have changed.
#[derive(Debug)]
pub(super) struct CellSpace {
    pub(super) file: SnapshotFile,
    pub(super) overflow: Mapping,
    pub(super) dirty: DirtyPages,
}

impl CellSpace {
    /// The cell in place.
    #[inline]
    fn cell(&self, cell: CellId) -> &AtomicCell {
        match cell.home() {
            Home::File => self.file.cell(cell),
            Home::Overflow => self.overflow.cell(cell.within_home()),
        }
    }

    /// A counter in place. A caller that changes the count must then call [`CellSpace::mark`].
    #[inline]
    pub(super) fn counter(&self, counter: CounterId) -> CounterWords<'_> {
        CounterWords::new(self.cell(counter.cell()))
    }

    /// A room's first cell in place.
    fn room(&self, room: RoomId) -> RoomWords<'_> {
        RoomWords::new(self.cell(room.cell()))
    }

    /// Adds `delta` to a count, which stays at the largest number.
    #[inline]
    pub(super) fn add(&self, counter: CounterId, delta: u64) {
        self.counter(counter).add(delta);
        self.mark(counter.cell());
    }

    /// Moves what is counted at `from` to the count at `to`.
    pub(super) fn carry_over(&self, from: CounterId, to: CounterId) {
        let count = self.counter(from).take_count();
        if count > 0 {
            self.add(to, count);
        }
    }

    /// Sets a count and its sealed copy to zero.
    pub(super) fn zero(&self, counter: CounterId) {
        let copy = self.counter_cell(counter);
        self.counter(counter).zero(&copy);
        self.mark(counter.cell());
    }

    /// Changes the state of a room, as [`RoomWords::update_state`] does. If this returns `true`,
    /// the caller must see to it that the page is synced.
    pub(super) fn update_state(
        &self,
        room: RoomId,
        change: impl Fn(RoomState) -> Option<RoomState>,
    ) -> bool {
        self.room(room).update_state(change)
    }

    /// Writes how far the reset of a room has come. A room in overflow memory does not need it.
    pub(super) fn set_resetting(&self, room: RoomId, resetting: Resetting) {
        if room.cell().is_in_file() {
            self.room(room).set_resetting(resetting);
            self.mark(room.cell());
        }
    }

    /// Marks a cell as free.
    pub(super) fn free(&self, cell: CellId) {
        match cell.home() {
            Home::File => self.file.free(cell),
            Home::Overflow => self.overflow.free(cell.within_home()),
        }
        self.mark(cell);
    }

    /// Marks the page of a cell as changed. Overflow cells have no page.
    #[inline]
    pub(super) fn mark(&self, cell: CellId) {
        if cell.is_in_file() {
            self.dirty.mark(cell.page());
        }
    }

    /// Marks pages as changed.
    pub(super) fn mark_pages(&self, pages: impl IntoIterator<Item = PageId>) {
        pages.into_iter().for_each(|page| self.dirty.mark(page));
    }

    /// Writes a new record: the word that commits it comes last.
    pub(super) fn write_record(&self, first: CellId, cells: &[Cell]) {
        match first.home() {
            Home::File => self.file.write_record(first, cells),
            Home::Overflow => self.overflow.write_record(first.within_home(), cells),
        }
    }

    /// Marks the pages of a record as changed.
    pub(super) fn mark_record(&self, first: CellId, cells: &[Cell]) {
        let end = first + cells.len() as u32;
        first.until(end).for_each(|cell| self.mark(cell));
    }
}

impl CellSource for CellSpace {
    fn cells(&self) -> u32 {
        self.file.cells()
    }

    fn has(&self, cell: CellId) -> bool {
        match cell.home() {
            Home::File => self.file.has(cell),
            Home::Overflow => self.overflow.has(cell.within_home()),
        }
    }

    fn read(&self, cell: CellId) -> Cell {
        match cell.home() {
            Home::File => self.file.read(cell),
            Home::Overflow => self.overflow.read(cell.within_home()),
        }
    }
}
