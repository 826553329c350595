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
        let tcp_mem = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok();
        let mark = tcp_mem.and_then(|text| pressure_mark(&text));
        Self {
            limit_pages: mark
                .filter(|_| percent > 0)
                .map(|pages| pages * u64::from(percent) / 100),
            used_pages: KernelNumber::new("/proc/net/sockstat", tcp_pages, CHECK_INTERVAL, 0),
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

/// The second of the three numbers of `tcp_mem`.
fn pressure_mark(text: &str) -> Option<u64> {
    text.split_whitespace().nth(1)?.parse().ok()
}

/// The number after `mem` in the line of TCP.
fn tcp_pages(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numbers_are_read() {
        assert_eq!(pressure_mark("287901\t383869\t575802\n"), Some(383_869));
        assert_eq!(pressure_mark(""), None);
        let sockstat =
            "sockets: used 215\nTCP: inuse 4 orphan 0 tw 9 alloc 8 mem 17\nUDP: inuse 1 mem 0\n";
        assert_eq!(tcp_pages(sockstat), Some(17));
        assert_eq!(tcp_pages("UDP: inuse 1 mem 3\n"), None);
    }

    #[test]
    fn without_a_limit_it_is_never_high() {
        assert!(!Pressure::new(0).is_high(Instant::now()));
    }
}
