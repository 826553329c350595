//! Sealing and syncing: brings the sealed copies of changed counts up to date, and writes their
//! pages to the disk. No reactor waits for any of it.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use super::cells::CellSource;
use super::format::{CellId, CounterId, PageId, RoomId, RoomState};
use super::space::CellSpace;

/// How much later a room must be active than the file says, before the file is updated, in
/// seconds.
const ACTIVE_GRANULARITY: u32 = 60;

/// Seals and syncs what has changed before `used_end`, and returns the number of pages. The
/// caller holds the maintenance lock, so no other thread seals, resets or frees.
///
/// # Errors
/// The operating system's. The pages then count as changed again.
pub(super) fn flush(space: &CellSpace, used_end: CellId) -> io::Result<usize> {
    let mut pages = space.dirty.take(used_end);
    let synced = seal_and_sync(space, &mut pages);
    let number = pages.len();
    if synced.is_err() {
        space.mark_pages(pages);
    }
    synced.map(|()| number)
}

fn seal_and_sync(space: &CellSpace, pages: &mut Vec<PageId>) -> io::Result<()> {
    if space.file.sync_length()? && !pages.contains(&PageId::HEADER) {
        pages.push(PageId::HEADER);
    }
    let now = unix_seconds();
    // Sealing adds the pages of rooms, which hold nothing that still has to be sealed.
    for index in 0..pages.len() {
        seal_page(space, pages[index], now, pages);
    }
    let (Some(first), Some(last)) = (pages.iter().min(), pages.iter().max()) else {
        return Ok(());
    };
    let end = last.cells().end.min(space.file.end());
    space.file.sync(first.first_cell()..end)
}

/// Seals the counters of a page, and updates when their rooms were active. Adds the pages that
/// this changes to `pages`.
fn seal_page(space: &CellSpace, page: PageId, now: u32, pages: &mut Vec<PageId>) {
    let cells = page.cells();
    let start = cells.start.max(CellId::FIRST_RECORD);
    for cell in start.until(cells.end.min(space.file.end())) {
        let Some(room) = seal(space, CounterId::at(cell)) else {
            continue;
        };
        if note_active(space, room, now) {
            let room_page = room.cell().page();
            // Nearly always it is the same page, or the one that was just added.
            if room_page != page && pages.last() != Some(&room_page) {
                pages.push(room_page);
            }
        }
    }
}

/// Brings the sealed copy of a counter up to date. Returns the counter's room if that changed
/// anything; the cell may also hold something else.
pub(super) fn seal(space: &CellSpace, counter: CounterId) -> Option<RoomId> {
    let words = space.counter(counter);
    if !words.is_counter() {
        return None;
    }
    let copy = space.counter_cell(counter);
    // The checksum too must hold: a process may have died between writing the copy and it.
    if copy.is_sealed() {
        return None;
    }
    words.seal(&copy, copy.count());
    Some(copy.room())
}

/// Writes that a room was active at a time, if that is later than what the file says by as much as
/// matters. Returns whether it is.
pub(super) fn note_active(space: &CellSpace, room: RoomId, unix_seconds: u32) -> bool {
    space.update_state(room, |state| {
        let last = state.active.unwrap_or(0);
        let is_later = last.saturating_add(ACTIVE_GRANULARITY) <= unix_seconds;
        is_later.then_some(RoomState {
            active: Some(unix_seconds),
            ..state
        })
    })
}

/// The time now, in seconds since 1970.
pub(super) fn unix_seconds() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX))
}
