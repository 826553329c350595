//! The number of connections from each address, over all reactors, where it is limited.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The connections of each address.
#[derive(Debug)]
pub(super) struct AddressCounts {
    max: u32,
    counts: Mutex<HashMap<IpAddr, u32>>,
}

impl AddressCounts {
    /// Limits each address to `max` connections.
    pub(super) fn new(max: u32) -> Self {
        Self {
            max,
            counts: Mutex::default(),
        }
    }

    /// The limit.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// Counts one more connection from `address`, unless the limit is reached. Returns whether
    /// the connection was counted.
    pub(super) fn enter(&self, address: IpAddr) -> bool {
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        let may_enter = *count < self.max;
        if may_enter {
            *count += 1;
        }
        may_enter
    }

    /// Counts one connection less from `address`.
    pub(super) fn leave(&self, address: IpAddr) {
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address under which a peer is counted: its IPv4 address, or the IPv6 network of 64 bits,
/// which is what one household has.
pub(super) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
    }
}
