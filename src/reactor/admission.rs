//! Admission: which connections the reactors let in. All reactors share one [`Admission`]; it keeps
//! nothing of addresses unless they are limited.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::Socket;
use thiserror::Error;

use super::address_counts::{AddressCounts, household};
use super::log_throttle::LogThrottle;
use crate::os::kernel_number::KernelNumber;
use crate::os::meminfo;

/// Default maximum number of connections of all reactors together.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4_000_000;
/// Default share of the machine's memory that must be available to admit a connection, in percent.
pub const DEFAULT_MIN_FREE_MEMORY_PERCENT: u8 = 4;
/// Minimum time between two readings of the available memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);

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
    /// Maximum number of connections from one IPv4 address or IPv6 network of 64 bits.
    pub max_per_address: Option<u32>,
    /// Share of the machine's memory that must be available, in percent; 0 for none. Most of what
    /// a connection costs is the kernel's memory, and a kernel without memory kills processes.
    pub min_free_memory_percent: u8,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_per_address: None,
            min_free_memory_percent: DEFAULT_MIN_FREE_MEMORY_PERCENT,
        }
    }
}

/// The decision which connections to let in, shared by all reactors.
#[derive(Debug)]
pub struct Admission {
    max_connections: usize,
    open: AtomicUsize,
    per_address: Option<AddressCounts>,
    /// Memory that must be available, in KiB.
    min_free_kib: u64,
    free_kib: KernelNumber,
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
            per_address: limits.max_per_address.map(AddressCounts::new),
            min_free_kib: total_kib * u64::from(limits.min_free_memory_percent) / 100,
            free_kib: KernelNumber::new(
                meminfo::PATH,
                meminfo::available_kib,
                MEMORY_INTERVAL,
                u64::MAX,
            ),
            explain,
            throttles: Default::default(),
        }
    }

    /// Why the reactors would turn any connection away now, in words for the operator.
    pub fn problem(&self, now: Instant) -> Option<String> {
        let is_full = self.open.load(Ordering::Relaxed) >= self.max_connections;
        let full = is_full.then_some(TurnAway::ConnectionLimit(self.max_connections));
        let reason = full.or_else(|| self.memory_short(now))?;
        Some((self.explain)(&reason))
    }

    /// Logs why a connection was turned away, each kind of reason once a minute.
    pub(super) fn log(&self, reason: &TurnAway, now: Instant) {
        if self.throttles[reason.index()].allows(now) {
            let reason = (self.explain)(reason);
            tracing::warn!(%reason, "turning new connections away");
        }
    }

    fn memory_short(&self, now: Instant) -> Option<TurnAway> {
        let is_short = self.free_kib.get(now) < self.min_free_kib;
        is_short.then_some(TurnAway::MemoryShort(self.min_free_kib / 1024))
    }

    fn enter(&self) -> Result<(), TurnAway> {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.max_connections {
            return Ok(());
        }
        self.leave();
        Err(TurnAway::ConnectionLimit(self.max_connections))
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn leave_address(&self, address: Option<IpAddr>) {
        if let (Some(counts), Some(address)) = (&self.per_address, address) {
            counts.leave(address);
        }
    }
}

/// The right to one connection. Dropping it gives the right back; [`Gate::hold`] keeps it as long
/// as the connection lives.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    is_held: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_held {
            self.admission.leave();
            self.admission.leave_address(self.address);
        }
    }
}

/// One reactor's side of admission.
#[derive(Debug)]
pub(super) struct Gate {
    admission: Arc<Admission>,
    /// The addresses of the reactor's connections, if addresses are limited.
    addresses: HashMap<u32, IpAddr>,
}

impl Gate {
    pub(super) fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            addresses: HashMap::new(),
        }
    }

    /// Admits the connection of `socket`.
    ///
    /// # Errors
    /// [`TurnAway`] says which limit is in the way.
    pub(super) fn admit(&self, socket: &Socket, now: Instant) -> Result<Permit, TurnAway> {
        // Only a limit on addresses is worth a system call for each connection.
        let is_address_limited = self.admission.per_address.is_some();
        let peer = is_address_limited
            .then(|| socket.peer_addr().ok()?.as_socket())
            .flatten();
        self.admit_peer(peer, now)
    }

    /// Admits a connection from `peer`. A peer on a Unix socket has no address and no limit.
    fn admit_peer(&self, peer: Option<SocketAddr>, now: Instant) -> Result<Permit, TurnAway> {
        let admission = &self.admission;
        admission.enter()?;
        let mut permit = Permit {
            admission: Arc::clone(admission),
            address: None,
            is_held: false,
        };
        if let Some(reason) = admission.memory_short(now) {
            return Err(reason);
        }
        if let (Some(counts), Some(peer)) = (&admission.per_address, peer) {
            let address = household(peer.ip());
            if !counts.enter(address) {
                return Err(TurnAway::AddressLimit(counts.max()));
            }
            permit.address = Some(address);
        }
        Ok(permit)
    }

    /// Keeps the permit of the connection at `key` until [`Gate::release`].
    pub(super) fn hold(&mut self, key: u32, mut permit: Permit) {
        permit.is_held = true;
        if let Some(address) = permit.address {
            self.addresses.insert(key, address);
        }
    }

    /// Gives back the permit of the connection at `key`, which has closed.
    pub(super) fn release(&mut self, key: u32) {
        self.admission.leave();
        if self.admission.per_address.is_some() {
            let address = self.addresses.remove(&key);
            self.admission.leave_address(address);
        }
    }

    /// Logs why a connection was turned away, each kind of reason once a minute.
    pub(super) fn log(&self, reason: &TurnAway, now: Instant) {
        self.admission.log(reason, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates<const N: usize>(limits: AdmissionLimits) -> [Gate; N] {
        let admission = Arc::new(Admission::new(limits, TurnAway::to_string));
        [(); N].map(|()| Gate::new(Arc::clone(&admission)))
    }

    fn limited_to(max_connections: usize, max_per_address: Option<u32>) -> AdmissionLimits {
        AdmissionLimits {
            max_connections,
            max_per_address,
            min_free_memory_percent: 0,
        }
    }

    fn peer(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_permit_returns_when_dropped_or_released() {
        let now = Instant::now();
        let [mut gate] = gates(limited_to(2, None));
        let first = gate.admit_peer(None, now).unwrap();
        let second = gate.admit_peer(None, now).unwrap();
        let full = gate.admit_peer(None, now);
        assert!(matches!(full, Err(TurnAway::ConnectionLimit(2))));
        assert!(gate.admission.problem(now).is_some());
        drop(first);
        gate.hold(7, second);
        let third = gate.admit_peer(None, now).unwrap();
        assert!(gate.admit_peer(None, now).is_err());
        gate.release(7);
        assert!(gate.admit_peer(None, now).is_ok());
        drop(third);
        assert!(gate.admission.problem(now).is_none());
    }

    #[test]
    fn too_little_available_memory_turns_connections_away() {
        let now = Instant::now();
        let all = AdmissionLimits {
            min_free_memory_percent: 100,
            ..limited_to(1, None)
        };
        let [gate] = gates(all);
        for _ in 0..2 {
            let short = gate.admit_peer(None, now);
            assert!(matches!(short, Err(TurnAway::MemoryShort(_))), "{short:?}");
        }
    }

    #[test]
    fn the_address_limit_holds_over_all_reactors() {
        let now = Instant::now();
        let [mut one, other] = gates(limited_to(100, Some(2)));
        let first = one.admit_peer(peer("10.0.0.1:5"), now).unwrap();
        one.hold(7, first);
        let mapped = other.admit_peer(peer("[::ffff:10.0.0.1]:6"), now).unwrap();
        let refused = other.admit_peer(peer("10.0.0.1:7"), now);
        assert!(matches!(refused, Err(TurnAway::AddressLimit(2))));
        assert!(other.admit_peer(peer("10.0.0.2:7"), now).is_ok());
        one.release(7);
        let again = other.admit_peer(peer("10.0.0.1:7"), now).unwrap();
        assert!(other.admit_peer(peer("10.0.0.1:8"), now).is_err());
        drop(again);
        assert!(other.admit_peer(peer("10.0.0.1:8"), now).is_ok());
        drop(mapped);
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one() {
        let now = Instant::now();
        let [gate] = gates(limited_to(100, Some(1)));
        let _held = gate.admit_peer(peer("[2001:db8::1]:5"), now).unwrap();
        assert!(gate.admit_peer(peer("[2001:db8::2]:5"), now).is_err());
        assert!(gate.admit_peer(peer("[2001:db8:0:1::2]:5"), now).is_ok());
        assert!(gate.admit_peer(None, now).is_ok());
    }
}
