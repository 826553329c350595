//! What the store asks of the file system beyond the mapping. Tests put one in its place that
//! fails or is slow.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::io::Errno;

use super::format::CELL_BYTES;
use super::mapping::Mapping;

pub(super) trait Disk: Debug + Send + Sync {
    /// Gives the file blocks for `cells`, so that a full disk is an error here and not SIGBUS
    /// later. What it holds stays.
    fn allocate(&self, file: &File, cells: Range<u32>) -> io::Result<()>;

    /// Writes what has changed of `cells` and waits for it.
    fn sync_cells(&self, mapping: &Mapping, cells: Range<u32>) -> io::Result<()>;

    /// Writes the file's size, and all else of it, and waits for it.
    fn sync_file(&self, file: &File) -> io::Result<()>;
}

/// The file system itself.
#[derive(Debug)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn allocate(&self, file: &File, cells: Range<u32>) -> io::Result<()> {
        let start = u64::from(cells.start) * CELL_BYTES as u64;
        let end = u64::from(cells.end) * CELL_BYTES as u64;
        match fallocate(file, start, end - start) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros_from_its_end(file, end),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync_cells(&self, mapping: &Mapping, cells: Range<u32>) -> io::Result<()> {
        mapping.flush(cells)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
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

/// For file systems and systems without `fallocate`: blocks are had by writing to them. Holes
/// that a file has already stay.
fn write_zeros_from_its_end(file: &File, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;

    let zeros = [0; 1 << 16];
    let mut at = file.metadata()?.len();
    while at < end {
        let length = (end - at).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
