//! What a reactor counts of itself. Each reactor writes its own, any thread may read them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{CloseReason, Verdict};

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds to it. Only the thread that owns it may.
    #[inline]
    pub fn add(&self, more: u64) {
        // One writer: no read-modify-write, and no locked instruction, is needed.
        let value = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(value, Ordering::Relaxed);
    }

    /// Takes from it. Only the thread that owns it may.
    #[inline]
    pub fn subtract(&self, less: u64) {
        self.add(less.wrapping_neg());
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The numbers of one reactor, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ReactorMetrics {
    /// Connections that are open now.
    pub connections: Gauge,
    /// Those of them that are event streams.
    pub streams: Gauge,
    /// Connections that were accepted.
    pub accepted: Gauge,
    /// Bytes received.
    pub received_bytes: Gauge,
    /// Messages that the application took.
    pub messages: Gauge,
    /// Messages that it could not take: the room or the store is full.
    pub dropped_messages: Gauge,
    /// Messages that are none of the application's.
    pub invalid_messages: Gauge,
    /// HTTP requests that were answered.
    pub requests: Gauge,
    /// Frames and events handed to sockets by fan-outs.
    pub frames_sent: Gauge,
    /// Frames and events that a full socket made a member miss; it gets a newer one later.
    pub frames_conflated: Gauge,
    /// Turns of the loop.
    pub turns: Gauge,
    closed: [Gauge; CloseReason::COUNT],
}

impl ReactorMetrics {
    /// How many connections ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> &Gauge {
        &self.closed[reason as usize]
    }

    /// Counts one message by what became of it.
    pub(super) fn judged(&self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => self.messages.add(1),
            Verdict::Dropped => self.dropped_messages.add(1),
            Verdict::Invalid => self.invalid_messages.add(1),
        }
    }
}
