//! The networks under which an address counts: limits by address are limits by network.

use std::net::{IpAddr, Ipv4Addr};

/// How many times the limit of a household a whole site has.
const SITE_FACTOR: u32 = 16;

/// A network whose connections count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    /// One IPv4 address.
    Address(Ipv4Addr),
    /// An IPv6 network of 64 bits, which is what one household has.
    Household(u64),
    /// An IPv6 network of 48 bits, which is what one organisation has. It has 65,536 households, so
    /// it has a limit of its own.
    Site(u64),
}

impl Network {
    /// The networks of `address`, the smallest first.
    pub(crate) fn all_of(address: IpAddr) -> impl Iterator<Item = Self> {
        let networks = match address.to_canonical() {
            IpAddr::V4(address) => [Some(Self::Address(address)), None],
            IpAddr::V6(address) => {
                let household = (address.to_bits() >> 64) as u64;
                [
                    Some(Self::Household(household)),
                    Some(Self::Site(household >> 16)),
                ]
            }
        };
        networks.into_iter().flatten()
    }

    /// The limit of this network if a household has the limit `limit`.
    pub(crate) fn limit(self, limit: u32) -> u32 {
        match self {
            Self::Address(_) | Self::Household(_) => limit,
            Self::Site(_) => limit.saturating_mul(SITE_FACTOR),
        }
    }
}
