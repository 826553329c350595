//! Opening a store: loads what the file holds, and repairs what a crash has left.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::catalog::Catalog;
use super::cells::CellSource;
use super::close::mark_open;
use super::damage::DamageReport;
use super::dirty::DirtyPages;
use super::disk::{Disk, FileSystem};
use super::error::OpenError;
use super::file::SnapshotFile;
use super::format::{self, CELL_BYTES, CellId, Resetting};
use super::handle::{Store, StoreLimits};
use super::mapping::Mapping;
use super::space::CellSpace;
use super::survey::{Repairs, Survey, survey_file};

/// Maximum number of overflow cells.
const MAX_OVERFLOW_CELLS: u32 = (1 << 31) - 1;
/// Minimum number of overflow cells; the first is never used.
const MIN_OVERFLOW_CELLS: u32 = 2;

/// What was found when a store was opened.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Number of rooms.
    pub rooms: usize,
    /// Number of counters.
    pub counters: usize,
    /// Whether the file was there, but held nothing or only zeros, and is taken for a new one.
    pub was_empty: bool,
    /// Whether the file was closed in order, or is new.
    pub was_closed: bool,
    /// Number of counts that were behind their sealed copies, and were set to them.
    pub restored_counts: usize,
    /// Number of rooms whose interrupted reset was finished.
    pub finished_resets: usize,
    /// Number of cells that a crash left unfinished, and that are free now.
    pub leftovers: usize,
    /// What was salvaged, if the file was damaged.
    pub salvaged: Option<Salvaged>,
}

/// What salvage has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// Where the damaged original is now.
    pub original: PathBuf,
    /// What is damaged in it.
    pub damage: DamageReport,
    /// Number of counts that could not be proven, and were left out.
    pub lost_counts: usize,
}

impl Store {
    /// Opens the snapshot file at `path`, or creates it, and locks it.
    ///
    /// # Errors
    /// [`OpenError`], which says what becomes of the file.
    pub fn open(path: &Path, limits: &StoreLimits) -> Result<(Self, OpenReport), OpenError> {
        Self::open_on(path, limits, Box::new(FileSystem))
    }

    /// Opens the snapshot file at `path` on a disk that tests can replace.
    pub(super) fn open_on(
        path: &Path,
        limits: &StoreLimits,
        disk: Box<dyn Disk>,
    ) -> Result<(Self, OpenReport), OpenError> {
        Self::load(
            SnapshotFile::open(path, limits.max_file_bytes, disk)?,
            limits,
        )
    }

    /// Makes a store in anonymous memory, which works like one with a file, but ends with the
    /// process.
    ///
    /// # Errors
    /// [`OpenError::Io`] if the address space can't be reserved.
    pub fn anonymous(limits: &StoreLimits) -> Result<Self, OpenError> {
        let file = SnapshotFile::anonymous(limits.max_file_bytes, Box::new(FileSystem))?;
        Ok(Self::load(file, limits)?.0)
    }

    /// Whether users other than the owner and the group can open the file, and so take its lock.
    pub(crate) fn is_open_to_others(&self) -> bool {
        const OTHERS: u32 = 0o007;
        let metadata = self.space.file.file().map(File::metadata);
        metadata.is_some_and(|it| it.is_ok_and(|it| it.mode() & OTHERS != 0))
    }

    /// Loads the file, which is locked.
    pub(super) fn load(
        file: SnapshotFile,
        limits: &StoreLimits,
    ) -> Result<(Self, OpenReport), OpenError> {
        let path = file.path().to_owned();
        let failed = |action| OpenError::io(&path, action);
        let is_new = file.is_blank();
        if is_new {
            write_header(&file).map_err(failed("write it"))?;
        }
        file.header()
            .check()
            .map_err(|reason| OpenError::Unreadable {
                path: path.clone(),
                reason,
            })?;
        let survey = survey_file(&file).map_err(failed("map it"))?;
        if !survey.damage.is_empty() {
            return Err(OpenError::Damaged {
                path,
                damage: survey.damage,
            });
        }
        let is_crashed = !survey.is_closed && !is_new;
        let mut report = report(&survey, !is_crashed);
        report.was_empty = is_new && file.was_found();
        let space = reserve(file, limits).map_err(failed("reserve address space for it"))?;
        let catalog = Catalog::new(survey.index, survey.free);
        let store = Self::new(space, catalog, limits.max_rooms);
        // From here on the file counts as open, even if a later step fails.
        mark_open(&store.space).map_err(failed("write it"))?;
        let header = store.space.file.header_words();
        header.set_owner(std::process::id());
        if is_crashed {
            store
                .repair(survey.repairs)
                .map_err(failed("repair what a crash left of it"))?;
        }
        if header.must_rewrite() {
            store.space.mark(CellId::HEADER);
        }
        Ok((store, report))
    }

    /// Repairs what a crash has left, and waits for the disk. Some of what this process sees in
    /// the page cache, such as cells that the last process freed, may not be on the disk. It must
    /// be before anything builds on it.
    fn repair(&self, repairs: Repairs) -> io::Result<()> {
        let space = &self.space;
        let mut catalog = self.catalog();
        for (counter, count) in &repairs.behind {
            space.counter(*counter).restore_count(*count);
            space.mark(counter.cell());
        }
        space.mark_pages(repairs.unsealed);
        for (room, resetting) in &repairs.resetting {
            for counter in catalog.index.counters(*room) {
                if resetting.takes(&space.counter_cell(counter)) {
                    space.zero(counter);
                }
            }
        }
        for cell in &repairs.leftovers {
            space.file.free(*cell);
        }
        // The whole file: cells that were freed at the end are beyond what seems to be used.
        space.file.sync(CellId::HEADER..space.file.end())?;
        for (room, _) in &repairs.resetting {
            space.set_resetting(*room, Resetting::No);
        }
        for cell in repairs.leftovers {
            catalog.free.give_back(cell, 1);
        }
        Ok(())
    }
}

fn write_header(file: &SnapshotFile) -> io::Result<()> {
    let created = SystemTime::now().duration_since(UNIX_EPOCH);
    let header = format::encode_header(created.map_or(0, |age| age.as_secs()));
    file.write_record(CellId::HEADER, &[header]);
    file.sync_new()
}

/// Reserves the memory that a store needs in addition to the file.
fn reserve(file: SnapshotFile, limits: &StoreLimits) -> io::Result<CellSpace> {
    let overflow_cells = limits.max_overflow_bytes / CELL_BYTES as u64;
    let overflow_cells = u32::try_from(overflow_cells).unwrap_or(MAX_OVERFLOW_CELLS);
    let overflow_cells = if file.has_file() {
        overflow_cells.clamp(MIN_OVERFLOW_CELLS, MAX_OVERFLOW_CELLS)
    } else {
        // Anonymous memory can always grow.
        MIN_OVERFLOW_CELLS
    };
    Ok(CellSpace {
        dirty: DirtyPages::new(file.max_cells())?,
        overflow: Mapping::anonymous(0, overflow_cells)?,
        file,
    })
}

fn report(survey: &Survey, was_closed: bool) -> OpenReport {
    OpenReport {
        rooms: survey.index.len(),
        counters: survey.counters,
        was_empty: false,
        was_closed,
        restored_counts: survey.repairs.behind.len(),
        finished_resets: survey.repairs.resetting.len(),
        leftovers: survey.repairs.leftovers.len(),
        salvaged: None,
    }
}
