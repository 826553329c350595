//! A limit on how many rooms the clients of one address create in a minute. A room is created by
//! its first reaction, and then takes space in the snapshot for as long as rooms are kept.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::reactor::Network;

/// Default maximum number of rooms that one address creates in a minute.
pub(crate) const DEFAULT_ROOM_CREATE_RATE: u32 = 60;
/// The time over which rooms are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of networks in the table. When it is full, the network whose window is the oldest
/// is forgotten: it may create more than its share, and no other network fewer.
const MAX_NETWORKS: usize = 65_536;

/// Whether the limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// Rooms over the limit are not created.
    Refuse,
    /// Rooms over the limit are created, and counted for the operator.
    CountOnly,
}

/// The limit on room creations, shared by all reactors.
#[derive(Debug)]
pub(crate) struct RoomCreation {
    /// Maximum number of rooms in a window; 0 for no limit.
    per_minute: u32,
    enforcement: Enforcement,
    limited: AtomicU64,
    windows: Mutex<Windows>,
}

impl RoomCreation {
    /// Limits each address to `per_minute` rooms in a minute; 0 for no limit.
    pub(crate) fn new(per_minute: u32, enforcement: Enforcement) -> Self {
        Self {
            per_minute,
            enforcement,
            limited: AtomicU64::new(0),
            windows: Mutex::default(),
        }
    }

    /// Number of reactions so far that would have created a room over the limit.
    pub(crate) fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }

    /// Whether a client may create one more room at `now`. `address` gives the address that the
    /// limit applies to, and is only called if there is a limit.
    pub(super) fn allows(&self, address: impl FnOnce() -> Option<IpAddr>, now: Instant) -> bool {
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

/// The rooms that each network has created since its window began.
#[derive(Debug, Default)]
struct Windows {
    created: HashMap<Network, u32>,
    /// When each window began, the oldest first.
    begun: VecDeque<(Instant, Network)>,
}

impl Windows {
    /// Counts one more room for the networks of `address`, unless one of them has `limit` already.
    /// Returns whether the room was counted.
    fn take(&mut self, address: IpAddr, limit: u32, now: Instant) -> bool {
        while let Some((at, _)) = self.begun.front()
            && now.saturating_duration_since(*at) >= WINDOW
        {
            self.forget_oldest();
        }
        let has_room = |network: Network| {
            let created = self.created.get(&network).copied().unwrap_or(0);
            created < network.limit(limit)
        };
        if !Network::all_of(address).all(has_room) {
            return false;
        }
        for network in Network::all_of(address) {
            if let Some(created) = self.created.get_mut(&network) {
                *created += 1;
                continue;
            }
            if self.created.len() == MAX_NETWORKS {
                self.forget_oldest();
            }
            self.created.insert(network, 1);
            self.begun.push_back((now, network));
        }
        true
    }

    fn forget_oldest(&mut self) {
        if let Some((_, network)) = self.begun.pop_front() {
            self.created.remove(&network);
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
    fn each_address_creates_so_many_rooms_a_minute() {
        let creation = RoomCreation::new(2, Enforcement::Refuse);
        let now = Instant::now();
        let allows = |number, after| {
            let at = now + Duration::from_secs(after);
            creation.allows(|| address(number), at)
        };
        assert!(allows(1, 0) && allows(1, 30));
        assert!(!allows(1, 59));
        assert!(allows(2, 59), "another address has its own limit");
        assert!(allows(1, 60), "a new window has begun");
        assert_eq!(creation.limited(), 1);
        for _ in 0..10 {
            assert!(creation.allows(|| None, now), "this machine has no limit");
        }
    }

    #[test]
    fn a_48_bit_network_has_a_limit_too() {
        let creation = RoomCreation::new(1, Enforcement::Refuse);
        let now = Instant::now();
        let created = (0..100u128).filter(|household| {
            let bits = 0x2001_0db8_u128 << 96 | household << 64;
            creation.allows(|| Some(Ipv6Addr::from_bits(bits).into()), now)
        });
        assert_eq!(created.count(), 16);
    }

    #[test]
    fn a_dry_run_counts_and_refuses_nothing() {
        let creation = RoomCreation::new(1, Enforcement::CountOnly);
        let now = Instant::now();
        assert!((0..3).all(|_| creation.allows(|| address(1), now)));
        assert_eq!(creation.limited(), 2);
        let off = RoomCreation::new(0, Enforcement::Refuse);
        let asked = || -> Option<IpAddr> { panic!("without a limit no address is needed") };
        assert!(off.allows(asked, now));
    }

    #[test]
    fn the_table_is_bounded_and_fails_open() {
        let creation = RoomCreation::new(1, Enforcement::Refuse);
        let now = Instant::now();
        for number in 0..MAX_NETWORKS as u32 + 10 {
            assert!(creation.allows(|| address(number), now));
        }
        assert_eq!(creation.windows.lock().unwrap().created.len(), MAX_NETWORKS);
        assert!(creation.allows(|| address(0), now), "it was forgotten");
        assert!(!creation.allows(|| address(1000), now));
        assert!(creation.allows(|| address(5), now + WINDOW));
        assert_eq!(creation.windows.lock().unwrap().created.len(), 1);
    }
}
