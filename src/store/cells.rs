//! Cells that can be read, wherever they are.

use super::format::{
    self, Cell, CellId, CounterCell, CounterId, CounterRecord, Fault, HeaderCell,
    HeaderExtensionCell, Record, RoomCell, RoomId,
};

/// Cells that can be read: of a mapping, or of several.
pub(super) trait CellSource {
    /// Number of cells of the file.
    fn cells(&self) -> u32;

    /// Whether there is a cell at `cell`.
    fn has(&self, cell: CellId) -> bool {
        cell.number() < self.cells()
    }

    /// A copy of a cell, which must exist.
    fn read(&self, cell: CellId) -> Cell;

    /// The first cell after the last one of the file.
    fn end(&self) -> CellId {
        CellId::new(self.cells())
    }

    /// The first cell of the header.
    fn header(&self) -> HeaderCell {
        HeaderCell::new(self.read(CellId::HEADER))
    }

    /// The second cell of the header.
    fn header_extension(&self) -> HeaderExtensionCell {
        HeaderExtensionCell::new(self.read(CellId::HEADER_EXTENSION))
    }

    /// The first cell of a room's record.
    fn room_cell(&self, room: RoomId) -> RoomCell {
        RoomCell::new(self.read(room.cell()))
    }

    /// A counter's cell.
    fn counter_cell(&self, counter: CounterId) -> CounterCell {
        CounterCell::new(self.read(counter.cell()))
    }

    /// Decodes the record that begins at `cell` with this content.
    ///
    /// # Errors
    /// [`Fault`] if the record is torn or damaged.
    fn decode(&self, cell: CellId, content: &Cell) -> Result<Record, Fault> {
        format::decode(content, |offset| {
            let cell = cell.checked_add(offset)?;
            self.has(cell).then(|| self.read(cell))
        })
    }

    /// The names of a room's party and of the room itself, if the record is a room's.
    fn room_name(&self, room: RoomId) -> Option<(String, String)> {
        match self.decode(room.cell(), &self.read(room.cell())) {
            Ok(Record::Room(record)) => Some((record.party, record.room)),
            _ => None,
        }
    }

    /// What a counter counts, if the record is a counter's.
    fn counter_record(&self, counter: CounterId) -> Option<CounterRecord> {
        match format::decode(&self.read(counter.cell()), |_| None) {
            Ok(Record::Counter(record)) => Some(record),
            _ => None,
        }
    }
}
