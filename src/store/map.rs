//! The mapped file: one reserved mapping that the file grows into, its lock and its sync.
//!
//! One of the crate's two homes of `unsafe`. All of it is in [`Map::cell`], which turns a bounds-
//! checked place in the mapping into eight atomics; nothing else ever refers to the mapping's
//! memory, so no `&mut` and no `&[u8]` aliases it, and concurrent changes, also those of another
//! process that writes to the file in spite of the lock, are changes of atomics.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use rustix::io::Errno;

use super::format::{CELL_BYTES, Cell, FIRST_CELL, HeaderError, OWNER_WORD};
use super::{OpenError, StoreError};

/// The least that can be reserved, in bytes.
pub const MIN_FILE_BYTES: u64 = SEGMENT_BYTES;
/// The default of the most that the file can grow to, in bytes: address space, not memory.
pub const DEFAULT_MAX_FILE_BYTES: u64 = 16 << 30;
/// The most that the file can ever grow to, in bytes.
pub const MAX_FILE_BYTES: u64 = 128 << 30;
/// The file grows by this, or by an eighth of itself if that is more.
const SEGMENT_BYTES: u64 = 1 << 20;
const CELL: u64 = CELL_BYTES as u64;
/// Cells that are kept ready for the next records.
const CELLS_AHEAD: u32 = (SEGMENT_BYTES / CELL / 2) as u32;
/// How long a file that could not grow is not tried again.
const GROW_RETRY: Duration = Duration::from_secs(1);

const _: () = assert!(MAX_FILE_BYTES / CELL <= u32::MAX as u64);
const _: () =
    assert!(align_of::<[AtomicU64; 8]>() == 8 && size_of::<[AtomicU64; 8]>() == CELL_BYTES);

#[derive(Debug)]
pub(super) struct Map {
    memory: MmapRaw,
    file: Option<File>,
    path: PathBuf,
    /// How many cells the file backs: what lies beyond must not be touched. Only grows.
    cells: AtomicU32,
    /// Held by the one thread that grows the file; what came of it when it last failed.
    growth: Mutex<Option<(Instant, io::ErrorKind)>>,
    max_cells: u32,
}

impl Map {
    pub(super) fn open(path: &Path, max_file_bytes: u64) -> Result<Self, OpenError> {
        let failed = |action: &'static str| {
            move |source: io::Error| OpenError::Io {
                path: path.to_owned(),
                action,
                source,
            }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
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
        let length_bytes = file.metadata().map_err(failed("read its size"))?.len();
        let header_bytes = u64::from(FIRST_CELL) * CELL;
        if length_bytes > 0 && length_bytes < header_bytes {
            return Err(OpenError::Unreadable {
                path: path.to_owned(),
                reason: HeaderError::Truncated(length_bytes),
            });
        }
        let max_file_bytes = max_file_bytes.clamp(MIN_FILE_BYTES, MAX_FILE_BYTES);
        if length_bytes > max_file_bytes {
            return Err(OpenError::TooLarge {
                path: path.to_owned(),
                length_bytes,
            });
        }
        let memory = MmapOptions::new()
            .len(max_file_bytes as usize)
            .map_raw(&file)
            .map_err(failed("map it"))?;
        let map = Self {
            memory,
            file: Some(file),
            path: path.to_owned(),
            cells: AtomicU32::new((length_bytes / CELL) as u32),
            growth: Mutex::default(),
            max_cells: (max_file_bytes / CELL) as u32,
        };
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

    pub(super) fn anonymous(max_file_bytes: u64) -> Result<Self, OpenError> {
        let max_file_bytes = max_file_bytes.clamp(MIN_FILE_BYTES, MAX_FILE_BYTES);
        let memory = MmapOptions::new()
            .len(max_file_bytes as usize)
            .no_reserve_swap()
            .map_anon()
            .map_err(|source| OpenError::Io {
                path: PathBuf::from("(memory)"),
                action: "reserve address space for it",
                source,
            })?;
        Ok(Self {
            memory: memory.into(),
            file: None,
            path: PathBuf::from("(memory)"),
            cells: AtomicU32::new(FIRST_CELL),
            growth: Mutex::default(),
            max_cells: (max_file_bytes / CELL) as u32,
        })
    }

    /// How many cells there are.
    #[inline]
    pub(super) fn cells(&self) -> u32 {
        self.cells.load(Ordering::Acquire)
    }

    /// Whether the file has never had a whole header: a process that died while it created it
    /// leaves zeros, but for the words of the header that come before the magic.
    pub(super) fn is_blank(&self) -> bool {
        let is_zero = |cell| self.read(cell) == [0; 8];
        self.read(0)[0] == 0 && (1..self.cells()).all(is_zero)
    }

    /// The cell at `index`.
    ///
    /// # Panics
    /// If there is no such cell. Indices come from `allocate` and from checked links only.
    #[inline]
    pub(super) fn cell(&self, index: u32) -> &[AtomicU64; 8] {
        assert!(index < self.cells(), "cell {index} is not in the snapshot");
        let offset = index as usize * CELL_BYTES;
        // SAFETY:
        // - In bounds: `cells` never exceeds `max_cells`, for which the mapping is long enough,
        //   nor what `fallocate` has given the file, so the memory is mapped and backed. It would
        //   not be if another program truncated the file: that raises SIGBUS, which ends the
        //   process and corrupts nothing.
        // - Aligned: the mapping is page-aligned, and 64 is a multiple of 8.
        // - Valid: every bit pattern is a u64, and the pages of a new file are zeros.
        // - Aliasing: this function is the only way to the memory, and gives shared atomics.
        // - Lifetime: the mapping never moves, and lives as long as `self`.
        unsafe {
            &*self
                .memory
                .as_mut_ptr()
                .add(offset)
                .cast::<[AtomicU64; 8]>()
        }
    }

    /// A copy of the cell at `index`.
    #[inline]
    pub(super) fn read(&self, index: u32) -> Cell {
        self.cell(index)
            .each_ref()
            .map(|word| word.load(Ordering::Acquire))
    }

    /// Writes a new record: everything else before the first word, which commits it.
    pub(super) fn write_record(&self, first: u32, cells: &[Cell]) {
        for (offset, cell) in cells.iter().enumerate().rev() {
            let place = self.cell(first + offset as u32);
            for (word, value) in place.iter().zip(cell).skip(1) {
                word.store(*value, Ordering::Relaxed);
            }
            place[0].store(cell[0], Ordering::Release);
        }
    }

    /// Gives blocks to what a copy of the file may have left as holes: writing to one on a full
    /// disk would raise SIGBUS.
    pub(super) fn fill_holes(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let length_bytes = u64::from(self.cells()) * CELL;
        match fallocate(file, 0, length_bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes sure that there are `cells` cells.
    pub(super) fn grow_to(&self, cells: u32) -> Result<(), StoreError> {
        if cells <= self.cells() {
            return Ok(());
        }
        if cells > self.max_cells {
            return Err(StoreError::Full);
        }
        let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.cells();
        if cells <= held {
            return Ok(());
        }
        if let Some((at, kind)) = *growth
            && at.elapsed() < GROW_RETRY
        {
            return Err(StoreError::Grow(kind.into()));
        }
        let held_bytes = u64::from(held) * CELL;
        let wanted =
            (held_bytes + SEGMENT_BYTES.max(held_bytes / 8)).next_multiple_of(SEGMENT_BYTES);
        let wanted = wanted.max(u64::from(cells) * CELL);
        let length_bytes = wanted.min(u64::from(self.max_cells) * CELL);
        if let Some(file) = &self.file {
            let allocated = allocate(file, held_bytes, length_bytes);
            *growth = allocated
                .as_ref()
                .err()
                .map(|error| (Instant::now(), error.kind()));
            allocated.map_err(StoreError::Grow)?;
        }
        self.cells
            .store((length_bytes / CELL) as u32, Ordering::Release);
        Ok(())
    }

    /// Makes sure that the next records find room, so that whoever writes them need not wait for
    /// the file to grow.
    pub(super) fn grow_ahead(&self, used_cells: u32) -> Result<(), StoreError> {
        let ahead = used_cells.saturating_add(CELLS_AHEAD).min(self.max_cells);
        self.grow_to(ahead)
    }

    /// Syncs the first `used_cells` cells.
    pub(super) fn sync(&self, used_cells: u32) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        self.memory.flush_range(0, used_cells as usize * CELL_BYTES)
    }

    /// Syncs a new file, and the directory that it is in.
    pub(super) fn sync_new(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        self.sync(FIRST_CELL)?;
        file.sync_all()?;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)?.sync_all()
    }
}

/// Gives the file blocks, so that a full disk is an error here and not SIGBUS later.
fn allocate(file: &File, held_bytes: u64, length_bytes: u64) -> io::Result<()> {
    let more = length_bytes - held_bytes;
    match fallocate(file, held_bytes, more) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, held_bytes, length_bytes),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(target_os = "linux")]
fn fallocate(file: &File, offset: u64, length: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), offset, length)
}

#[cfg(not(target_os = "linux"))]
fn fallocate(_: &File, _: u64, _: u64) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// For file systems and systems without `fallocate`: blocks are had by writing to them.
fn write_zeros(file: &File, held_bytes: u64, length_bytes: u64) -> io::Result<()> {
    let zeros = [0; 1 << 16];
    let mut at = held_bytes;
    while at < length_bytes {
        let length = (length_bytes - at).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
