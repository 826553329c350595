//! The state that the conductor and the workers share: the phase, each worker's figures, and each
//! room's tally.
//!
//! It consists of atomics only. Workers with their own tables of file descriptors must not share
//! anything that holds a descriptor. Each worker writes to cache lines of its own, so that its
//! writes don't slow the others.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::plan::Plan;

/// The present task of the workers. The conductor sets it; each worker follows at its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum RunPhase {
    /// Connect all members.
    Connect,
    /// Hold the connections.
    Hold,
    /// Send reactions, or replace members, until the worker's share is done.
    Load,
    /// Send nothing more.
    Quiesce,
    /// Compare every member's count with the reactions sent into its room.
    Judge,
    /// Compare every member's count, and let the slow members read.
    Resume,
    /// Drop all connections.
    Drop,
    /// Connect all members once more.
    Reconnect,
    /// Close all connections and end.
    Done,
}

impl RunPhase {
    const ALL: [Self; 9] = [
        Self::Connect,
        Self::Hold,
        Self::Load,
        Self::Quiesce,
        Self::Judge,
        Self::Resume,
        Self::Drop,
        Self::Reconnect,
        Self::Done,
    ];
}

/// The figures of one worker, or their sums over all workers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    /// Connections begun.
    pub(super) started: u64,
    /// Connections that received their first counts.
    pub(super) opened: u64,
    /// Connections that ended before their first counts.
    pub(super) failed: u64,
    /// Open connections that the server closed, or that broke.
    pub(super) lost: u64,
    /// Messages of counts received.
    pub(super) frames: u64,
    /// Bytes received.
    pub(super) bytes: u64,
    /// Pings received.
    pub(super) pings: u64,
    /// Messages whose count was lower than an earlier count on that connection.
    pub(super) decreased: u64,
    /// Reactions handed to the kernel, or members replaced.
    pub(super) done: u64,
    /// Reading members whose count is exactly the count sent into their room.
    pub(super) exact: u64,
    /// Reading members whose count is lower.
    pub(super) short: u64,
    /// Reading members whose count is higher.
    pub(super) over: u64,
    /// Slow members whose count is exactly the count sent into their room.
    pub(super) slow_exact: u64,
    /// Slow members whose count is lower or higher.
    pub(super) slow_wrong: u64,
    /// Messages of counts that slow members received after the load.
    pub(super) slow_frames: u64,
}

macro_rules! define_slot {
    ($($figure:ident),*) => {
        /// The figures of one worker, as it last posted them.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        struct Slot {
            finished: AtomicU8,
            $($figure: AtomicU64,)*
        }

        impl Slot {
            fn post(&self, figures: &Figures) {
                $(self.$figure.store(figures.$figure, Relaxed);)*
            }

            fn add_to(&self, sum: &mut Figures) {
                $(sum.$figure += self.$figure.load(Relaxed);)*
            }
        }
    };
}
define_slot!(
    started,
    opened,
    failed,
    lost,
    frames,
    bytes,
    pings,
    decreased,
    done,
    exact,
    short,
    over,
    slow_exact,
    slow_wrong,
    slow_frames
);

/// A room: its first count, and the reactions that the swarm has sent into it since.
#[derive(Debug)]
pub(super) struct RoomTally {
    base: AtomicU64,
    claimed: AtomicU64,
    timeline: Box<[AtomicU32]>,
}

impl RoomTally {
    const UNKNOWN: u64 = u64::MAX;

    fn new(entries: usize) -> Self {
        Self {
            base: AtomicU64::new(Self::UNKNOWN),
            claimed: AtomicU64::new(0),
            timeline: (0..entries).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Sets the room's first count, unless an earlier message has set it.
    pub(super) fn begin_at(&self, count: u64) {
        let _ = self
            .base
            .compare_exchange(Self::UNKNOWN, count, Relaxed, Relaxed);
    }

    /// Records a reaction that is about to be sent.
    pub(super) fn claim(&self, now_micros: u32) {
        let index = self.claimed.fetch_add(1, Relaxed) as usize;
        if let Some(entry) = self.timeline.get(index) {
            entry.store(now_micros.max(1), Relaxed);
        }
    }

    /// Records reactions without their times.
    pub(super) fn add(&self, reactions: u64) {
        self.claimed.fetch_add(reactions, Relaxed);
    }

    /// Returns the count that every member must end on.
    pub(super) fn expected(&self) -> u64 {
        match self.base.load(Relaxed) {
            Self::UNKNOWN => 0,
            base => base + self.claimed.load(Relaxed),
        }
    }

    /// Returns when the oldest reaction was sent that a member with the count `seen` has not seen.
    pub(super) fn sent_after(&self, seen: u64) -> Option<u32> {
        let index = usize::try_from(seen.checked_sub(self.base.load(Relaxed))?).ok()?;
        match self.timeline.get(index)?.load(Relaxed) {
            0 => None,
            micros => Some(micros),
        }
    }
}

/// The shared state.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) plan: Plan,
    pub(super) rooms: Vec<RoomTally>,
    epoch: Instant,
    phase: AtomicU8,
    phase_began_micros: AtomicU64,
    slots: Vec<Slot>,
}

impl Board {
    pub(super) fn new(plan: Plan) -> Self {
        let entries = plan.timeline_entries();
        Self {
            rooms: (0..plan.rooms).map(|_| RoomTally::new(entries)).collect(),
            epoch: Instant::now(),
            phase: AtomicU8::new(RunPhase::Connect as u8),
            phase_began_micros: AtomicU64::new(0),
            slots: (0..plan.threads).map(|_| Slot::default()).collect(),
            plan,
        }
    }

    /// Returns the microseconds from the beginning of the run to `at`. A run is far shorter than
    /// the 71 minutes that fit.
    pub(super) fn micros(&self, at: Instant) -> u32 {
        at.saturating_duration_since(self.epoch).as_micros() as u32
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(super) fn phase(&self) -> RunPhase {
        RunPhase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Returns when the present phase began.
    pub(super) fn phase_began(&self) -> Instant {
        self.epoch + Duration::from_micros(self.phase_began_micros.load(Relaxed))
    }

    /// Moves all workers on to `phase`.
    pub(super) fn enter(&self, phase: RunPhase) {
        let micros = self.epoch.elapsed().as_micros() as u64;
        self.phase_began_micros.store(micros, Relaxed);
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Posts the figures of a worker, and the phase that it has finished.
    pub(super) fn post(&self, thread: u16, figures: &Figures, finished: Option<RunPhase>) {
        if let Some(slot) = self.slots.get(usize::from(thread)) {
            slot.post(figures);
            let finished = finished.map_or(0, |phase| phase as u8 + 1);
            slot.finished.store(finished, Ordering::Release);
        }
    }

    /// Whether every worker has finished `phase`.
    pub(super) fn all_finished(&self, phase: RunPhase) -> bool {
        self.slots
            .iter()
            .all(|slot| slot.finished.load(Ordering::Acquire) == phase as u8 + 1)
    }

    /// Returns the sums over all workers.
    pub(super) fn sum(&self) -> Figures {
        let mut sum = Figures::default();
        for slot in &self.slots {
            slot.add_to(&mut sum);
        }
        sum
    }
}
