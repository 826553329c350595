//! The header: which kind of file it is, and how it was left.

use std::sync::atomic::Ordering;

use thiserror::Error;

use super::checked::{checked, checksum, halves, read_checked, with_checksum};
use super::damage::Damage;
use super::units::{AtomicCell, CELL_BYTES, Cell, CellId};
use super::words::{
    CELL_BYTES_WORD, CLOSED_WORD, CREATED_WORD, DIGEST_WORD, LENGTH_WORD, MAGIC_WORD, OWNER_WORD,
    REMOVALS_WORD, REWRITE_WORD, VERSION_WORD, WORD_BYTES,
};

/// Version of the format that this code reads and writes.
pub(super) const VERSION: u32 = 2;

/// Offset of the owner's pid in the file, in bytes.
pub(crate) const OWNER_OFFSET: u64 = OWNER_WORD as u64 * WORD_BYTES;

const MAGIC: u64 = u64::from_le_bytes(*b"OVATION1");
const CLOSED: u64 = u64::from_le_bytes(*b"closed  ");
const LENGTH: u64 = u64::from_le_bytes(*b"length  ");
const DIGEST: u64 = u64::from_le_bytes(*b"digest  ");

/// Why a header can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// It is another kind of file.
    #[error("not a snapshot of Ovation (no magic at offset 0)")]
    NotASnapshot,
    /// Another version of the server wrote it.
    #[error("format version {0} (at offset 8), but this server reads version {VERSION}")]
    Version(u32),
    /// The header is damaged.
    #[error("the header is damaged (checksum at offset 12)")]
    Checksum,
    /// The file is too short for a header.
    #[error("{0} bytes are too few for a header")]
    Truncated(u64),
}

/// Encodes the header of a new file. `created` is in seconds since 1970.
pub(crate) fn encode_header(created: u64) -> Cell {
    let mut cell = Cell::default();
    cell[MAGIC_WORD] = MAGIC;
    cell[CELL_BYTES_WORD] = CELL_BYTES as u64;
    cell[CREATED_WORD] = created;
    cell[VERSION_WORD] = with_checksum(VERSION, header_checksum(&cell, VERSION));
    cell
}

/// Checks a header.
///
/// # Errors
/// [`HeaderError`] if the header belongs to no file that this code can read.
pub(super) fn decode_header(cell: &Cell) -> Result<(), HeaderError> {
    let (version, checksum) = halves(cell[VERSION_WORD]);
    if cell[MAGIC_WORD] != MAGIC {
        let mut with_magic = *cell;
        with_magic[MAGIC_WORD] = MAGIC;
        // If everything else is right, only the magic is damaged.
        if header_checksum(&with_magic, version) == checksum {
            return Err(HeaderError::Checksum);
        }
        return Err(HeaderError::NotASnapshot);
    }
    if header_checksum(cell, version) != checksum {
        return Err(HeaderError::Checksum);
    }
    if version != VERSION || cell[CELL_BYTES_WORD] != CELL_BYTES as u64 {
        return Err(HeaderError::Version(version));
    }
    Ok(())
}

fn header_checksum(cell: &Cell, version: u32) -> u32 {
    checksum([
        cell[MAGIC_WORD],
        u64::from(version),
        cell[CELL_BYTES_WORD],
        cell[CREATED_WORD],
    ])
}

/// A copy of the first cell of the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderCell(Cell);

impl HeaderCell {
    pub(crate) fn new(cell: Cell) -> Self {
        Self(cell)
    }

    /// The cell with these bytes of a file.
    pub(crate) fn from_bytes(bytes: &[u8; CELL_BYTES]) -> Self {
        let mut cell = Cell::default();
        for (word, piece) in cell.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*piece);
        }
        Self(cell)
    }

    /// Checks the header; see [`decode_header`].
    pub(crate) fn check(&self) -> Result<(), HeaderError> {
        decode_header(&self.0)
    }

    /// Whether the magic was never written. It is the last word of a header to be written.
    pub(crate) fn lacks_magic(&self) -> bool {
        self.0[MAGIC_WORD] == 0
    }

    /// Whether this may be the header of a file whose creator died while writing it: everything
    /// but the magic is there, or less.
    pub(crate) fn is_unfinished(&self) -> bool {
        let header = &self.0;
        self.lacks_magic()
            && (header[VERSION_WORD] == 0 || halves(header[VERSION_WORD]).0 == VERSION)
            && (header[CELL_BYTES_WORD] == 0 || header[CELL_BYTES_WORD] == CELL_BYTES as u64)
            && header[OWNER_WORD..].iter().all(|word| *word == 0)
    }

    /// When the file was created, in seconds since 1970.
    pub(crate) fn created(&self) -> u64 {
        self.0[CREATED_WORD]
    }

    /// Pid of the last process that opened the file.
    pub(crate) fn owner(&self) -> u32 {
        self.0[OWNER_WORD] as u32
    }

    /// Where the used cells ended when the file was closed in order; `None` if it was not.
    pub(crate) fn closed(&self) -> Result<Option<CellId>, Damage> {
        read_checked(self.0[CLOSED_WORD], CLOSED, self.created())
            .map(|end| end.map(CellId::new))
            .map_err(|_| Damage::ClosedMark)
    }

    /// Number of cells that the file has at least.
    pub(crate) fn length(&self) -> Result<u32, Damage> {
        read_checked(self.0[LENGTH_WORD], LENGTH, self.created())
            .map(Option::unwrap_or_default)
            .map_err(|_| Damage::Length)
    }

    /// Two words that tell readers of a file in use whether cells may hold other records than
    /// before, or counts may differ from their sealed copies.
    pub(crate) fn change_stamp(&self) -> (u64, u64) {
        (self.0[REMOVALS_WORD], self.0[CLOSED_WORD])
    }
}

/// A copy of the second cell of the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderExtensionCell(Cell);

impl HeaderExtensionCell {
    pub(crate) fn new(cell: Cell) -> Self {
        Self(cell)
    }

    /// The digest that the records had when the file was closed in order. `header` is the first
    /// cell of the same file.
    pub(crate) fn digest(&self, header: &HeaderCell) -> Result<Option<u32>, Damage> {
        read_checked(self.0[DIGEST_WORD], DIGEST, header.created()).map_err(|_| Damage::DigestMark)
    }
}

/// The header in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderWords<'m> {
    first: &'m AtomicCell,
    extension: &'m AtomicCell,
}

impl<'m> HeaderWords<'m> {
    /// The header whose cells are at [`CellId::HEADER`] and [`CellId::HEADER_EXTENSION`].
    pub(crate) fn new(first: &'m AtomicCell, extension: &'m AtomicCell) -> Self {
        Self { first, extension }
    }

    /// Writes the pid of the process that has the file open.
    pub(crate) fn set_owner(&self, pid: u32) {
        self.first[OWNER_WORD].store(u64::from(pid), Ordering::Relaxed);
    }

    /// Marks the file as closed in order with these cells in use, or as open.
    pub(crate) fn set_closed(&self, used_end: Option<CellId>) {
        let mark = used_end.map_or(0, |end| checked(end.number(), CLOSED, self.created()));
        self.first[CLOSED_WORD].store(mark, Ordering::Relaxed);
    }

    /// Writes how many cells the file has at least.
    pub(crate) fn set_length(&self, cells: u32) {
        let mark = checked(cells, LENGTH, self.created());
        self.first[LENGTH_WORD].store(mark, Ordering::Relaxed);
    }

    /// Tells readers of the file that a room, counts, or the past of reused cells has gone.
    pub(crate) fn count_removal(&self) {
        self.first[REMOVALS_WORD].fetch_add(1, Ordering::SeqCst);
    }

    /// Writes the digest of all records.
    pub(crate) fn set_digest(&self, digest: u32) {
        let mark = checked(digest, DIGEST, self.created());
        self.extension[DIGEST_WORD].store(mark, Ordering::Relaxed);
    }

    /// Whether a sync has failed, so that the whole file must be written again.
    pub(crate) fn must_rewrite(&self) -> bool {
        self.extension[REWRITE_WORD].load(Ordering::Relaxed) != 0
    }

    /// Makes the next sync write the whole file.
    pub(crate) fn request_rewrite(&self) {
        self.extension[REWRITE_WORD].store(1, Ordering::Relaxed);
    }

    /// Notes that the whole file was written.
    pub(crate) fn finish_rewrite(&self) {
        self.extension[REWRITE_WORD].store(0, Ordering::Relaxed);
    }

    fn created(&self) -> u64 {
        self.first[CREATED_WORD].load(Ordering::Relaxed)
    }
}
