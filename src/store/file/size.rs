//! Sizes of the file.

use crate::store::format::CELL_BYTES;

/// Minimum of the limit on the file's size, in bytes.
pub const MIN_FILE_BYTES: u64 = 1 << 20;
/// Default maximum size of the file, in bytes: address space, not memory.
pub(crate) const DEFAULT_MAX_FILE_BYTES: u64 = 16 << 30;
/// Maximum of the limit on the file's size, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 128 << 30;

/// The file grows by this, or by an eighth of itself if that is more. Also the alignment.
pub(super) const SEGMENT_CELLS: u32 = (1 << 20) / CELL_BYTES as u32;
/// Number of cells that are kept ready for the next records, where there is enough space.
pub(super) const CELLS_AHEAD: u32 = 1 << 15;
/// Number of cells that are kept ready where space is short.
pub(super) const FEW_CELLS_AHEAD: u32 = 1 << 13;

// The highest bit of a cell's number is free to mark overflow cells.
const _: () = assert!(MAX_FILE_BYTES / CELL_BYTES as u64 <= 1 << 31);

/// Number of cells in a file of at most `max_file_bytes`, within what a file can be.
pub(super) fn max_cells(max_file_bytes: u64) -> u32 {
    (max_file_bytes.clamp(MIN_FILE_BYTES, MAX_FILE_BYTES) / CELL_BYTES as u64) as u32
}
