//! Who may come in: the limit on connections, the cap on those of one address, and what is said of
//! those that are turned away. Shared by all reactors; nothing is kept of addresses without a cap.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::os::kernel_number::KernelNumber;
use crate::os::meminfo;

/// The default of the most connections of all reactors together.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4_000_000;
/// The default of the memory that must be available to let anyone in, in percent of all.
pub const DEFAULT_MIN_FREE_MEMORY_PERCENT: u8 = 4;
/// How often it is read at most.
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// How long the same reason for turning connections away is not logged again.
const SILENCE: Duration = Duration::from_secs(60);
/// Why somebody is turned away.
pub(super) const FULL: &str = "the limit of --max-connections is reached";
/// The same.
pub(super) const SHORT_OF_MEMORY: &str = "memory is short (--min-free-memory-percent)";
/// Reasons that are remembered. There are fewer, unless the system makes some up.
const MAX_REASONS: usize = 64;

/// What all reactors know of who may come in.
#[derive(Debug)]
pub struct Admission {
    max_connections: usize,
    open: AtomicUsize,
    per_address: Option<Arc<AddressCounts>>,
    /// The least memory that must be free, in KiB.
    min_free_kib: u64,
    free_kib: KernelNumber,
    said: Mutex<Vec<(String, Instant)>>,
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(
            DEFAULT_MAX_CONNECTIONS,
            None,
            DEFAULT_MIN_FREE_MEMORY_PERCENT,
        )
    }
}

impl Admission {
    /// Lets at most `max_connections` in, and of one address at most `max_per_address`, if given;
    /// and nobody while less than `min_free_memory_percent` of the machine's memory is available:
    /// most of what a connection costs is the kernel's, which at the end kills whom it likes.
    pub fn new(
        max_connections: usize,
        max_per_address: Option<u32>,
        min_free_memory_percent: u8,
    ) -> Self {
        let text = std::fs::read_to_string(meminfo::PATH).unwrap_or_default();
        let total_kib = meminfo::total_kib(&text).unwrap_or(0);
        Self {
            min_free_kib: total_kib * u64::from(min_free_memory_percent) / 100,
            free_kib: KernelNumber::new(
                meminfo::PATH,
                meminfo::available_kib,
                MEMORY_INTERVAL,
                u64::MAX,
            ),
            max_connections,
            open: AtomicUsize::new(0),
            per_address: max_per_address.map(|most| Arc::new(AddressCounts::new(most))),
            said: Mutex::default(),
        }
    }

    /// Takes one of the places, if there is one.
    pub(super) fn take_place(&self) -> bool {
        let has_place = self.open.fetch_add(1, Ordering::Relaxed) < self.max_connections;
        if !has_place {
            self.leave_place();
        }
        has_place
    }

    pub(super) fn is_memory_short(&self, now: Instant) -> bool {
        self.free_kib.get(now) < self.min_free_kib
    }

    /// Why nobody would be let in now, if that is so.
    pub fn trouble(&self, now: Instant) -> Option<&'static str> {
        if self.open.load(Ordering::Relaxed) >= self.max_connections {
            return Some(FULL);
        }
        self.is_memory_short(now).then_some(SHORT_OF_MEMORY)
    }

    pub(super) fn leave_place(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn addresses(&self) -> Addresses {
        Addresses::new(self.per_address.clone())
    }

    /// Says why connections are turned away, each reason once in a while.
    pub(super) fn turned_away(&self, why: &dyn fmt::Display) {
        let why = why.to_string();
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|(_, at)| now.duration_since(*at) < SILENCE);
        if said.len() < MAX_REASONS && !said.iter().any(|(reason, _)| *reason == why) {
            tracing::warn!(%why, "turning new connections away; those that are open stay");
            said.push((why, now));
        }
    }
}

/// The connections of each address, counted over all reactors.
#[derive(Debug)]
pub(super) struct AddressCounts {
    most: u32,
    counts: Mutex<HashMap<IpAddr, u32>>,
}

impl AddressCounts {
    /// At most `most` connections from each address; of IPv6, from each network of 64 bits, which
    /// is what one household has.
    fn new(most: u32) -> Self {
        Self {
            most,
            counts: Mutex::default(),
        }
    }

    fn enter(&self, address: IpAddr) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        let may_enter = *count < self.most;
        if may_enter {
            *count += 1;
        }
        may_enter
    }

    fn leave(&self, address: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// The addresses of one reactor's connections, if there is a cap.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    counts: Option<Arc<AddressCounts>>,
    by_key: HashMap<u32, IpAddr>,
}

impl Addresses {
    fn new(counts: Option<Arc<AddressCounts>>) -> Self {
        Self {
            counts,
            by_key: HashMap::new(),
        }
    }

    /// Whether one more connection from this peer may enter; if so, it is counted. A peer without
    /// an address, on a Unix socket, always may.
    pub(super) fn enter(&self, peer: Option<SocketAddr>) -> Result<Option<IpAddr>, ()> {
        let (Some(counts), Some(peer)) = (&self.counts, peer) else {
            return Ok(None);
        };
        let address = household(peer.ip());
        counts.enter(address).then_some(Some(address)).ok_or(())
    }

    /// The connection that entered with this address has this key.
    pub(super) fn assign(&mut self, key: u32, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.by_key.insert(key, address);
        }
    }

    /// The connection that entered with this address was not opened after all.
    pub(super) fn give_up(&self, address: Option<IpAddr>) {
        if let (Some(counts), Some(address)) = (&self.counts, address) {
            counts.leave(address);
        }
    }

    /// The connection at `key` has closed.
    pub(super) fn leave(&mut self, key: u32) {
        if self.counts.is_some() {
            let address = self.by_key.remove(&key);
            self.give_up(address);
        }
    }

    pub(super) fn are_counted(&self) -> bool {
        self.counts.is_some()
    }
}

fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_and_left() {
        let admission = Admission::new(2, None, 0);
        assert_eq!(
            [(); 3].map(|()| admission.take_place()),
            [true, true, false]
        );
        admission.leave_place();
        assert_eq!([(); 2].map(|()| admission.take_place()), [true, false]);
    }

    #[test]
    fn memory_is_short_when_less_is_available_than_must_be() {
        let now = Instant::now();
        assert!(!Admission::new(1, None, 0).is_memory_short(now));
        assert!(Admission::new(1, None, 100).is_memory_short(now));
    }

    #[test]
    fn the_cap_holds_for_an_address_over_all_reactors() {
        let counts = Arc::new(AddressCounts::new(2));
        let mut reactors = [0, 1].map(|_| Addresses::new(Some(Arc::clone(&counts))));
        let peer = |text: &str| Some(text.parse().unwrap());
        let first = reactors[0].enter(peer("10.0.0.1:5")).unwrap();
        reactors[0].assign(7, first);
        assert!(reactors[1].enter(peer("[::ffff:10.0.0.1]:6")).is_ok());
        assert!(reactors[1].enter(peer("10.0.0.1:7")).is_err());
        assert!(reactors[1].enter(peer("10.0.0.2:7")).is_ok());
        reactors[0].leave(7);
        reactors[0].leave(7);
        let again = reactors[1].enter(peer("10.0.0.1:7")).unwrap();
        assert!(reactors[1].enter(peer("10.0.0.1:8")).is_err());
        reactors[1].give_up(again);
        assert!(reactors[1].enter(peer("10.0.0.1:8")).is_ok());
    }

    #[test]
    fn a_network_of_64_bits_counts_as_one() {
        let addresses = Addresses::new(Some(Arc::new(AddressCounts::new(1))));
        let peer = |text: &str| Some(text.parse().unwrap());
        assert!(addresses.enter(peer("[2001:db8::1]:5")).is_ok());
        assert!(addresses.enter(peer("[2001:db8::2]:5")).is_err());
        assert!(addresses.enter(peer("[2001:db8:0:1::2]:5")).is_ok());
        assert!(addresses.enter(None).is_ok());
    }
}
