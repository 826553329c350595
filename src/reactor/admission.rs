//! Admission: which connections the reactors let in. All reactors share one [`Admission`]; it keeps
//! nothing of addresses unless they are limited.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use thiserror::Error;

use super::address_counts::AddressCounts;
use super::address_rate::{AddressRate, Enforcement};
use super::log_throttle::LogThrottle;
use super::proxies::TrustedProxies;
use crate::os::kernel_number::KernelNumber;
use crate::os::meminfo;

/// Default maximum number of connections of all reactors together.
pub(crate) const DEFAULT_MAX_CONNECTIONS: usize = 4_000_000;
/// Default share of the machine's memory that must be available to admit a connection, in percent.
pub(crate) const DEFAULT_MIN_FREE_MEMORY_PERCENT: u8 = 4;
/// Minimum time between two readings of the available memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// Time for which descriptors count as used up after a connection could not be accepted.
const DESCRIPTORS_SHORT: Duration = Duration::from_secs(10);

/// Why a connection is turned away.
#[derive(Debug, Error)]
pub enum TurnAway {
    /// The server has as many connections as it may.
    #[error("the connection limit of {0} is reached")]
    ConnectionLimit(usize),
    /// One address has as many connections as it may.
    #[error("an address has reached its connection limit of {0}")]
    AddressLimit(u32),
    /// Less memory is available than must stay free.
    #[error("less than {0} MiB of memory is available")]
    MemoryShort(u64),
    /// The socket could not be accepted.
    #[error("could not accept a connection: {0}")]
    Accept(io::Error),
    /// The poll could not watch the socket.
    #[error("could not watch a connection: {0}")]
    Watch(io::Error),
}

impl TurnAway {
    /// The number of variants.
    const COUNT: usize = 5;

    /// The variant's place among the throttles.
    fn index(&self) -> usize {
        match self {
            Self::ConnectionLimit(_) => 0,
            Self::AddressLimit(_) => 1,
            Self::MemoryShort(_) => 2,
            Self::Accept(_) => 3,
            Self::Watch(_) => 4,
        }
    }
}

/// The limits of admission.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum number of connections from one IPv4 address or IPv6 network of 64 bits. An IPv6
    /// network of 48 bits has 16 times as many.
    pub max_per_address: Option<u32>,
    /// Share of the machine's memory that must be available, in percent; 0 for none. Most of what
    /// a connection costs is the kernel's memory, and a kernel without memory kills processes.
    pub min_free_memory_percent: u8,
    /// Whether a reactor that is at `max_connections` closes the connection that has waited longest
    /// for a request, so that a newcomer is let in. It looks at all of its connections for that.
    pub makes_room: bool,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_per_address: None,
            min_free_memory_percent: DEFAULT_MIN_FREE_MEMORY_PERCENT,
            makes_room: false,
        }
    }
}

/// The decision which connections to let in, shared by all reactors.
#[derive(Debug)]
pub struct Admission {
    max_connections: usize,
    open: AtomicUsize,
    pub(super) makes_room: bool,
    per_address: Option<AddressCounts>,
    pub(super) proxies: TrustedProxies,
    pub(super) requests: AddressRate,
    /// When a connection could last not be accepted for want of a descriptor, and the error.
    descriptors_short: Mutex<Option<(Instant, Errno)>>,
    /// Memory that must be available, in KiB.
    min_free_kib: u64,
    /// The available memory, in KiB; `None` if none must be available.
    free_kib: Option<KernelNumber>,
    /// Words for the operator.
    explain: fn(&TurnAway) -> String,
    throttles: [LogThrottle; TurnAway::COUNT],
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(AdmissionLimits::default(), TurnAway::to_string)
    }
}

impl Admission {
    /// Admits connections within `limits`. `explain` words the log lines about the others.
    pub fn new(limits: AdmissionLimits, explain: fn(&TurnAway) -> String) -> Self {
        let text = std::fs::read_to_string(meminfo::PATH).unwrap_or_default();
        let total_kib = meminfo::total_kib(&text).unwrap_or(0);
        Self {
            max_connections: limits.max_connections,
            open: AtomicUsize::new(0),
            makes_room: limits.makes_room,
            per_address: limits.max_per_address.map(AddressCounts::new),
            proxies: TrustedProxies::default(),
            requests: AddressRate::new(0, Enforcement::Refuse),
            descriptors_short: Mutex::default(),
            min_free_kib: total_kib * u64::from(limits.min_free_memory_percent) / 100,
            free_kib: (limits.min_free_memory_percent > 0).then(|| {
                KernelNumber::new(
                    meminfo::PATH,
                    meminfo::available_kib,
                    MEMORY_INTERVAL,
                    u64::MAX,
                )
            }),
            explain,
            throttles: Default::default(),
        }
    }

    /// Limits the requests of each address.
    pub(crate) fn limiting_requests(mut self, requests: AddressRate) -> Self {
        self.requests = requests;
        self
    }

    /// Number of requests so far over the limit of their address.
    pub(crate) fn limited_requests(&self) -> u64 {
        self.requests.limited()
    }

    /// Lets these proxies name their clients.
    pub fn trusting(self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self }
    }

    /// Why the reactors would turn any connection away now, in words for the operator.
    pub fn problem(&self, now: Instant) -> Option<String> {
        let is_full = self.open.load(Ordering::Relaxed) >= self.max_connections;
        let full = is_full.then_some(TurnAway::ConnectionLimit(self.max_connections));
        let reason = full
            .or_else(|| self.memory_short(now))
            .or_else(|| self.descriptors_short(now))?;
        Some((self.explain)(&reason))
    }

    /// Remembers that a connection could not be accepted, if the reason is that descriptors have
    /// run out.
    pub(super) fn note_accept_error(&self, error: &io::Error, now: Instant) {
        let errno = Errno::from_io_error(error);
        if let Some(errno @ (Errno::MFILE | Errno::NFILE)) = errno {
            let short = self.descriptors_short.lock();
            *short.unwrap_or_else(PoisonError::into_inner) = Some((now, errno));
        }
    }

    fn descriptors_short(&self, now: Instant) -> Option<TurnAway> {
        let short = self.descriptors_short.lock();
        let (at, errno) = (*short.unwrap_or_else(PoisonError::into_inner))?;
        let is_short = now.saturating_duration_since(at) < DESCRIPTORS_SHORT;
        is_short.then(|| TurnAway::Accept(errno.into()))
    }

    /// Logs why a connection was turned away, each kind of reason once a minute.
    pub(super) fn log(&self, reason: &TurnAway, now: Instant) {
        if self.throttles[reason.index()].allows(now) {
            let reason = (self.explain)(reason);
            tracing::warn!(%reason, "turning new connections away");
        }
    }

    /// Less memory is available than must stay free.
    pub(super) fn memory_short(&self, now: Instant) -> Option<TurnAway> {
        let free_kib = self.free_kib.as_ref().map(|free_kib| free_kib.get(now));
        let is_short = free_kib.is_some_and(|free_kib| free_kib < self.min_free_kib);
        is_short.then_some(TurnAway::MemoryShort(self.min_free_kib / 1024))
    }

    /// Counts one more connection.
    ///
    /// # Errors
    /// [`TurnAway`] if the server has as many as it may.
    pub(super) fn enter(&self) -> Result<(), TurnAway> {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.max_connections {
            return Ok(());
        }
        self.leave();
        Err(TurnAway::ConnectionLimit(self.max_connections))
    }

    /// Counts one connection less.
    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether connections are counted by address.
    pub(super) fn limits_addresses(&self) -> bool {
        self.per_address.is_some()
    }

    /// Counts one more connection from `address`, if addresses are limited.
    ///
    /// # Errors
    /// [`TurnAway`] if the address has as many as it may.
    pub(super) fn enter_address(&self, address: IpAddr) -> Result<(), TurnAway> {
        match &self.per_address {
            Some(counts) if !counts.enter(address) => Err(TurnAway::AddressLimit(counts.max())),
            _ => Ok(()),
        }
    }

    /// Counts one connection less from `address`, if addresses are limited.
    pub(super) fn leave_address(&self, address: IpAddr) {
        if let Some(counts) = &self.per_address {
            counts.leave(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_up_descriptors_are_a_problem_for_a_while() {
        let limits = AdmissionLimits {
            min_free_memory_percent: 0,
            ..AdmissionLimits::default()
        };
        let admission = Admission::new(limits, TurnAway::to_string);
        let now = Instant::now();
        admission.note_accept_error(&Errno::NOMEM.into(), now);
        assert_eq!(admission.problem(now), None);
        admission.note_accept_error(&Errno::MFILE.into(), now);
        let problem = admission.problem(now + DESCRIPTORS_SHORT / 2).unwrap();
        assert!(problem.starts_with("could not accept a connection"));
        assert_eq!(admission.problem(now + DESCRIPTORS_SHORT), None);
    }
}
