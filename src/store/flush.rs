//! What the flusher does: seals the counts that have changed, and writes their pages to the disk.
//! No reactor waits for any of it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::counter::Core;
use super::dirty::PAGE_CELLS;
use super::format::{
    self, ACTIVE_WORD, CLOSED_WORD, COUNT_WORD, DIGEST_CELL, DIGEST_WORD, MARK_WORD, SEALED_WORD,
    Seal,
};
use super::mapping::Cells;
use super::survey::digest;

/// When a room was last active is written down this often, in seconds.
const ACTIVE_GRANULARITY: u32 = 60;

/// What flushing has come to.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    pub(super) count: u64,
    pub(super) failed: u64,
    pub(super) last: Duration,
    pub(super) longest: Duration,
    pub(super) total: Duration,
    pub(super) pages: u64,
    /// When the last one that succeeded began: what was counted before is safe.
    synced_at: Option<Instant>,
    /// Since when flushes have failed.
    behind_since: Option<Instant>,
    /// Since when one has been running, or waiting until it can.
    running_since: Option<Instant>,
    /// Why the last one failed, if it did.
    pub(super) error: Option<(io::ErrorKind, String)>,
}

impl Flushes {
    /// There is something to flush, or soon will be.
    pub(super) fn begin(&mut self) {
        self.running_since.get_or_insert_with(Instant::now);
    }

    /// A flush that took so long has ended.
    pub(super) fn end(&mut self, flushed: &io::Result<usize>, took: Duration) {
        let Some(start) = self.running_since.take() else {
            return;
        };
        if matches!(flushed, Ok(0)) {
            self.synced_at = Some(start);
            return;
        }
        self.count += 1;
        self.last = took;
        self.longest = self.longest.max(took);
        self.total += took;
        match flushed {
            Ok(pages) => {
                self.pages += *pages as u64;
                self.synced_at = Some(start);
                self.behind_since = None;
                self.error = None;
            }
            Err(error) => {
                self.failed += 1;
                self.behind_since.get_or_insert(start);
                self.error = Some((error.kind(), error.to_string()));
            }
        }
    }

    /// Whether one is under way.
    pub(super) fn is_running(&self) -> bool {
        self.running_since.is_some()
    }

    /// How long ago the last one that succeeded began, if one did.
    pub(super) fn age(&self) -> Option<Duration> {
        self.synced_at.map(|at| at.elapsed())
    }

    /// For how long what has changed has not been on the disk, beyond the usual.
    pub(super) fn behind(&self) -> Option<Duration> {
        let since = self.behind_since.or(self.running_since)?;
        Some(since.elapsed())
    }
}

/// Seals and syncs what has changed in the first `used_cells`, and says how many pages that was.
/// Whoever calls holds the maintenance lock, so nobody else seals, resets or frees.
pub(super) fn flush(core: &Core, used_cells: u32) -> io::Result<usize> {
    let mut pages = core.dirty.take(used_cells);
    let synced = write(core, &mut pages);
    if synced.is_err() {
        for page in &pages {
            core.dirty.mark(page * PAGE_CELLS);
        }
    }
    synced.map(|()| pages.len())
}

fn write(core: &Core, pages: &mut Vec<u32>) -> io::Result<()> {
    if core.memory.file.sync_length()? && !pages.contains(&0) {
        pages.push(0);
    }
    let now = unix_seconds();
    for index in 0..pages.len() {
        seal_page(core, pages[index], now, pages);
    }
    let first = pages.iter().min().map_or(0, |page| page * PAGE_CELLS);
    let end = pages.iter().max().map_or(0, |page| (page + 1) * PAGE_CELLS);
    let end = end.min(core.memory.file.cells());
    core.memory.file.sync(first..end)
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX))
}

/// Brings the sealed copies of a page up to date, and the ages of their rooms. Pages that change
/// by that are added to `pages`.
fn seal_page(core: &Core, page: u32, now: u32, pages: &mut Vec<u32>) {
    let start = (page * PAGE_CELLS).max(format::FIRST_CELL);
    let end = ((page + 1) * PAGE_CELLS).min(core.memory.file.cells());
    for index in start..end {
        let Some(room) = seal(core, index) else {
            continue;
        };
        if set_active(core, room, now, false) {
            let its_page = room / PAGE_CELLS;
            // Nearly always it is the same page, or one that has just been added.
            if its_page != page && pages.last() != Some(&its_page) {
                pages.push(its_page);
            }
        }
    }
}

/// Brings the sealed copy of a counter up to date. Gives its room if that changed anything.
pub(super) fn seal(core: &Core, index: u32) -> Option<u32> {
    let place = core.memory.cell(index);
    if !format::is_counter(place[0].load(Ordering::Acquire)) {
        return None;
    }
    let cell = core.memory.read(index);
    let count = cell[COUNT_WORD];
    // Not only the copy is looked at: a process may have died between it and its checksum.
    if Seal::of(&cell) == Seal::Holds(count) {
        return None;
    }
    place[SEALED_WORD].store(count, Ordering::Relaxed);
    place[MARK_WORD].store(format::seal_mark(&cell, count), Ordering::Release);
    Some(format::room_of(&cell))
}

/// Writes down when a room was active, if that is later than what is there, by as much as
/// matters, or in any case. Returns whether that changed anything.
pub(super) fn set_active(core: &Core, room: u32, at: u32, in_any_case: bool) -> bool {
    let cell = core.memory.read(room);
    let last = format::read_active(&cell).ok().flatten().unwrap_or(0);
    let is_later = in_any_case || last.saturating_add(ACTIVE_GRANULARITY) <= at;
    if is_later && format::is_room(cell[0]) {
        core.memory.cell(room)[ACTIVE_WORD]
            .store(format::active_mark(&cell, at), Ordering::Relaxed);
    }
    is_later
}

impl Core {
    /// Says in the header that all counts are sealed, and that no more will come; or that some
    /// will. Waits for the disk. Mark and digest are in one sector.
    pub(super) fn set_closed(&self, used_cells: Option<u32>) -> io::Result<()> {
        let file = &self.memory.file;
        let header = file.read(0);
        let mark = used_cells.map_or(0, |used| format::closed_mark(&header, used));
        if header[CLOSED_WORD] != mark {
            if let Some(used) = used_cells {
                let digest = format::digest_mark(&header, digest(&**file, used));
                file.cell(DIGEST_CELL)[DIGEST_WORD].store(digest, Ordering::Relaxed);
            }
            file.cell(0)[CLOSED_WORD].store(mark, Ordering::Relaxed);
            file.sync(0..format::FIRST_CELL)?;
        }
        Ok(())
    }
}
