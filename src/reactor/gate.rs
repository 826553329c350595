//! The gate: one reactor's side of admission. It knows where connections come from, as far as that
//! matters: which address counts against a limit, and which peers are trusted proxies.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use super::admission::{Admission, TurnAway};
use super::proxies::Naming;

/// The address of a peer that has none or whose address can't be read, where it must have one.
const NO_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// A Unix socket.
    Unix,
    /// This address.
    Tcp(IpAddr),
}

impl Peer {
    fn of(socket: &Socket) -> Self {
        match socket.peer_addr() {
            Ok(address) if address.is_unix() => Self::Unix,
            Ok(address) => {
                let address = address.as_socket().map(|it| it.ip().to_canonical());
                Self::Tcp(address.unwrap_or(NO_ADDRESS))
            }
            // The peer has reset the connection. All such peers count as one.
            Err(_) => Self::Tcp(NO_ADDRESS),
        }
    }

    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Unix => None,
            Self::Tcp(address) => Some(address),
        }
    }

    /// The address that limits apply to, if no proxy names the client. This machine has no limits.
    fn limited(self) -> Option<IpAddr> {
        self.address().filter(|address| !address.is_loopback())
    }
}

/// What the gate remembers of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    /// The client's address, if limits apply to it. It is counted against the limit.
    client: Option<IpAddr>,
    source: Source,
}

/// How the client's address becomes known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// It is known.
    Known,
    /// The PROXY header that comes first says it.
    Header,
    /// Each request of the trusted proxy at this address says it.
    Fields(IpAddr),
}

/// The right to one connection. Dropping it gives the right back; [`Gate::hold`] keeps it as long
/// as the connection lives.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    origin: Option<Origin>,
    /// Whether the connection counts against the limit on all connections.
    is_counted: bool,
    is_held: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_held {
            if self.is_counted {
                self.admission.leave();
            }
            if let Some(address) = self.origin.and_then(|origin| origin.client) {
                self.admission.leave_address(address);
            }
        }
    }
}

/// One reactor's side of admission.
#[derive(Debug)]
pub(super) struct Gate {
    admission: Arc<Admission>,
    /// The origins of connections by their keys: of those from trusted proxies, and of those that
    /// count against a limit. The origin of every other connection is its peer.
    origins: HashMap<u32, Origin>,
}

impl Gate {
    pub(super) fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            origins: HashMap::new(),
        }
    }

    /// Admits the connection of `socket`.
    ///
    /// # Errors
    /// [`TurnAway`] says which limit is in the way.
    pub(super) fn admit(&self, socket: &Socket, now: Instant) -> Result<Permit, TurnAway> {
        // Only limits and proxies are worth a system call for each connection.
        let admission = &self.admission;
        let is_peer_needed = admission.limits_addresses() || admission.proxies.are_any();
        self.admit_peer(is_peer_needed.then(|| Peer::of(socket)), now)
    }

    /// Admits a connection from `peer`, which is `None` if it does not matter.
    fn admit_peer(&self, peer: Option<Peer>, now: Instant) -> Result<Permit, TurnAway> {
        let admission = &self.admission;
        // The limit on addresses comes first: an address that is over it makes no other connection give way.
        let mut permit = Permit {
            admission: Arc::clone(admission),
            origin: peer.map_or(Ok(None), |peer| self.enter_from(peer))?,
            is_counted: false,
            is_held: false,
        };
        admission.enter()?;
        permit.is_counted = true;
        match admission.memory_short(now) {
            Some(reason) => Err(reason),
            None => Ok(permit),
        }
    }

    /// Counts one more connection from the address of `peer`, if addresses are limited. Returns
    /// what the gate must remember of the connection.
    fn enter_from(&self, peer: Peer) -> Result<Option<Origin>, TurnAway> {
        let admission = &self.admission;
        if admission.proxies.trust(peer.address()) {
            let source = match admission.proxies.naming {
                Naming::ProxyHeader => Source::Header,
                Naming::Fields => Source::Fields(peer.address().unwrap_or(NO_ADDRESS)),
            };
            let client = None;
            Ok(Some(Origin { client, source }))
        } else if admission.limits_addresses()
            && let Some(address) = peer.limited()
        {
            admission.enter_address(address)?;
            Ok(Some(Origin {
                client: Some(address),
                source: Source::Known,
            }))
        } else {
            Ok(None)
        }
    }

    /// Whether connections that await a request give way to newcomers.
    pub(super) fn makes_room(&self) -> bool {
        self.admission.makes_room
    }

    /// Keeps the permit of the connection at `key` until [`Gate::release`].
    pub(super) fn hold(&mut self, key: u32, mut permit: Permit) {
        permit.is_held = true;
        if let Some(origin) = permit.origin {
            self.origins.insert(key, origin);
        }
    }

    /// Gives back the permit of the connection at `key`, which has closed.
    pub(super) fn release(&mut self, key: u32) {
        self.admission.leave();
        if !self.origins.is_empty()
            && let Some(origin) = self.origins.remove(&key)
            && let Some(address) = origin.client
        {
            self.admission.leave_address(address);
        }
    }

    /// Whether the connection at `key` must begin with a PROXY header that has not come yet.
    pub(super) fn awaits_header(&self, key: u32) -> bool {
        let proxies = &self.admission.proxies;
        proxies.naming == Naming::ProxyHeader && self.source(key) == Some(Source::Header)
    }

    /// The address of the proxy whose requests on the connection at `key` name their clients.
    pub(super) fn naming_proxy(&self, key: u32) -> Option<IpAddr> {
        let proxies = &self.admission.proxies;
        if !proxies.are_any() || proxies.naming != Naming::Fields {
            return None;
        }
        match self.source(key)? {
            Source::Fields(proxy) => Some(proxy),
            Source::Known | Source::Header => None,
        }
    }

    /// Whether `address` is a trusted proxy's.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.admission.proxies.trust(Some(address))
    }

    /// Notes the client that a trusted proxy names for the connection at `key`. The permit of the
    /// client that it named before goes back.
    ///
    /// # Errors
    /// [`TurnAway`] if the client's address has as many connections as it may.
    pub(super) fn name(&mut self, key: u32, client: Option<IpAddr>) -> Result<(), TurnAway> {
        let Some(origin) = self.origins.get_mut(&key) else {
            return Ok(());
        };
        if origin.source == Source::Header {
            origin.source = Source::Known;
        }
        let client = client.map(|address| address.to_canonical());
        if origin.client == client {
            return Ok(());
        }
        if let Some(address) = client {
            self.admission.enter_address(address)?;
        }
        if let Some(address) = std::mem::replace(&mut origin.client, client) {
            self.admission.leave_address(address);
        }
        Ok(())
    }

    /// The address of the client of the connection at `key`, if limits apply to it.
    pub(super) fn client(&self, key: u32, socket: &Socket) -> Option<IpAddr> {
        match self.origins.get(&key) {
            Some(origin) => origin.client,
            None => Peer::of(socket).limited(),
        }
    }

    /// Whether the client of the connection at `key` may send one more request.
    pub(super) fn allows_request(&self, key: u32, socket: &Socket, now: Instant) -> bool {
        let client = || self.client(key, socket);
        self.admission.requests.allows(client, now)
    }

    /// Logs why a connection was turned away, each kind of reason once a minute.
    pub(super) fn log(&self, reason: &TurnAway, now: Instant) {
        if let TurnAway::Accept(error) = reason {
            self.admission.note_accept_error(error, now);
        }
        self.admission.log(reason, now);
    }

    fn source(&self, key: u32) -> Option<Source> {
        self.origins.get(&key).map(|origin| origin.source)
    }
}

#[cfg(test)]
mod tests {
    use super::super::admission::AdmissionLimits;
    use super::super::proxies::TrustedProxies;
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
            makes_room: false,
        }
    }

    fn peer(text: &str) -> Option<Peer> {
        let address: IpAddr = text.parse().unwrap();
        Some(Peer::Tcp(address.to_canonical()))
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
        let first = one.admit_peer(peer("10.0.0.1"), now).unwrap();
        one.hold(7, first);
        let mapped = other.admit_peer(peer("::ffff:10.0.0.1"), now).unwrap();
        let refused = other.admit_peer(peer("10.0.0.1"), now);
        assert!(matches!(refused, Err(TurnAway::AddressLimit(2))));
        assert!(other.admit_peer(peer("10.0.0.2"), now).is_ok());
        one.release(7);
        let again = other.admit_peer(peer("10.0.0.1"), now).unwrap();
        assert!(other.admit_peer(peer("10.0.0.1"), now).is_err());
        drop(again);
        assert!(other.admit_peer(peer("10.0.0.1"), now).is_ok());
        drop(mapped);
    }

    #[test]
    fn a_refused_connection_leaves_no_count_behind() {
        let now = Instant::now();
        let [gate] = gates(limited_to(1, Some(1)));
        let held = gate.admit_peer(peer("10.0.0.1"), now).unwrap();
        let over = gate.admit_peer(peer("10.0.0.1"), now);
        assert!(matches!(over, Err(TurnAway::AddressLimit(1))));
        let full = gate.admit_peer(peer("10.0.0.2"), now);
        assert!(matches!(full, Err(TurnAway::ConnectionLimit(1))));
        drop(held);
        assert!(gate.admit_peer(peer("10.0.0.2"), now).is_ok());
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one() {
        let now = Instant::now();
        let [gate] = gates(limited_to(100, Some(1)));
        let _held = gate.admit_peer(peer("2001:db8::1"), now).unwrap();
        assert!(gate.admit_peer(peer("2001:db8::2"), now).is_err());
        assert!(gate.admit_peer(peer("2001:db8:0:1::2"), now).is_ok());
        assert!(gate.admit_peer(None, now).is_ok());
    }

    #[test]
    fn peers_on_this_machine_have_no_limit() {
        let now = Instant::now();
        let [mut gate] = gates(limited_to(100, Some(1)));
        for local in [peer("127.0.0.1"), peer("::1"), Some(Peer::Unix)] {
            for key in 0..3 {
                let permit = gate.admit_peer(local, now).unwrap();
                gate.hold(key, permit);
            }
        }
        assert!(gate.origins.is_empty());
    }

    #[test]
    fn a_trusted_proxy_counts_for_the_clients_it_names() {
        let now = Instant::now();
        let trusted = TrustedProxies {
            proxies: vec!["127.0.0.1".parse().unwrap()],
            naming: Naming::Fields,
        };
        let admission = Admission::new(limited_to(100, Some(1)), TurnAway::to_string);
        let mut gate = Gate::new(Arc::new(admission.trusting(trusted)));
        for key in 0..3 {
            let permit = gate.admit_peer(peer("127.0.0.1"), now).unwrap();
            gate.hold(key, permit);
            assert!(gate.naming_proxy(key).is_some());
        }
        let [one, other] = ["127.0.0.5", "127.0.0.6"].map(|it| it.parse().ok());
        assert!(gate.name(0, one).is_ok());
        assert!(gate.name(0, one).is_ok(), "the same client again");
        assert!(gate.name(1, one).is_err());
        assert!(gate.name(1, other).is_ok());
        assert!(gate.name(0, None).is_ok());
        assert!(gate.name(2, one).is_ok(), "the first has gone back");
        gate.release(2);
        assert!(gate.name(0, one).is_ok());
        gate.release(0);
        gate.release(1);
        assert!(gate.origins.is_empty());
        assert!(gate.admission.enter_address(one.unwrap()).is_ok());
    }
}
