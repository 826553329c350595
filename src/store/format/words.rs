//! Which word of a cell holds what. The table in [`format`](super) explains each.

/// Size of a word, in bytes.
pub(super) const WORD_BYTES: u64 = 8;

/// Of any record: says what the cell holds, and is written last.
pub(super) const COMMIT_WORD: usize = 0;

// The first cell of the header.
pub(super) const MAGIC_WORD: usize = 0;
pub(super) const VERSION_WORD: usize = 1;
pub(super) const CELL_BYTES_WORD: usize = 2;
pub(super) const CREATED_WORD: usize = 3;
pub(super) const OWNER_WORD: usize = 4;
pub(super) const CLOSED_WORD: usize = 5;
pub(super) const LENGTH_WORD: usize = 6;
pub(super) const REMOVALS_WORD: usize = 7;

// The second cell of the header.
pub(super) const DIGEST_WORD: usize = 0;
pub(super) const REWRITE_WORD: usize = 1;

// Rooms and counters.
pub(super) const MARK_WORD: usize = 1;
/// The first word of the name, which goes on to the end of the cell.
pub(super) const NAME_WORD: usize = 4;

// Rooms.
pub(super) const STATE_WORD: usize = 2;
pub(super) const ROOM_BYTES_WORD: usize = 3;

// Counters.
pub(super) const COUNT_WORD: usize = 2;
pub(super) const SEALED_WORD: usize = 3;
