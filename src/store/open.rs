//! Opening a store: what is there, what a crash has left to be set right, and what is refused.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use super::counter::Core;
use super::dirty::{Dirty, PAGE_CELLS};
use super::disk::{Disk, FileSystem};
use super::error::OpenError;
use super::format::{self, COUNT_WORD, HeaderError, OWNER_WORD, Resetting};
use super::map::Map;
use super::mapping::{Cells, Mapping};
use super::memory::{Memory, SPARE};
use super::retire::{self, Removed};
use super::rewrite::{self, Salvaged};
use super::signal::Signal;
use super::spare::Spares;
use super::survey::Repairs;
use super::{Indices, Store, StoreLimits};

/// What a store was opened with, for the log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Rooms found.
    pub rooms: usize,
    /// Counters found.
    pub counters: usize,
    /// Whether the file was closed in order, or is new.
    pub was_closed: bool,
    /// Counts that were behind their sealed copies, and were set to them.
    pub restored_counts: usize,
    /// Rooms that were being reset, and are zero now.
    pub finished_resets: usize,
    /// Cells of records that a crash left unfinished, which are free now.
    pub leftovers: usize,
    /// What salvage has done, if it was needed.
    pub salvaged: Option<Salvaged>,
}

impl Store {
    /// Opens the snapshot file at `path`, or creates it, and locks it.
    ///
    /// # Errors
    /// [`OpenError`]; what has become of the file is said there.
    pub fn open(path: &Path, limits: &StoreLimits) -> Result<(Self, OpenReport), OpenError> {
        Self::open_on(path, limits, Box::new(FileSystem))
    }

    /// The same, but a damaged file is replaced by one with all that is provably whole in it.
    /// The damaged one stays beside it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_or_salvage(
        path: &Path,
        limits: &StoreLimits,
    ) -> Result<(Self, OpenReport), OpenError> {
        let map = Map::open(path, limits.max_file_bytes, Box::new(FileSystem))?;
        let header = format::decode_header(&map.read(0));
        if map.is_blank() || !matches!(header, Ok(()) | Err(HeaderError::Checksum)) {
            return Self::load(map, limits);
        }
        let survey = map.survey().map_err(OpenError::io(path, "map it"))?;
        if header.is_ok() && survey.damage.total() == 0 {
            return Self::load(map, limits);
        }
        let salvaged = rewrite::salvage(&map, survey, limits)?;
        drop(map);
        let (store, report) = Self::open(path, limits)?;
        let report = OpenReport {
            salvaged: Some(salvaged),
            ..report
        };
        Ok((store, report))
    }

    pub(super) fn open_on(
        path: &Path,
        limits: &StoreLimits,
        disk: Box<dyn Disk>,
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::load(Map::open(path, limits.max_file_bytes, disk)?, limits)
    }

    /// A store in anonymous memory: the same code, and nothing outlives the process.
    ///
    /// # Errors
    /// [`OpenError::Io`] if the address space can't be had.
    pub fn anonymous(limits: &StoreLimits) -> Result<Self, OpenError> {
        let map = Map::anonymous(limits.max_file_bytes, Box::new(FileSystem))?;
        Ok(Self::load(map, limits)?.0)
    }

    fn load(map: Map, limits: &StoreLimits) -> Result<(Self, OpenReport), OpenError> {
        let path = map.path().to_owned();
        let failed = |action| OpenError::io(&path, action);
        let is_new = map.is_blank();
        if is_new {
            let created = SystemTime::now().duration_since(UNIX_EPOCH);
            let header = format::encode_header(created.map_or(0, |age| age.as_secs()));
            map.write_record(0, &[header]);
            map.sync_new().map_err(failed("write it"))?;
        }
        format::decode_header(&map.read(0)).map_err(|reason| OpenError::Unreadable {
            path: path.clone(),
            reason,
        })?;
        let survey = map.survey().map_err(failed("map it"))?;
        if survey.damage.total() > 0 {
            return Err(OpenError::Damaged {
                path,
                damage: survey.damage,
            });
        }
        let spare_cells = limits.max_spare_bytes / format::CELL_BYTES as u64;
        let spare_cells =
            u32::try_from(spare_cells).map_or(SPARE - 1, |cells| cells.min(SPARE - 1));
        // Without a file there is nothing that could not grow.
        let spare_cells = if map.has_file() {
            spare_cells.max(2)
        } else {
            2
        };
        let reserve = "reserve address space for it";
        let core = Core {
            dirty: Dirty::new(map.max_cells()).map_err(failed(reserve))?,
            memory: Memory {
                spare: Mapping::anonymous(0, spare_cells).map_err(failed(reserve))?,
                file: map,
            },
        };
        let is_crashed = !survey.is_closed && !is_new;
        let report = OpenReport {
            rooms: survey.index.len(),
            counters: survey.counters,
            was_closed: !is_crashed,
            restored_counts: survey.repairs.behind.len(),
            finished_resets: survey.repairs.resetting.len(),
            leftovers: survey.repairs.leftovers.len(),
            salvaged: None,
        };
        let store = Self {
            core: Arc::new(core),
            index: Mutex::new(Indices {
                places: survey.index,
                spares: Spares::default(),
                removed: Removed::default(),
                growth_error: None,
            }),
            maintenance: Mutex::default(),
            flushes: Mutex::default(),
            watch: Signal::default(),
            max_rooms: limits.max_rooms,
        };
        // From here on the file is open, whatever happens.
        store.core.set_closed(None).map_err(failed("write it"))?;
        store.core.memory.file.cell(0)[OWNER_WORD]
            .store(u64::from(std::process::id()), Ordering::Relaxed);
        if is_crashed {
            let repaired = store.repair(survey.repairs);
            repaired.map_err(failed("repair what a crash left of it"))?;
        }
        if store.core.memory.file.must_rewrite() {
            store.core.mark(0);
        }
        Ok((store, report))
    }

    /// Sets right what a crash has left. Waits for the disk: what this process sees in the page
    /// cache, such as cells that the last one has freed, must be on it before anything builds
    /// on that.
    fn repair(&self, repairs: Repairs) -> io::Result<()> {
        let file = &self.core.memory.file;
        let mut index = self.index();
        for (cell, count) in &repairs.behind {
            file.cell(*cell)[COUNT_WORD].store(*count, Ordering::Relaxed);
            self.core.mark(*cell);
        }
        for page in repairs.unsealed {
            self.core.mark(page * PAGE_CELLS);
        }
        for (room, resetting) in &repairs.resetting {
            for counter in index.places.counter_cells(*room) {
                if resetting.takes(&file.read(counter)) {
                    retire::zero(self, counter);
                }
            }
        }
        for cell in &repairs.leftovers {
            file.free(*cell);
        }
        // All of it: what was freed at the end is beyond what seems to be used.
        file.sync(0..file.cells())?;
        for (room, _) in &repairs.resetting {
            format::set_resetting(&file.cell(*room)[format::MARK_WORD], Resetting::No);
            self.core.mark(*room);
        }
        for cell in repairs.leftovers {
            index.places.free.give_back(cell, 1);
        }
        Ok(())
    }
}
