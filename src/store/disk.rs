//! What the store asks of the file system, apart from the mapping. Tests replace it by a disk
//! that fails or is slow.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::io::Errno;

use super::format::CellId;
use super::mapping::Mapping;

/// A disk with the snapshot file on it.
pub(super) trait Disk: Debug + Send + Sync {
    /// Gives the file blocks for `cells`, so that a full disk is an error here and not a SIGBUS
    /// later. The content of the file stays.
    fn allocate(&self, file: &File, cells: Range<CellId>) -> io::Result<()>;

    /// Writes the changed pages of `cells`, and waits for it.
    fn sync_cells(&self, mapping: &Mapping, cells: Range<CellId>) -> io::Result<()>;

    /// Writes the file's size and everything else of it, and waits for it.
    fn sync_file(&self, file: &File) -> io::Result<()>;
}

/// The real file system.
#[derive(Debug)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn allocate(&self, file: &File, cells: Range<CellId>) -> io::Result<()> {
        let start = cells.start.byte_offset();
        let end = cells.end.byte_offset();
        match fallocate(file, start, end - start) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => extend_with_zeros(file, end),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync_cells(&self, mapping: &Mapping, cells: Range<CellId>) -> io::Result<()> {
        mapping.sync(cells)
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

/// Allocates blocks by writing zeros from the end of the file up to `end`, where there is no
/// `fallocate`. Holes that the file has already stay.
fn extend_with_zeros(file: &File, end: u64) -> io::Result<()> {
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
