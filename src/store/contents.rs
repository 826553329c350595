//! The rooms of a file with their counts, for those who read it and not serve it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::format::{
    self, CELL_BYTES, CLOSED_WORD, COUNT_WORD, FIRST_CELL, GONE_WORD, HeaderError, OWNER_WORD,
    Resetting, Seal,
};
use super::index::name_at;
use super::mapping::{Cells, View};
use super::survey::{DamageReport, Survey, proven_count, survey};

/// A room as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomContents {
    /// The party.
    pub party: String,
    /// The room.
    pub room: String,
    /// When it last counted something, in seconds since 1970, where that is known: not if it
    /// has since the last flush.
    pub active: Option<u32>,
    /// The kinds and their counts, first made first.
    pub counts: Vec<(String, u64)>,
}

/// A snapshot file that is looked at. A server may be using it.
#[derive(Debug)]
pub struct Snapshot {
    view: View,
    survey: Survey,
    path: PathBuf,
    length_bytes: u64,
    stamp: (u64, u64),
}

/// How often a file is looked at until it has stayed the same meanwhile.
const MAX_LOOKS: usize = 5;

/// What changes when cells may hold other records than before, or counts need no longer be
/// equal to their sealed copies.
fn stamp_of(view: &View) -> (u64, u64) {
    let header = view.read(0);
    (header[GONE_WORD], header[CLOSED_WORD])
}

impl Snapshot {
    /// Looks at the file, and changes nothing. It must not be made shorter meanwhile.
    ///
    /// # Errors
    /// [`OpenError::Io`] and [`OpenError::Unreadable`]. What is damaged in a readable file is in
    /// [`Snapshot::damage`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let unreadable = |reason| OpenError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(OpenError::io(path, "open it"))?;
        let length = || {
            let metadata = file.metadata();
            metadata.map_err(OpenError::io(path, "look at it"))
        };
        for _ in 0..MAX_LOOKS {
            let length_bytes = length()?.len();
            let cells = u32::try_from(length_bytes / CELL_BYTES as u64).unwrap_or(u32::MAX / 2);
            if cells < FIRST_CELL {
                return Err(unreadable(HeaderError::Truncated(length_bytes)));
            }
            let view = View::of_file(&file, cells).map_err(OpenError::io(path, "map it"))?;
            let stamp = stamp_of(&view);
            format::decode_header(&view.read(0)).map_err(unreadable)?;
            let survey = survey(&view);
            // The header may speak of what a server has added since.
            let has_grown = length()?.len() > length_bytes && survey.damage.total() > 0;
            if stamp_of(&view) == stamp && !has_grown {
                return Ok(Self {
                    view,
                    survey,
                    path: path.to_owned(),
                    length_bytes,
                    stamp,
                });
            }
        }
        let busy = io::Error::other("a server changes it too fast; try again");
        Err(OpenError::io(path, "look at it")(busy))
    }

    /// Whether the rooms have stayed where they were since the file was opened. If not, what was
    /// read may have been mixed up, and must be read again.
    pub fn is_current(&self) -> bool {
        stamp_of(&self.view) == self.stamp
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How large the file is.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// How much of it is in use, up to the last record.
    pub fn used_bytes(&self) -> u64 {
        u64::from(self.survey.index.free.next_cell()) * CELL_BYTES as u64
    }

    /// How much of that is free again.
    pub fn freed_bytes(&self) -> u64 {
        let cells = self.survey.index.free.freed_cells() as usize;
        ((cells + self.survey.repairs.leftovers.len()) * CELL_BYTES) as u64
    }

    /// When it was created, in seconds since 1970.
    pub fn created(&self) -> u64 {
        self.view.read(0)[3]
    }

    /// Whether the server that last used it closed it in order.
    pub fn is_closed(&self) -> bool {
        self.survey.is_closed
    }

    /// The process that has the file open, as far as can be seen: it says so in the file, has not
    /// closed it, and lives.
    pub fn holder(&self) -> Option<u32> {
        let pid = self.view.read(0)[OWNER_WORD] as u32;
        let process = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        let is_alive = match rustix::process::test_kill_process(process) {
            Ok(()) | Err(rustix::io::Errno::PERM) => true,
            Err(_) => false,
        };
        (!self.is_closed() && is_alive).then_some(pid)
    }

    /// How many records a crash has left that the next server sets right.
    pub fn repairs(&self) -> usize {
        let repairs = &self.survey.repairs;
        repairs.behind.len() + repairs.resetting.len() + repairs.leftovers.len()
    }

    /// How many rooms it has.
    pub fn rooms(&self) -> usize {
        self.survey.index.len()
    }

    /// How many counters it has.
    pub fn counters(&self) -> usize {
        self.survey.counters
    }

    /// What is not as it was written.
    pub fn damage(&self) -> &DamageReport {
        &self.survey.damage
    }

    /// The rooms in the order of the file, with all of their counts that are certain.
    pub fn contents(&self) -> impl Iterator<Item = RoomContents> {
        contents(&self.view, &self.survey, self.holder().is_some())
    }
}

/// The rooms that a survey has found, in the order of their cells. In a file that `is_in_use`,
/// a room that is about to be reset has its counts still.
pub(super) fn contents<'a>(
    cells: &'a impl Cells,
    survey: &'a Survey,
    is_in_use: bool,
) -> impl Iterator<Item = RoomContents> {
    let mut rooms: Vec<u32> = survey.index.rooms().collect();
    rooms.sort_unstable();
    rooms.into_iter().filter_map(move |room| {
        let (party, name) = name_at(cells, room)?;
        let head = cells.read(room);
        let resetting = match format::read_resetting(&head) {
            Ok(Resetting::Begun) if is_in_use => Resetting::No,
            resetting => resetting.unwrap_or(Resetting::No),
        };
        let counters = survey.index.counters_of(cells, room);
        // Where cells are used anew meanwhile, one may belong to another room by now.
        let own = counters.filter(move |(_, record)| record.room == room);
        let mut is_quiet = true;
        let counts = own.filter_map(|(cell, record)| {
            let counter = cells.read(cell);
            is_quiet &= Seal::of(&counter) == Seal::Holds(counter[COUNT_WORD]);
            let count = proven_count(&counter, survey.is_closed)?;
            let is_gone = resetting.takes(&counter);
            Some((record.kind, if is_gone { 0 } else { count }))
        });
        let counts = counts.collect();
        // It has counted something since it was written down when it last did.
        let active = format::read_active(&head).ok().flatten();
        Some(RoomContents {
            party,
            room: name,
            active: active.filter(|_| is_quiet),
            counts,
        })
    })
}
