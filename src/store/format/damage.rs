//! What can be wrong in a file.

use std::fmt;

use super::words::{
    CLOSED_WORD, COMMIT_WORD, COUNT_WORD, DIGEST_WORD, LENGTH_WORD, MARK_WORD, STATE_WORD,
    WORD_BYTES,
};

/// A part of a file that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The file is shorter than its header says.
    EndMissing,
    /// The word that says how long the file is.
    Length,
    /// The word that says that the file was closed in order.
    ClosedMark,
    /// The word that holds the digest of all records.
    DigestMark,
    /// The digest does not match: a sector is lost, or older than the others.
    Digest,
    /// The first byte of a cell, which says what the cell holds.
    CellType,
    /// The name of a room.
    RoomName,
    /// A second room with the same name.
    DuplicateRoom,
    /// The word that says whether a room was being reset.
    ResetMark,
    /// The word that says which mode a room has, and when it was last active.
    RoomState,
    /// A part of a name that belongs to no room.
    StrayName,
    /// The name of a kind.
    KindName,
    /// A counter that belongs to no room.
    StrayCounter,
    /// A second counter with the same kind or ordinal in one room.
    DuplicateCounter,
    /// A count, or its sealed copy.
    Count,
}

impl Damage {
    /// A few words for the operator. "At offset N" can follow.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::EndMissing => "the end of the file is missing",
            Self::Length => "the file's length",
            Self::ClosedMark => "the mark of a file that was closed in order",
            Self::DigestMark => "the digest of all records",
            Self::Digest => "records that are lost or out of date, found by the digest",
            Self::CellType => "the type of a cell",
            Self::RoomName => "a room's name",
            Self::DuplicateRoom => "a second room with the same name",
            Self::ResetMark => "the mark of a room's reset",
            Self::RoomState => "the mode and age of a room",
            Self::StrayName => "a name without a room",
            Self::KindName => "a kind's name",
            Self::StrayCounter => "a counter without a room",
            Self::DuplicateCounter => "a second counter for the same kind",
            Self::Count => "a count",
        }
    }

    /// Offset of the damaged word in its cell, in bytes.
    pub(crate) fn offset_in_cell(self) -> u64 {
        let word = match self {
            Self::Length => LENGTH_WORD,
            Self::ClosedMark => CLOSED_WORD,
            Self::DigestMark | Self::Digest => DIGEST_WORD,
            Self::ResetMark => MARK_WORD,
            Self::RoomState => STATE_WORD,
            Self::Count => COUNT_WORD,
            Self::EndMissing
            | Self::CellType
            | Self::RoomName
            | Self::DuplicateRoom
            | Self::StrayName
            | Self::KindName
            | Self::StrayCounter
            | Self::DuplicateCounter => COMMIT_WORD,
        };
        word as u64 * WORD_BYTES
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// Why a record can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The first cell of a room's record is whole, but a later one was never written.
    Torn,
    /// The record is not as it was written.
    Damaged(Damage),
}
