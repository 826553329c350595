//! The log line of a server that has stopped: what it has done.

use std::sync::Arc;

use crate::reactor::{ReactorMetrics, closed_by_label};
use crate::rooms::DISMISSALS;

/// Logs what the reactors have done.
pub(super) fn log(metrics: &[Arc<ReactorMetrics>]) {
    let sum = |read: fn(&ReactorMetrics) -> u64| metrics.iter().map(|it| read(it)).sum::<u64>();
    let closed: Vec<String> = closed_by_label(metrics, &DISMISSALS)
        .filter(|(_, count)| *count > 0)
        .map(|(label, count)| format!("{label}={count}"))
        .collect();
    tracing::info!(
        accepted = sum(|it| it.accepted.get()),
        requests = sum(|it| it.requests.get()),
        messages = sum(|it| it.messages.get()),
        dropped_messages = sum(|it| it.dropped_messages.get()),
        invalid_messages = sum(|it| it.invalid_messages.get()),
        limited_messages = sum(|it| it.limited_messages.get()),
        frames_sent = sum(|it| it.frames_sent.get()),
        frames_conflated = sum(|it| it.frames_conflated.get()),
        received_bytes = sum(|it| it.received_bytes.get()),
        turns = sum(|it| it.turns.get()),
        closed = closed.join(" "),
        "stopped"
    );
}
