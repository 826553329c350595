//! Whether the kernel holds too much data that nobody has read.
//!
//! Every frame that is on its way costs the kernel memory until the client has it: 1.1 KB for one
//! of 16 bytes. A pass over a million members could put a gigabyte in flight, and at the `tcp_mem`
//! limits the kernel starts to drop. So fan-outs pause while TCP's memory is over a share of the
//! point at which the kernel itself sees pressure (tcp(7): `tcp_mem`). The memory in use is the
//! `mem` of TCP in `/proc/net/sockstat`, in pages; on a machine that serves only Ovation nearly
//! all of it is frames in flight.
//!
//! A pause ends when the memory is under the mark, and in any case after [`MAX_PAUSE`]: members
//! that never read hold what their send buffers hold, and must not stop the others for ever.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::os::kernel_number::KernelNumber;
use crate::os::tcp;

/// The default of the share of `tcp_mem`'s pressure mark that may be in flight, in percent.
pub const DEFAULT_IN_FLIGHT_PERCENT: u8 = 50;
/// How often the kernel is asked, at most, by all reactors together.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// How long a chunk of a fan-out is put off at most.
pub(super) const MAX_PAUSE: Duration = Duration::from_millis(100);

/// How long it is not said again that fan-outs are held back.
const SILENCE: Duration = Duration::from_secs(60);

/// What all reactors know of the kernel's memory for TCP.
#[derive(Debug)]
pub struct Pressure {
    /// Pages over which fan-outs pause; `None` where it can't be known, or is not to be.
    limit_pages: Option<u64>,
    used_pages: KernelNumber,
    /// When it was last said that fan-outs are held back.
    said: Mutex<Option<Instant>>,
}

impl Pressure {
    /// Watches for more than `percent` of the pressure mark; for nothing, if that is 0.
    pub fn new(percent: u8) -> Self {
        let tcp_mem = std::fs::read_to_string(tcp::TCP_MEM_PATH).ok();
        let mark = tcp_mem.and_then(|text| tcp::pressure_mark(&text));
        Self {
            limit_pages: mark
                .filter(|_| percent > 0)
                .map(|pages| pages * u64::from(percent) / 100),
            used_pages: KernelNumber::new(tcp::SOCKSTAT_PATH, tcp::memory_pages, CHECK_INTERVAL, 0),
            said: Mutex::default(),
        }
    }

    /// Whether fan-outs should pause. Asks the kernel if nobody has lately.
    pub fn is_high(&self, now: Instant) -> bool {
        self.limit_pages
            .is_some_and(|limit| self.used_pages.get(now) > limit)
    }

    /// Says, once in a while, that a pause has lasted as long as one may.
    pub(super) fn say_held_back(&self, now: Instant) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE) {
            *said = Some(now);
            tracing::warn!(
                "broadcasts are held back: the machine's TCP memory stays over the share that \
                 --in-flight-percent sets"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_it_is_never_high() {
        assert!(!Pressure::new(0).is_high(Instant::now()));
    }
}
