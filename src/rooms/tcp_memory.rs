//! Backpressure: fan-outs pause while TCP holds too much memory.
//!
//! Every frame on its way costs the kernel memory until the client has it, many times the frame's
//! own size. A pass over a million members could put a gigabyte in flight, and at the limits of
//! `tcp_mem` the kernel starts to drop. So fan-outs pause while TCP uses more than a share of the
//! mark at which the kernel itself sees pressure (tcp(7): `tcp_mem`). The memory in use is the
//! `mem` of TCP in `/proc/net/sockstat`, in pages. On a machine that serves only Ovation, nearly
//! all of it is frames in flight.
//!
//! Before that, at [`SCARCE_PERCENT`] of the share, the reactors end connections whose sockets take
//! no output: clients that don't read must not slow the broadcasts of others.
//!
//! A pause ends when the memory falls below the share, and at the latest after [`MAX_PAUSE`]:
//! members that never read hold what their send buffers hold, and must not stop the others for
//! ever.

use std::time::{Duration, Instant};

use crate::os::kernel_number::KernelNumber;
use crate::os::tcp;
use crate::reactor::LogThrottle;

/// Default share of `tcp_mem`'s pressure mark that TCP may use before fan-outs pause, in percent.
pub(crate) const DEFAULT_IN_FLIGHT_PERCENT: u8 = 50;
/// Share of the limit at which connections without any progress end, in percent.
const SCARCE_PERCENT: u64 = 75;
/// Minimum time between two readings of the memory, by all reactors together.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Maximum time that a fan-out pauses before it sends one more chunk.
pub(super) const MAX_PAUSE: Duration = Duration::from_millis(100);

/// The memory of TCP and its limit, shared by all reactors.
#[derive(Debug)]
pub(crate) struct TcpMemory {
    /// Number of pages above which fan-outs pause; `None` if unknown or unlimited.
    limit_pages: Option<u64>,
    used_pages: KernelNumber,
    throttle: LogThrottle,
}

impl TcpMemory {
    /// Limits the memory to `percent` of the pressure mark; 0 for no limit.
    pub(crate) fn new(percent: u8) -> Self {
        let tcp_mem = std::fs::read_to_string(tcp::TCP_MEM_PATH).ok();
        let mark = tcp_mem.and_then(|text| tcp::pressure_mark(&text));
        Self {
            limit_pages: mark
                .filter(|_| percent > 0)
                .map(|pages| pages * u64::from(percent) / 100),
            used_pages: KernelNumber::new(tcp::SOCKSTAT_PATH, tcp::memory_pages, CHECK_INTERVAL, 0),
            throttle: LogThrottle::default(),
        }
    }

    /// Whether fan-outs should pause. Asks the kernel if no reactor has asked lately.
    pub(super) fn is_high(&self, now: Instant) -> bool {
        self.limit_pages
            .is_some_and(|limit| self.used_pages.get(now) > limit)
    }

    /// Whether so much memory is in use that connections which hold some without any progress should
    /// end.
    pub(super) fn is_scarce(&self, now: Instant) -> bool {
        self.limit_pages
            .is_some_and(|limit| self.used_pages.get(now) * 100 > limit * SCARCE_PERCENT)
    }

    /// Logs, once a minute, that a pause has lasted as long as it may.
    pub(super) fn log_paused(&self, now: Instant) {
        if self.throttle.allows(now) {
            let limit_pages = self.limit_pages.unwrap_or(0);
            tracing::warn!(limit_pages, "broadcasts are slowed: TCP memory stays high");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_never_high_without_a_limit() {
        let now = Instant::now();
        assert!(!TcpMemory::new(0).is_high(now));
        assert!(!TcpMemory::new(0).is_scarce(now));
    }
}
