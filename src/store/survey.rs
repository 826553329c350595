//! A look at everything that a file holds: what is whole, what a crash has left, what is damaged.
//! It changes nothing.

use std::fmt;

use super::dirty::PAGE_CELLS;
use super::format::{
    self, CELL_BYTES, COUNT_WORD, Cell, DIGEST_CELL, DIGEST_WORD, Damage, FIRST_CELL, Fault,
    Record, Resetting, RoomRecord, SEALED_WORD, Seal,
};
use super::index::{Index, Misplaced, record_cells};
use super::mapping::Cells;

/// How many places of damage are named.
const MAX_NAMED: usize = 8;

/// What was found.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) index: Index,
    pub(super) counters: usize,
    /// Counters whose room is not there.
    pub(super) orphans: usize,
    /// Whether the file was closed in order.
    pub(super) is_closed: bool,
    pub(super) damage: DamageReport,
    pub(super) repairs: Repairs,
}

/// What is to be set right after a crash.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Counters that are behind their sealed copies.
    pub(super) behind: Vec<(u32, u64)>,
    /// Rooms that were being set to zero, and how far that had come.
    pub(super) resetting: Vec<(u32, Resetting)>,
    /// Pages with counters that are ahead of their sealed copies.
    pub(super) unsealed: Vec<u32>,
    /// Cells of records that never came to be whole, or were half removed.
    pub(super) leftovers: Vec<u32>,
}

/// What is not as it was written, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DamageReport {
    total: usize,
    named: Vec<(u64, &'static str)>,
}

impl DamageReport {
    /// In how many places something is damaged.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The first places, by their offset in the file, and what is damaged there.
    pub fn named(&self) -> &[(u64, &'static str)] {
        &self.named
    }

    fn add(&mut self, cell: u32, word: usize, damage: Damage) {
        self.total += 1;
        if self.named.len() < MAX_NAMED {
            let offset = u64::from(cell) * CELL_BYTES as u64 + word as u64 * 8;
            self.named.push((offset, damage.0));
        }
    }
}

impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (offset, what)) in self.named.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{what} at offset {offset}")?;
        }
        match self.total - self.named.len() {
            0 => Ok(()),
            more => write!(f, ", and in {more} more places"),
        }
    }
}

/// Looks at every record.
pub(super) fn survey(cells: &impl Cells) -> Survey {
    let mut damage = DamageReport::default();
    let header = cells.read(0);
    let closed = format::read_closed(&header).unwrap_or_else(|found| {
        damage.add(0, format::CLOSED_WORD, found);
        None
    });
    match format::read_length(&header) {
        Ok(length) if length > cells.cells() => {
            damage.add(cells.cells(), 0, Damage("the end of the file is missing"));
        }
        Ok(_) => {}
        Err(found) => damage.add(0, format::LENGTH_WORD, found),
    }
    let mut survey = Survey {
        index: Index::new(FIRST_CELL),
        counters: 0,
        orphans: 0,
        is_closed: closed.is_some(),
        damage,
        repairs: Repairs::default(),
    };
    if let Some(used_cells) = closed {
        survey.compare_digest(cells, used_cells);
    }
    let found = survey.find_records(cells);
    survey.link_counters(cells, found);
    survey
}

/// What tells whether any record or count of the first `used_cells` is another than it was.
pub(super) fn digest(cells: &impl Cells, used_cells: u32) -> u32 {
    (FIRST_CELL..used_cells.min(cells.cells())).fold(used_cells, |sum, index| {
        let cell = cells.read(index);
        let changing = match format::is_counter(cell[0]) || format::is_room(cell[0]) {
            true => &cell[..=COUNT_WORD],
            false => &cell[..1],
        };
        let append = |sum, word: &u64| crc32c::crc32c_append(sum, &word.to_le_bytes());
        changing.iter().fold(sum, append)
    })
}

/// Records by their cells, in their order.
#[derive(Default)]
struct Found {
    rooms: Vec<u32>,
    /// Counters, and the cells of their rooms.
    counters: Vec<(u32, u32)>,
    continuations: Vec<u32>,
}

impl Survey {
    /// Finds what every record by itself does not show: sectors that were lost, or that are older
    /// than the others.
    fn compare_digest(&mut self, cells: &impl Cells, used_cells: u32) {
        let damage = match format::read_digest(&cells.read(0), &cells.read(DIGEST_CELL)) {
            Ok(Some(written)) if written == digest(cells, used_cells) => return,
            Ok(_) => Damage("something is lost or older than it was, as all records show"),
            Err(damage) => damage,
        };
        self.damage.add(DIGEST_CELL, DIGEST_WORD, damage);
    }

    fn find_records(&mut self, cells: &impl Cells) -> Found {
        let mut found = Found::default();
        let mut cell = FIRST_CELL;
        // Free cells since the last record.
        let mut free = 0;
        while cell < cells.cells() {
            let content = cells.read(cell);
            if content[0] == 0 {
                free += 1;
                cell += 1;
                continue;
            }
            if free > 0 {
                self.index.free.give_back(cell - free, free);
                free = 0;
            }
            let read = |offset| {
                let next = cell + offset;
                (next < cells.cells()).then(|| cells.read(next))
            };
            let mut length = 1;
            match format::decode(&content, read) {
                Ok(Record::Free) => {}
                Ok(Record::Room(record)) => {
                    length = record.cells;
                    self.find_room(cells, &mut found, cell, &record);
                }
                Ok(Record::Continuation) => found.continuations.push(cell),
                Ok(Record::Counter(record)) => found.counters.push((cell, record.room)),
                Err(Fault::Torn) if !self.is_closed => self.repairs.leftovers.push(cell),
                Err(Fault::Torn) => self.damage.add(cell, 0, Damage("a room's name")),
                Err(Fault::Damaged(what)) => self.damage.add(cell, 0, what),
            }
            cell += length;
            self.index.free.set_next_cell(cell);
        }
        found
    }

    /// Takes note of a room. When power failed, one of its name may just have been removed: of two
    /// in a file that was not closed, the newer is it.
    fn find_room(&mut self, cells: &impl Cells, found: &mut Found, cell: u32, record: &RoomRecord) {
        let (party, room) = (&record.party, &record.room);
        if let Some(other) = self.index.find(cells, party, room) {
            if self.is_closed {
                let damage = Damage("a second room of the same name");
                return self.damage.add(cell, 0, damage);
            }
            let active = |cell| format::read_active(&cells.read(cell)).ok().flatten();
            let older = if active(cell) > active(other) {
                other
            } else {
                cell
            };
            let its_cells = older..older + record_cells(cells, older);
            self.repairs.leftovers.extend(its_cells);
            if older == cell {
                return;
            }
            self.index.remove(other, party, room);
            found.rooms.retain(|room| *room != other);
            self.repairs.resetting.retain(|(room, _)| *room != other);
        }
        self.index.insert(cell, party, room);
        found.rooms.push(cell);
        self.look_at_room(cell, &cells.read(cell));
    }

    fn look_at_room(&mut self, cell: u32, content: &Cell) {
        match format::read_resetting(content) {
            Ok(Resetting::No) => {}
            Ok(_) if self.is_closed => {
                let damage = Damage("whether a room was being reset");
                self.damage.add(cell, format::MARK_WORD, damage);
            }
            Ok(resetting) => self.repairs.resetting.push((cell, resetting)),
            Err(damage) => self.damage.add(cell, format::MARK_WORD, damage),
        }
        if let Err(damage) = format::read_active(content) {
            self.damage.add(cell, format::ACTIVE_WORD, damage);
        }
    }

    fn link_counters(&mut self, cells: &impl Cells, found: Found) {
        for (cell, room) in found.counters {
            // The rooms were found in the order of their cells.
            if found.rooms.binary_search(&room).is_err() {
                self.orphans += 1;
                self.leave_over(cell, "a counter without a room");
                continue;
            }
            if self.index.link(cells, room, cell) == Err(Misplaced) {
                let damage = Damage("a counter that its room has already");
                self.damage.add(cell, 0, damage);
                continue;
            }
            self.counters += 1;
            self.look_at_count(cell, &cells.read(cell));
        }
        for cell in found.continuations {
            self.leave_over(cell, "a name without a room");
        }
    }

    fn look_at_count(&mut self, cell: u32, content: &Cell) {
        let count = content[COUNT_WORD];
        match Seal::of(content) {
            Seal::Holds(sealed) if self.is_closed && sealed != count => {
                self.damage.add(cell, COUNT_WORD, Damage("a count"));
            }
            Seal::Broken if self.is_closed => {
                self.damage.add(cell, COUNT_WORD, Damage("a count"));
            }
            Seal::Holds(sealed) if sealed > count => self.repairs.behind.push((cell, sealed)),
            Seal::Holds(sealed) if sealed == count => {}
            Seal::Holds(_) | Seal::Broken => {
                let page = cell / PAGE_CELLS;
                if self.repairs.unsealed.last() != Some(&page) {
                    self.repairs.unsealed.push(page);
                }
            }
        }
    }

    /// A crash leaves such a thing; in a file that was closed in order it is damage.
    fn leave_over(&mut self, cell: u32, what: &'static str) {
        if self.is_closed {
            self.damage.add(cell, 0, Damage(what));
        } else {
            self.repairs.leftovers.push(cell);
        }
    }
}

/// The count that a counter certainly had, and had last as far as can be known; `None` if there
/// is no telling.
pub(super) fn proven_count(counter: &Cell, is_closed: bool) -> Option<u64> {
    let count = counter[COUNT_WORD];
    match Seal::of(counter) {
        Seal::Holds(sealed) if is_closed => Some(sealed),
        Seal::Holds(sealed) => Some(sealed.max(count)),
        // The checksum alone is damaged, or the copy alone.
        Seal::Broken if counter[SEALED_WORD] == count => Some(count),
        Seal::Broken if counter[format::MARK_WORD] == format::seal_mark(counter, count) => {
            Some(count)
        }
        // It was being sealed when the process died.
        Seal::Broken if !is_closed => Some(count),
        Seal::Broken => None,
    }
}
