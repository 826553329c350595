//! A limit on how often the clients of one address do something in a minute, such as creating a
//! room or sending a request.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::network::Network;

/// The time over which is counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of networks in the table. When it is full, the network whose window is the oldest
/// is forgotten: it may do more than its share, and no other network less.
const MAX_NETWORKS: usize = 65_536;

/// Whether the limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// What is over the limit is refused.
    Refuse,
    /// What is over the limit is allowed, and counted for the operator.
    CountOnly,
}

/// A limit for each address, shared by all reactors.
#[derive(Debug)]
pub(crate) struct AddressRate {
    /// Maximum number in a window; 0 for no limit.
    per_minute: u32,
    enforcement: Enforcement,
    limited: AtomicU64,
    windows: Mutex<Windows>,
}

impl AddressRate {
    /// Limits each address to `per_minute` times in a minute; 0 for no limit.
    pub(crate) fn new(per_minute: u32, enforcement: Enforcement) -> Self {
        Self {
            per_minute,
            enforcement,
            limited: AtomicU64::new(0),
            windows: Mutex::default(),
        }
    }

    /// How often so far a client was over the limit.
    pub(crate) fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }

    /// Whether a client may do it once more at `now`. `address` gives the address that the limit
    /// applies to, and is only called if there is a limit.
    pub(crate) fn allows(&self, address: impl FnOnce() -> Option<IpAddr>, now: Instant) -> bool {
        if self.per_minute == 0 {
            return true;
        }
        let Some(address) = address() else {
            return true;
        };
        let windows = self.windows.lock();
        let mut windows = windows.unwrap_or_else(PoisonError::into_inner);
        if windows.take(address, self.per_minute, now) {
            return true;
        }
        self.limited.fetch_add(1, Ordering::Relaxed);
        self.enforcement == Enforcement::CountOnly
    }
}

/// How often each network did it since its window began.
#[derive(Debug, Default)]
struct Windows {
    counts: HashMap<Network, u32>,
    /// When each window began, the oldest first.
    begun: VecDeque<(Instant, Network)>,
}

impl Windows {
    /// Counts once more for the networks of `address`, unless one of them is at `limit` already.
    /// Returns whether it was counted.
    fn take(&mut self, address: IpAddr, limit: u32, now: Instant) -> bool {
        while let Some((at, _)) = self.begun.front()
            && now.saturating_duration_since(*at) >= WINDOW
        {
            self.forget_oldest();
        }
        let has_room = |network: Network| {
            let count = self.counts.get(&network).copied().unwrap_or(0);
            count < network.limit(limit)
        };
        if !Network::all_of(address).all(has_room) {
            return false;
        }
        for network in Network::all_of(address) {
            if let Some(count) = self.counts.get_mut(&network) {
                *count += 1;
                continue;
            }
            if self.counts.len() == MAX_NETWORKS {
                self.forget_oldest();
            }
            self.counts.insert(network, 1);
            self.begun.push_back((now, network));
        }
        true
    }

    fn forget_oldest(&mut self) {
        if let Some((_, network)) = self.begun.pop_front() {
            self.counts.remove(&network);
        }
        if self.begun.is_empty() {
            // A table that was large once gives its memory back.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn address(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn each_address_has_so_many_times_a_minute() {
        let rate = AddressRate::new(2, Enforcement::Refuse);
        let now = Instant::now();
        let allows = |number, after| {
            let at = now + Duration::from_secs(after);
            rate.allows(|| address(number), at)
        };
        assert!(allows(1, 0) && allows(1, 30));
        assert!(!allows(1, 59));
        assert!(allows(2, 59), "another address has its own limit");
        assert!(allows(1, 60), "a new window has begun");
        assert_eq!(rate.limited(), 1);
        for _ in 0..10 {
            assert!(rate.allows(|| None, now), "this machine has no limit");
        }
    }

    #[test]
    fn a_48_bit_network_has_a_limit_too() {
        let rate = AddressRate::new(1, Enforcement::Refuse);
        let now = Instant::now();
        let created = (0..100u128).filter(|household| {
            let bits = 0x2001_0db8_u128 << 96 | household << 64;
            rate.allows(|| Some(Ipv6Addr::from_bits(bits).into()), now)
        });
        assert_eq!(created.count(), 16);
    }

    #[test]
    fn a_dry_run_counts_and_refuses_nothing() {
        let rate = AddressRate::new(1, Enforcement::CountOnly);
        let now = Instant::now();
        assert!((0..3).all(|_| rate.allows(|| address(1), now)));
        assert_eq!(rate.limited(), 2);
        let off = AddressRate::new(0, Enforcement::Refuse);
        let asked = || -> Option<IpAddr> { panic!("without a limit no address is needed") };
        assert!(off.allows(asked, now));
    }

    #[test]
    fn the_table_is_bounded_and_fails_open() {
        let rate = AddressRate::new(1, Enforcement::Refuse);
        let now = Instant::now();
        for number in 0..MAX_NETWORKS as u32 + 10 {
            assert!(rate.allows(|| address(number), now));
        }
        assert_eq!(rate.windows.lock().unwrap().counts.len(), MAX_NETWORKS);
        assert!(rate.allows(|| address(0), now), "it was forgotten");
        assert!(!rate.allows(|| address(1000), now));
        assert!(rate.allows(|| address(5), now + WINDOW));
        assert_eq!(rate.windows.lock().unwrap().counts.len(), 1);
    }
}
