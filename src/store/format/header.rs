//! The header: what kind of file it is, and how it was left.

use thiserror::Error;

use super::{CELL_BYTES, Cell, Damage, checked, checksum, halves, read_checked, with_checksum};

/// The version that this code reads and writes.
pub const VERSION: u32 = 2;

/// The word of the header that holds the owner's pid.
pub(in super::super) const OWNER_WORD: usize = 4;
/// The word of the header that says whether the file was closed in order.
pub(in super::super) const CLOSED_WORD: usize = 5;
/// The word of the header that says how many cells the file is sure to have.
pub(in super::super) const LENGTH_WORD: usize = 6;
/// The word of the header that counts how often something has gone.
pub(in super::super) const GONE_WORD: usize = 7;

/// The cell of the header that holds what did not fit into the first.
pub(in super::super) const DIGEST_CELL: u32 = 1;
/// Its word that says what all records were when the file was closed in order.
pub(in super::super) const DIGEST_WORD: usize = 0;
/// Its word that says that everything must be written to the disk again.
pub(in super::super) const REWRITE_WORD: usize = 1;

const MAGIC: u64 = u64::from_le_bytes(*b"OVATION1");
const CLOSED: u64 = u64::from_le_bytes(*b"closed  ");
const LENGTH: u64 = u64::from_le_bytes(*b"length  ");
const DIGEST: u64 = u64::from_le_bytes(*b"digest  ");

/// Why a header is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Another kind of file.
    #[error("it is not a snapshot of Ovation (no magic at offset 0)")]
    NotASnapshot,
    /// Written by an older or a newer server.
    #[error("it has version {0} (at offset 8), and this server reads version {VERSION}")]
    Version(u32),
    /// Damaged.
    #[error("its header is damaged (checksum at offset 12); --salvage may help")]
    Checksum,
    /// Shorter than a header.
    #[error("it has {0} bytes, less than a header")]
    Truncated(u64),
}

/// The header of a new file.
pub fn encode_header(created_unix_seconds: u64) -> Cell {
    let mut cell = [0; 8];
    cell[0] = MAGIC;
    cell[2] = CELL_BYTES as u64;
    cell[3] = created_unix_seconds;
    cell[1] = with_checksum(VERSION, header_checksum(&cell, VERSION));
    cell
}

/// Checks a header.
///
/// # Errors
/// [`HeaderError`] says what is wrong with it.
pub fn decode_header(cell: &Cell) -> Result<(), HeaderError> {
    let (version, checksum) = halves(cell[1]);
    if cell[0] != MAGIC {
        let mut with_magic = *cell;
        with_magic[0] = MAGIC;
        // With it all the rest is right, so it is the magic that was damaged.
        if header_checksum(&with_magic, version) == checksum {
            return Err(HeaderError::Checksum);
        }
        return Err(HeaderError::NotASnapshot);
    }
    if header_checksum(cell, version) != checksum {
        return Err(HeaderError::Checksum);
    }
    if version != VERSION || cell[2] != CELL_BYTES as u64 {
        return Err(HeaderError::Version(version));
    }
    Ok(())
}

/// Whether this may be the header of a file whose first process died while it wrote it: all but
/// the magic, or less.
pub(in super::super) fn is_unfinished(header: &Cell) -> bool {
    header[0] == 0
        && (header[1] == 0 || halves(header[1]).0 == VERSION)
        && (header[2] == 0 || header[2] == CELL_BYTES as u64)
        && header[OWNER_WORD..].iter().all(|word| *word == 0)
}

/// The word of a file that was closed with this many cells in use.
pub(in super::super) fn closed_mark(header: &Cell, used_cells: u32) -> u64 {
    checked(used_cells, CLOSED, header[3])
}

/// How many cells were in use when the file was closed in order; `None` if it was not.
pub(in super::super) fn read_closed(header: &Cell) -> Result<Option<u32>, Damage> {
    read_checked(header[CLOSED_WORD], CLOSED, header[3])
        .map_err(|()| Damage("the mark of a file that was closed in order"))
}

/// The word of a file that is sure to have this many cells.
pub(in super::super) fn length_mark(header: &Cell, cells: u32) -> u64 {
    checked(cells, LENGTH, header[3])
}

/// How many cells the file must have at least.
pub(in super::super) fn read_length(header: &Cell) -> Result<u32, Damage> {
    read_checked(header[LENGTH_WORD], LENGTH, header[3])
        .map(Option::unwrap_or_default)
        .map_err(|()| Damage("the file's length"))
}

/// The word of a file whose records have this digest.
pub(in super::super) fn digest_mark(header: &Cell, digest: u32) -> u64 {
    checked(digest, DIGEST, header[3])
}

/// The digest that the records had when the file was closed in order. `cell` is
/// [`DIGEST_CELL`].
pub(in super::super) fn read_digest(header: &Cell, cell: &Cell) -> Result<Option<u32>, Damage> {
    read_checked(cell[DIGEST_WORD], DIGEST, header[3])
        .map_err(|()| Damage("the digest of all records"))
}

fn header_checksum(cell: &Cell, version: u32) -> u32 {
    checksum([cell[0], u64::from(version), cell[2], cell[3]])
}
