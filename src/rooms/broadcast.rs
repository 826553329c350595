//! Where a room stands between one broadcast and the next.

use std::time::Instant;

use super::members::Cursor;

/// What a broadcast is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The counts, for all members.
    Counts,
    /// The number of members, for presence subscribers.
    Presence,
    /// The mode, for members that want it.
    Mode,
    /// The counts after they were set to zero or removed, for members that want the mode.
    Reset,
    /// Nobody may be in the room any more: all members are dismissed.
    Closing,
}

impl Topic {
    pub(super) const COUNT: usize = 5;
}

/// The state of a room's broadcasts about one topic.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broadcast {
    /// There is nothing to send. The next pass may begin at this time.
    Idle { not_before: Option<Instant> },
    /// Something has changed. A pass waits for the tick, or for its turn.
    Due,
    /// A pass over the members is under way.
    Pass(Pass),
}

/// A fan-out pass: one walk over the members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) began: Instant,
    pub(super) cursor: Cursor,
    /// Whether something has changed again since the pass began.
    pub(super) again: bool,
}
