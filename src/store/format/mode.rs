//! What changes about a room: its mode, and when it was last active. Both share a checked word, so
//! that they change as one.

use serde::{Deserialize, Serialize};

use super::checked::{checked, read_checked};
use super::damage::Damage;

/// The meanings of the word, one for each mode. A room is nearly always open.
const MEANINGS: [(RoomMode, u64); 3] = [
    (RoomMode::Open, u64::from_le_bytes(*b"active  ")),
    (RoomMode::Frozen, u64::from_le_bytes(*b"frozen  ")),
    (RoomMode::Closed, u64::from_le_bytes(*b"shut    ")),
];

/// What clients may do in a room. A later mode is stricter than those before it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum RoomMode {
    /// Clients join and react.
    #[default]
    Open,
    /// Clients join and see the counts. Reactions are refused.
    Frozen,
    /// Clients can't join. Nothing is counted.
    Closed,
}

impl RoomMode {
    /// The mode in one word: `open`, `frozen` or `closed`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Frozen => "frozen",
            Self::Closed => "closed",
        }
    }

    /// Whether the room is open.
    pub fn is_open(self) -> bool {
        self == Self::Open
    }
}

/// The mode of a room, and when it was last active.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RoomState {
    /// The mode.
    pub(crate) mode: RoomMode,
    /// When the room last counted something, in seconds since 1970; `None` if never.
    pub(crate) active: Option<u32>,
}

impl RoomState {
    /// The word that says this of the room whose first word is `owner`.
    pub(super) fn encode(self, owner: u64) -> u64 {
        let seconds = match (self.mode, self.active) {
            (RoomMode::Open, None) => return 0,
            (_, active) => active.unwrap_or(0),
        };
        let meaning = MEANINGS.iter().find(|(mode, _)| *mode == self.mode);
        meaning.map_or(0, |(_, meaning)| checked(seconds, *meaning, owner))
    }

    /// What a word says of the room whose first word is `owner`.
    pub(super) fn decode(word: u64, owner: u64) -> Result<Self, Damage> {
        for (mode, meaning) in MEANINGS {
            if let Ok(seconds) = read_checked(word, meaning, owner) {
                // A room that isn't open has the word even if it was never active.
                let active = seconds.filter(|it| mode.is_open() || *it > 0);
                return Ok(Self { mode, active });
            }
        }
        Err(Damage::RoomState)
    }
}
