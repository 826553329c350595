//! A survey of a whole file: what is whole, what a crash has left unfinished, and what is damaged.
//! Changes nothing in the file.

use std::io;

use super::cells::CellSource;
use super::damage::DamageReport;
use super::file::SnapshotFile;
use super::format::{
    self, Cell, CellId, CounterId, Damage, Fault, PageId, Record, Resetting, RoomCell, RoomId,
    RoomRecord, Sealed,
};
use super::free::FreeCells;
use super::index::{Index, Misplaced};

/// What was found in a file.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) index: Index,
    pub(super) free: FreeCells,
    /// Number of counters that belong to a room.
    pub(super) counters: usize,
    /// Number of counters whose room is missing.
    pub(super) orphans: usize,
    /// Whether the file was closed in order.
    pub(super) is_closed: bool,
    pub(super) damage: DamageReport,
    pub(super) repairs: Repairs,
}

/// What must be repaired after a crash.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Counters that are behind their sealed copies, with these.
    pub(super) behind: Vec<(CounterId, u64)>,
    /// Rooms whose reset was interrupted, with how far it had come.
    pub(super) resetting: Vec<(RoomId, Resetting)>,
    /// Pages with counters that are ahead of their sealed copies.
    pub(super) unsealed: Vec<PageId>,
    /// Cells of records that were never completed, or were half removed.
    pub(super) leftovers: Vec<CellId>,
}

/// Surveys a file through a mapping of its own, so that the pages that are read do not count as
/// this process's memory for good.
///
/// # Errors
/// The operating system's, if it refuses the mapping.
pub(super) fn survey_file(file: &SnapshotFile) -> io::Result<Survey> {
    Ok(match file.map_read_only()? {
        Some(cells) => survey(&cells),
        None => survey(file),
    })
}

/// Surveys all records of a file.
pub(super) fn survey(cells: &impl CellSource) -> Survey {
    let mut damage = DamageReport::default();
    let header = cells.header();
    let closed = header.closed().unwrap_or_else(|found| {
        damage.add(CellId::HEADER, found);
        None
    });
    match header.length() {
        Ok(length) if length > cells.cells() => damage.add(cells.end(), Damage::EndMissing),
        Ok(_) => {}
        Err(found) => damage.add(CellId::HEADER, found),
    }
    let mut survey = Survey {
        index: Index::new(),
        free: FreeCells::new(CellId::FIRST_RECORD),
        counters: 0,
        orphans: 0,
        is_closed: closed.is_some(),
        damage,
        repairs: Repairs::default(),
    };
    if let Some(used_end) = closed {
        survey.compare_digest(cells, used_end);
    }
    let found = survey.find_records(cells);
    survey.link_counters(cells, found);
    survey
}

/// The digest of all records before `used_end`: it changes with any of them.
pub(super) fn digest(cells: &impl CellSource, used_end: CellId) -> u32 {
    CellId::FIRST_RECORD
        .until(used_end.min(cells.end()))
        .fold(used_end.number(), |digest, cell| {
            format::extend_digest(digest, &cells.read(cell))
        })
}

/// Records that were found, in the order of their cells.
#[derive(Default)]
struct Found {
    rooms: Vec<RoomId>,
    counters: Vec<(CounterId, RoomId)>,
    continuations: Vec<CellId>,
}

impl Survey {
    /// Finds what no single record shows: sectors that are lost, or older than the others.
    fn compare_digest(&mut self, cells: &impl CellSource, used_end: CellId) {
        let damage = match cells.header_extension().digest(&cells.header()) {
            Ok(Some(written)) if written == digest(cells, used_end) => return,
            Ok(_) => Damage::Digest,
            Err(damage) => damage,
        };
        self.damage.add(CellId::HEADER_EXTENSION, damage);
    }

    fn find_records(&mut self, cells: &impl CellSource) -> Found {
        let mut found = Found::default();
        let mut cell = CellId::FIRST_RECORD;
        // The first of the free cells since the last record.
        let mut free_start = cell;
        while cell < cells.end() {
            let content = cells.read(cell);
            if format::CellTag::of(&content) == format::CellTag::Free {
                cell = cell + 1;
                continue;
            }
            if free_start < cell {
                self.free.give_back(free_start, cell - free_start);
            }
            cell = cell + self.find_record(cells, &mut found, cell, &content);
            self.free.set_used_end(cell);
            free_start = cell;
        }
        found
    }

    /// Takes note of the record that begins at `cell`. Returns its number of cells.
    fn find_record(
        &mut self,
        cells: &impl CellSource,
        found: &mut Found,
        cell: CellId,
        content: &Cell,
    ) -> u32 {
        match cells.decode(cell, content) {
            Ok(Record::Free) => {}
            Ok(Record::Room(record)) => {
                self.find_room(cells, found, RoomId::at(cell), &record);
                return record.cells;
            }
            Ok(Record::Continuation) => found.continuations.push(cell),
            Ok(Record::Counter(record)) => {
                found.counters.push((CounterId::at(cell), record.room));
            }
            Err(Fault::Torn) if !self.is_closed => self.repairs.leftovers.push(cell),
            Err(Fault::Torn) => self.damage.add(cell, Damage::RoomName),
            Err(Fault::Damaged(damage)) => self.damage.add(cell, damage),
        }
        1
    }

    /// Takes note of a room. In a file that was not closed, the room may have been removed and
    /// created again when power failed: of two rooms with one name, the newer one counts.
    fn find_room(
        &mut self,
        cells: &impl CellSource,
        found: &mut Found,
        id: RoomId,
        record: &RoomRecord,
    ) {
        let (party, room) = (&record.party, &record.room);
        if let Some(other) = self.index.find(cells, party, room) {
            if self.is_closed {
                return self.damage.add(id.cell(), Damage::DuplicateRoom);
            }
            let active = |room| cells.room_cell(room).state().unwrap_or_default().active;
            let older = if active(id) > active(other) {
                other
            } else {
                id
            };
            let first = older.cell();
            let end = first + cells.room_cell(older).record_cells();
            self.repairs.leftovers.extend(first.until(end));
            if older == id {
                return;
            }
            self.index.remove(other, party, room);
            found.rooms.retain(|room| *room != other);
            self.repairs.resetting.retain(|(room, _)| *room != other);
        }
        self.index.insert(id, party, room);
        found.rooms.push(id);
        self.check_room(id, &cells.room_cell(id));
    }

    fn check_room(&mut self, id: RoomId, room: &RoomCell) {
        match room.resetting() {
            Ok(Resetting::No) => {}
            Ok(_) if self.is_closed => self.damage.add(id.cell(), Damage::ResetMark),
            Ok(resetting) => self.repairs.resetting.push((id, resetting)),
            Err(damage) => self.damage.add(id.cell(), damage),
        }
        if let Err(damage) = room.state() {
            self.damage.add(id.cell(), damage);
        }
    }

    fn link_counters(&mut self, cells: &impl CellSource, found: Found) {
        for (counter, room) in found.counters {
            // Rooms were found in the order of their cells.
            if found.rooms.binary_search(&room).is_err() {
                self.orphans += 1;
                self.leave_over(counter.cell(), Damage::StrayCounter);
                continue;
            }
            if self.index.link(cells, room, counter) == Err(Misplaced) {
                self.leave_over(counter.cell(), Damage::DuplicateCounter);
                continue;
            }
            self.counters += 1;
            self.check_count(cells, counter);
        }
        for cell in found.continuations {
            self.leave_over(cell, Damage::StrayName);
        }
    }

    fn check_count(&mut self, cells: &impl CellSource, counter: CounterId) {
        let content = cells.counter_cell(counter);
        let count = content.count();
        match content.sealed() {
            Sealed::Copy(sealed) if sealed == count => {}
            _ if self.is_closed => self.damage.add(counter.cell(), Damage::Count),
            Sealed::Copy(sealed) if sealed > count => self.repairs.behind.push((counter, sealed)),
            Sealed::Copy(_) | Sealed::Broken => {
                let page = counter.cell().page();
                if self.repairs.unsealed.last() != Some(&page) {
                    self.repairs.unsealed.push(page);
                }
            }
        }
    }

    /// Takes note of a record without a place: a crash leaves such records, also the second of two
    /// counters of which one had just been removed. In a file that was closed in order they are
    /// damage.
    fn leave_over(&mut self, cell: CellId, damage: Damage) {
        if self.is_closed {
            self.damage.add(cell, damage);
        } else {
            self.repairs.leftovers.push(cell);
        }
    }
}
