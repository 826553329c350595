//! The rooms of a file with their counts, for readers that do not serve it.

use super::cells::CellSource;
use super::format::{Resetting, RoomId, RoomMode};
use super::survey::Survey;

/// A room as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomContents {
    /// Name of the party.
    pub party: String,
    /// Name of the room.
    pub room: String,
    /// What clients may do in the room.
    pub mode: RoomMode,
    /// When the room last counted something, in seconds since 1970. `None` if that is not known,
    /// because the room has counted something since the last flush.
    pub active: Option<u32>,
    /// The kinds and their counts, in the order in which the kinds were created.
    pub counts: Vec<(String, u64)>,
}

/// Whether a server may be using the file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileUse {
    /// A server has the file open: a room whose reset has only begun still has its counts.
    InUse,
    /// No server has the file open: a reset that has begun is finished by the next server.
    AtRest,
}

/// The rooms that a survey has found, in the order of their cells.
pub(super) fn contents<'a, C: CellSource>(
    cells: &'a C,
    survey: &'a Survey,
    file_use: FileUse,
) -> impl Iterator<Item = RoomContents> + use<'a, C> {
    let mut rooms: Vec<RoomId> = survey.index.rooms().collect();
    rooms.sort_unstable();
    rooms
        .into_iter()
        .filter_map(move |room| room_contents(cells, survey, file_use, room))
}

fn room_contents(
    cells: &impl CellSource,
    survey: &Survey,
    file_use: FileUse,
    id: RoomId,
) -> Option<RoomContents> {
    let (party, room) = cells.room_name(id)?;
    let head = cells.room_cell(id);
    let resetting = match (head.resetting(), file_use) {
        (Ok(Resetting::Begun), FileUse::InUse) | (Err(_), _) => Resetting::No,
        (Ok(resetting), _) => resetting,
    };
    let mut is_quiet = true;
    let mut counts = Vec::new();
    for (counter, record) in survey.index.counter_records(cells, id) {
        // A server may have reused the cell for a counter of another room.
        if record.room != id {
            continue;
        }
        let copy = cells.counter_cell(counter);
        is_quiet &= copy.is_sealed();
        if let Some(count) = copy.proven_count(survey.is_closed) {
            let count = if resetting.takes(&copy) { 0 } else { count };
            counts.push((record.kind, count));
        }
    }
    // A room with an unsealed count was active after the file was told when.
    let state = head.state().unwrap_or_default();
    Some(RoomContents {
        party,
        room,
        mode: state.mode,
        active: state.active.filter(|_| is_quiet),
        counts,
    })
}
