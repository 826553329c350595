//! What a reactor counts of itself. Each reactor writes its own metrics; any thread may read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::close_reason::{CloseReason, Dismissal, SLOTS, labels};
use super::message::Verdict;

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds to the number. Only the thread that owns the gauge may call this.
    #[inline]
    pub(super) fn add(&self, more: u64) {
        // With one writer, no read-modify-write and no locked instruction is needed.
        let value = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(value, Ordering::Relaxed);
    }

    /// Subtracts from the number. Only the thread that owns the gauge may call this.
    #[inline]
    pub(super) fn subtract(&self, less: u64) {
        self.add(less.wrapping_neg());
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The metrics of one reactor, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ReactorMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Open connections that are event streams.
    pub streams: Gauge,
    /// Connections accepted.
    pub accepted: Gauge,
    /// Bytes received.
    pub received_bytes: Gauge,
    /// Messages that the application accepted.
    pub messages: Gauge,
    /// Messages that the application dropped because a room or the store was full.
    pub dropped_messages: Gauge,
    /// Messages that the application dropped as invalid.
    pub invalid_messages: Gauge,
    /// Messages that the application had before, or that came too early.
    pub repeated_messages: Gauge,
    /// Messages over the rate limit.
    pub limited_messages: Gauge,
    /// HTTP requests answered.
    pub requests: Gauge,
    /// Frames and events that fan-outs handed to sockets.
    pub frames_sent: Gauge,
    /// Frames and events that a member missed because its socket was full.
    pub frames_conflated: Gauge,
    /// Turns of the loop.
    pub turns: Gauge,
    closed: [Gauge; SLOTS],
}

impl ReactorMetrics {
    /// The count of connections that ended for this reason.
    pub(super) fn closed(&self, reason: CloseReason) -> &Gauge {
        &self.closed[reason.slot()]
    }

    /// The number of connections that were turned away, or that gave way to others.
    pub(crate) fn turned_away(&self) -> u64 {
        self.closed(CloseReason::Overload).get()
    }

    /// Counts one message by its verdict.
    pub(super) fn count_message(&self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => self.messages.add(1),
            Verdict::Batch(number) => self.messages.add(number.into()),
            Verdict::Repeated => self.repeated_messages.add(1),
            Verdict::Dropped => self.dropped_messages.add(1),
            Verdict::Invalid => self.invalid_messages.add(1),
        }
    }
}

/// The number of connections that ended over all reactors, by the label of the reason. `dismissals`
/// are the application's own reasons.
pub(crate) fn closed_by_label<'m>(
    reactors: &'m [Arc<ReactorMetrics>],
    dismissals: &'m [Dismissal],
) -> impl Iterator<Item = (&'static str, u64)> + 'm {
    labels(dismissals).enumerate().map(|(slot, label)| {
        let counts = reactors.iter().map(|metrics| metrics.closed[slot].get());
        (label, counts.sum())
    })
}
