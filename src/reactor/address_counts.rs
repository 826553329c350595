//! The number of connections from each address, over all reactors, where it is limited.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::network::Network;

/// The connections of each network.
#[derive(Debug)]
pub(super) struct AddressCounts {
    max: u32,
    counts: Mutex<HashMap<Network, u32>>,
}

impl AddressCounts {
    /// Limits each IPv4 address and each IPv6 network of 64 bits to `max` connections.
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

    /// Counts one more connection from `address`, unless a limit is reached. Returns whether the
    /// connection was counted.
    pub(super) fn enter(&self, address: IpAddr) -> bool {
        let mut counts = self.counts();
        let has_room = |network: Network| {
            let count = counts.get(&network).copied().unwrap_or(0);
            count < network.limit(self.max)
        };
        let may_enter = Network::all_of(address).all(has_room);
        if may_enter {
            for network in Network::all_of(address) {
                *counts.entry(network).or_default() += 1;
            }
        }
        may_enter
    }

    /// Counts one connection less from `address`.
    pub(super) fn leave(&self, address: IpAddr) {
        let mut counts = self.counts();
        for network in Network::all_of(address) {
            if let Some(count) = counts.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&network);
                }
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Network, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_48_bit_network_has_16_times_the_limit() {
        let counts = AddressCounts::new(2);
        let address = |household: u16| {
            let text = format!("2001:db8:1:{household:x}::1");
            text.parse::<IpAddr>().unwrap()
        };
        let entered = (0..100).filter(|number| counts.enter(address(*number)));
        assert_eq!(entered.count(), 32);
        assert!(!counts.enter(address(0)), "the site is full");
        assert!(counts.enter("2001:db8:2::1".parse().unwrap()));
        counts.leave(address(5));
        assert!(counts.enter(address(0)), "the site has room for one");
        assert!(!counts.enter(address(1)));
        for number in 0..32 {
            counts.leave(address(number));
        }
        counts.leave("2001:db8:2::1".parse().unwrap());
        assert!(counts.enter(address(7)));
    }

    #[test]
    fn a_refused_connection_is_not_counted() {
        let counts = AddressCounts::new(1);
        let address = "10.0.0.1".parse().unwrap();
        assert!(counts.enter(address));
        assert!(!counts.enter(address));
        counts.leave(address);
        assert!(counts.enter(address));
        counts.leave(address);
        assert!(counts.counts().is_empty());
    }
}
