//! The snapshot file: its lock, its mapping, how it grows and how it is synced.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::dirty::PAGE_CELLS;
use super::disk::Disk;
use super::error::{OpenError, StoreError};
use super::format::{
    self, CELL_BYTES, Cell, DIGEST_CELL, FIRST_CELL, HeaderError, LENGTH_WORD, OWNER_WORD,
    REWRITE_WORD,
};
use super::mapping::{Cells, Mapping, View};
use super::survey::{Survey, survey};

/// The least that can be reserved, in bytes.
pub const MIN_FILE_BYTES: u64 = SEGMENT_BYTES;
/// The default of the most that the file can grow to, in bytes: address space, not memory.
pub const DEFAULT_MAX_FILE_BYTES: u64 = 16 << 30;
/// The most that the file can ever grow to, in bytes.
pub const MAX_FILE_BYTES: u64 = 128 << 30;
/// The file grows by this, or by an eighth of itself if that is more.
const SEGMENT_BYTES: u64 = 1 << 20;
const CELL: u64 = CELL_BYTES as u64;
/// Cells that are kept ready for the next records, where there is space for so many.
const CELLS_AHEAD: u32 = 1 << 15;
/// Cells that are kept ready where there is not.
const FEW_CELLS_AHEAD: u32 = 1 << 13;

// The highest bit of a cell's number is free for the cells that are not in the file.
const _: () = assert!(MAX_FILE_BYTES / CELL <= 1 << 31);

/// The mapped file.
#[derive(Debug)]
pub(super) struct Map {
    mapping: Mapping,
    file: Option<File>,
    path: PathBuf,
    disk: Box<dyn Disk>,
    /// Held by the one thread that grows the file.
    growth: Mutex<()>,
    /// How many cells could be had ahead of what is used.
    ahead: AtomicU32,
}

impl Deref for Map {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.mapping
    }
}

impl Map {
    /// Opens and locks the file, and maps what it has.
    pub(super) fn open(
        path: &Path,
        max_file_bytes: u64,
        disk: Box<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let failed = |action| OpenError::io(path, action);
        let file = open_locked(path, true)?;
        let length_bytes = file.metadata().map_err(failed("read its size"))?.len();
        if length_bytes > 0 && length_bytes < u64::from(FIRST_CELL) * CELL {
            return Err(OpenError::Unreadable {
                path: path.to_owned(),
                reason: HeaderError::Truncated(length_bytes),
            });
        }
        refuse_foreign(&file, path, max_file_bytes)?;
        let max_cells = max_cells(max_file_bytes);
        let cells = (length_bytes / CELL) as u32;
        let map = Self {
            mapping: Mapping::of_file(&file, cells, max_cells).map_err(failed("map it"))?,
            file: Some(file),
            path: path.to_owned(),
            disk,
            growth: Mutex::default(),
            ahead: AtomicU32::new(CELLS_AHEAD),
        };
        // Before anything is written, or read on a file system in memory: a hole would have to
        // be filled then, and where it can't be that raises SIGBUS.
        map.fill_holes().map_err(failed("allocate it"))?;
        if length_bytes == 0 {
            map.grow_to(FIRST_CELL).map_err(|error| {
                failed("allocate it")(match error {
                    StoreError::Grow(source) => source,
                    other => io::Error::other(other),
                })
            })?;
        }
        Ok(map)
    }

    /// The same without a file.
    pub(super) fn anonymous(max_file_bytes: u64, disk: Box<dyn Disk>) -> Result<Self, OpenError> {
        let path = Path::new("(memory)");
        let mapping = Mapping::anonymous(FIRST_CELL, max_cells(max_file_bytes))
            .map_err(OpenError::io(path, "reserve address space for it"))?;
        Ok(Self {
            mapping,
            file: None,
            path: path.to_owned(),
            disk,
            growth: Mutex::default(),
            ahead: AtomicU32::new(CELLS_AHEAD),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A look at everything through a mapping of its own: with that go the pages that were
    /// touched, which otherwise count as this process's memory from then on.
    pub(super) fn survey(&self) -> io::Result<Survey> {
        match &self.file {
            Some(file) => Ok(survey(&View::of_file(file, self.cells())?)),
            None => Ok(survey(&self.mapping)),
        }
    }

    /// Such a mapping, if there is a file and it can be had.
    pub(super) fn view(&self) -> Option<View> {
        let file = self.file.as_ref()?;
        View::of_file(file, self.cells()).ok()
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether the file has never had a whole header: a process that died while it created it
    /// leaves zeros, but for the words of the header that come before the magic.
    pub(super) fn is_blank(&self) -> bool {
        let is_zero = |cell| self.read(cell) == [0; 8];
        self.read(0)[0] == 0 && (1..self.cells()).all(is_zero)
    }

    /// Gives blocks to what a copy of the file may have left as holes: writing to one on a full
    /// disk would raise SIGBUS.
    fn fill_holes(&self) -> io::Result<()> {
        match &self.file {
            Some(file) if self.cells() > 0 => self.disk.allocate(file, 0..self.cells()),
            _ => Ok(()),
        }
    }

    /// Makes sure that there are `cells` cells.
    pub(super) fn grow_to(&self, cells: u32) -> Result<(), StoreError> {
        if cells <= self.cells() {
            return Ok(());
        }
        if cells > self.max_cells() {
            return Err(StoreError::Full);
        }
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.cells();
        if cells <= held {
            return Ok(());
        }
        let held_bytes = u64::from(held) * CELL;
        let wanted =
            (held_bytes + SEGMENT_BYTES.max(held_bytes / 8)).next_multiple_of(SEGMENT_BYTES);
        let wanted = (wanted / CELL).max(u64::from(cells));
        let grown = wanted.min(u64::from(self.max_cells())) as u32;
        if let Some(file) = &self.file {
            let allocate = |end| self.disk.allocate(file, held..end).map(|()| end);
            // Where there is not so much space, what is needed may still fit.
            let allocated = allocate(grown).or_else(|_| allocate(cells));
            self.extend_to(allocated.map_err(StoreError::Grow)?);
        } else {
            self.extend_to(grown);
        }
        Ok(())
    }

    /// Makes sure that the next records find room: whoever writes them does not wait for the
    /// file to grow.
    pub(super) fn grow_ahead(&self, used_cells: u32) -> Result<(), StoreError> {
        let grow = |ahead| {
            let cells = used_cells.saturating_add(ahead);
            self.grow_to(cells.min(self.max_cells()))?;
            self.ahead.store(ahead, Ordering::Relaxed);
            Ok(())
        };
        grow(CELLS_AHEAD).or_else(|_: StoreError| grow(FEW_CELLS_AHEAD))
    }

    /// Whether less is ready for the next records than there should be, and more may be had.
    pub(super) fn is_running_low(&self, used_cells: u32) -> bool {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let may_grow = self.has_file() && self.cells() < self.max_cells();
        may_grow && self.cells() - used_cells < ahead / 2
    }

    /// Writes what has changed of `cells` to the disk and waits for it; all cells, if that has
    /// failed before: the kernel takes pages for clean once it has tried to write them, even in
    /// vain, and tells only one of those who ask. The file remembers that across the death of
    /// the process.
    pub(super) fn sync(&self, cells: Range<u32>) -> io::Result<()> {
        if self.file.is_none() || cells.is_empty() {
            return Ok(());
        }
        let rewrite = &self.cell(DIGEST_CELL)[REWRITE_WORD];
        let is_again = rewrite.load(Ordering::Relaxed) != 0;
        let cells = if is_again { 0..self.cells() } else { cells };
        if is_again {
            (0..cells.end)
                .step_by(PAGE_CELLS as usize)
                .for_each(|it| self.touch(it));
        }
        let synced = self.disk.sync_cells(&self.mapping, cells);
        match &synced {
            Ok(()) if is_again => rewrite.store(0, Ordering::Relaxed),
            Ok(()) => {}
            Err(_) => self.rewrite_all(),
        }
        synced
    }

    /// Lets the next sync write everything.
    fn rewrite_all(&self) {
        self.cell(DIGEST_CELL)[REWRITE_WORD].store(1, Ordering::Relaxed);
    }

    /// Whether everything must be written again.
    pub(super) fn must_rewrite(&self) -> bool {
        self.read(DIGEST_CELL)[REWRITE_WORD] != 0
    }

    /// Makes the page of a cell dirty for the kernel, without a change.
    fn touch(&self, cell: u32) {
        let word = &self.cell(cell)[0];
        let value = word.load(Ordering::Relaxed);
        // If it fails, another has just written to it.
        let _ = word.compare_exchange(value, value, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Makes the file's size safe, and writes it down in the header, for the next sync: a file
    /// that is shorter than that has lost something. Returns whether it changed the header.
    pub(super) fn sync_length(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let cells = self.cells();
        let header = self.read(0);
        let is_new = format::read_length(&header) != Ok(cells);
        if is_new {
            let synced = self.disk.sync_file(file);
            synced.inspect_err(|_| self.rewrite_all())?;
            self.cell(0)[LENGTH_WORD].store(format::length_mark(&header, cells), Ordering::Relaxed);
        }
        Ok(is_new)
    }

    /// Makes the file as short as what is used of it. What lies beyond must not be touched again.
    pub(super) fn trim(&self, used_cells: u32) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        // The mark first: a file that is shorter than it says has lost something.
        let header = self.read(0);
        let mark = format::length_mark(&header, used_cells);
        self.cell(0)[LENGTH_WORD].store(mark, Ordering::Relaxed);
        self.sync(0..FIRST_CELL)?;
        file.set_len(u64::from(used_cells) * CELL)?;
        self.disk.sync_file(file)
    }

    /// Syncs a new file, and the directory that it is in.
    pub(super) fn sync_new(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        self.sync(0..FIRST_CELL)?;
        self.disk.sync_file(file)?;
        File::open(directory_of(&self.path))?.sync_all()
    }
}

/// The directory that a file is in.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn max_cells(max_file_bytes: u64) -> u32 {
    (max_file_bytes.clamp(MIN_FILE_BYTES, MAX_FILE_BYTES) / CELL) as u32
}

/// A snapshot file that nobody else may use as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// Whose name was in the file before.
    owner_before: Option<[u8; 8]>,
}

impl Lock {
    /// Locks the file, which must be there unless it may be created, and changes nothing but the
    /// name of its holder, as long as this lives.
    ///
    /// # Errors
    /// [`OpenError`]; the file is then as it was.
    pub fn of(path: &Path, may_create: bool) -> Result<Self, OpenError> {
        let file = open_locked(path, may_create)?;
        refuse_foreign(&file, path, MAX_FILE_BYTES)?;
        let failed = |action| OpenError::io(path, action);
        let length = file.metadata().map_err(failed("look at it"))?.len();
        let mut lock = Self {
            file,
            owner_before: None,
        };
        if length >= u64::from(FIRST_CELL) * CELL {
            let mut before = [0; 8];
            let place = OWNER_WORD as u64 * 8;
            let read = lock.file.read_exact_at(&mut before, place);
            read.map_err(failed("read it"))?;
            // For whoever is refused meanwhile.
            let pid = u64::from(std::process::id()).to_le_bytes();
            let written = lock.file.write_all_at(&pid, place);
            written.map_err(failed("write it"))?;
            lock.owner_before = Some(before);
        }
        Ok(lock)
    }

    /// Removes the file that was only made to be locked, if nothing has come of it.
    pub fn remove_empty(&self, path: &Path) {
        let is_it = |there: &Metadata, held: &Metadata| {
            held.len() == 0 && (there.dev(), there.ino()) == (held.dev(), held.ino())
        };
        if let (Ok(there), Ok(held)) = (std::fs::metadata(path), self.file.metadata())
            && is_it(&there, &held)
        {
            // If it stays, it is a snapshot without rooms.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(before) = self.owner_before {
            // It only tells whom to ask.
            let _ = self.file.write_all_at(&before, OWNER_WORD as u64 * 8);
        }
    }
}

/// Refuses what is certainly no snapshot, or too large a one, before anything is done to it.
fn refuse_foreign(file: &File, path: &Path, max_file_bytes: u64) -> Result<(), OpenError> {
    let failed = |action| OpenError::io(path, action);
    let length_bytes = file.metadata().map_err(failed("look at it"))?.len();
    let mut bytes = [0; CELL_BYTES];
    file.read_at(&mut bytes, 0).map_err(failed("read it"))?;
    let mut header = Cell::default();
    for (word, piece) in header.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = piece
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    let decoded = format::decode_header(&header);
    // It may be one that was only just created.
    let may_be_new = format::is_unfinished(&header);
    match decoded {
        Err(reason) if reason != HeaderError::Checksum && !may_be_new => {
            Err(OpenError::Unreadable {
                path: path.to_owned(),
                reason,
            })
        }
        _ if length_bytes > u64::from(max_cells(max_file_bytes)) * CELL => {
            Err(OpenError::TooLarge {
                path: path.to_owned(),
                length_bytes,
            })
        }
        Err(reason @ HeaderError::NotASnapshot)
            if !is_zero_from(file, CELL).map_err(failed("read it"))? =>
        {
            Err(OpenError::Unreadable {
                path: path.to_owned(),
                reason,
            })
        }
        _ => Ok(()),
    }
}

/// Whether nothing but zeros follows.
fn is_zero_from(file: &File, mut at: u64) -> io::Result<bool> {
    let mut bytes = vec![0; SEGMENT_BYTES as usize];
    loop {
        let length = file.read_at(&mut bytes, at)?;
        if length == 0 {
            return Ok(true);
        }
        if bytes[..length].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += length as u64;
    }
}

/// Opens the file and locks it. If another has been put in its place meanwhile, as compaction
/// does, that one.
fn open_locked(path: &Path, may_create: bool) -> Result<File, OpenError> {
    let failed = |action| OpenError::io(path, action);
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(may_create)
            .truncate(false)
            .open(path)
            .map_err(failed("open it"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = [0; 8];
                // A holder that is just creating the file has no pid in it yet.
                let _ = file.read_at(&mut pid, OWNER_WORD as u64 * 8);
                return Err(OpenError::Locked {
                    path: path.to_owned(),
                    pid: u64::from_le_bytes(pid) as u32,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock it")(source)),
        }
        let held = file.metadata().map_err(failed("look at it"))?;
        match std::fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => {
                return Ok(file);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("look at it")(source)),
        }
    }
}
