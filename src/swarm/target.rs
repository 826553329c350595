//! The target of the load: a `ws://` URL, which must resolve to this machine unless other hosts are
//! allowed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use tungstenite::http::Uri;

use super::error::SwarmError;
use super::wire;

/// Whether the target may be another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForeignHosts {
    /// The target must be loopback.
    Refuse,
    /// The target may be any machine.
    Allow,
}

/// A server and the path of its room.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    authority: String,
    path: String,
}

impl Target {
    /// Parses and resolves `url`.
    pub(super) fn resolve(url: &str, foreign_hosts: ForeignHosts) -> Result<Self, SwarmError> {
        let bad = |reason: &str| SwarmError::Url {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let uri: Uri = url
            .parse()
            .map_err(|error: tungstenite::http::uri::InvalidUri| bad(&error.to_string()))?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(bad("TLS is not supported, use ws://")),
            _ => return Err(bad("it must start with ws://")),
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(80);
        let mut addresses: Vec<SocketAddr> = (host, port)
            .to_socket_addrs()
            .map_err(|error| bad(&error.to_string()))?
            .collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let address = *addresses
            .first()
            .ok_or_else(|| bad("its host has no address"))?;
        if !address.ip().to_canonical().is_loopback() && foreign_hosts == ForeignHosts::Refuse {
            return Err(SwarmError::Foreign(address));
        }
        Ok(Self {
            address,
            authority: authority.as_str().to_owned(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }

    /// Whether both ends are IPv4 loopback, so that source addresses can be spread.
    pub(super) fn is_ipv4_loopback(&self) -> bool {
        matches!(self.address.ip(), IpAddr::V4(ip) if ip.is_loopback())
    }

    /// Returns an upgrade request for each room. A single room has the path of the URL. With
    /// several rooms, `-N` is added to the path.
    pub(super) fn requests(&self, rooms: u16) -> Vec<Vec<u8>> {
        if rooms == 1 {
            return vec![wire::request(&self.authority, &self.path)];
        }
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (self.path.as_str(), String::new()),
        };
        (0..rooms)
            .map(|room| wire::request(&self.authority, &format!("{path}-{room}{query}")))
            .collect()
    }
}

/// Returns the source address of the `serial`-th block of connections. Addresses start at
/// 127.0.1.0, which leaves 127.0.0.1 to other programs, and start again at the end of 127.0.0.0/8.
pub(super) fn source_address(serial: u64) -> Ipv4Addr {
    const FIRST: u32 = u32::from_be_bytes([127, 0, 1, 0]);
    const LAST: u32 = u32::from_be_bytes([127, 255, 254, 255]);
    let offset = serial % u64::from(LAST - FIRST + 1);
    Ipv4Addr::from(FIRST + offset as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_accepted_unless_foreign_hosts_are_allowed() {
        let url = "ws://127.0.0.1:1999/parties/main/talk";
        let target = Target::resolve(url, ForeignHosts::Refuse).unwrap();
        assert_eq!(target.address, "127.0.0.1:1999".parse().unwrap());
        assert!(target.is_ipv4_loopback());
        assert!(Target::resolve("ws://[::1]:1999/x", ForeignHosts::Refuse).is_ok());
        assert!(matches!(
            Target::resolve("ws://192.0.2.1/x", ForeignHosts::Refuse),
            Err(SwarmError::Foreign(_))
        ));
        assert!(Target::resolve("ws://192.0.2.1/x", ForeignHosts::Allow).is_ok());
    }

    #[test]
    fn other_urls_are_refused_with_a_reason() {
        for bad in [
            "wss://127.0.0.1/x",
            "http://127.0.0.1/x",
            "/x",
            "ws://",
            "127.0.0.1:1999",
        ] {
            assert!(Target::resolve(bad, ForeignHosts::Refuse).is_err(), "{bad}");
        }
    }

    #[test]
    fn room_numbers_precede_the_query() {
        let target = Target::resolve(
            "ws://127.0.0.1:1/parties/main/talk?a=b",
            ForeignHosts::Refuse,
        )
        .unwrap();
        let requests = target.requests(2);
        assert!(requests[1].starts_with(b"GET /parties/main/talk-1?a=b HTTP/1.1\r\n"));
        assert!(target.requests(1)[0].starts_with(b"GET /parties/main/talk?a=b HTTP/1.1\r\n"));
    }

    #[test]
    fn source_addresses_stay_in_loopback() {
        assert_eq!(source_address(0), Ipv4Addr::new(127, 0, 1, 0));
        assert_eq!(source_address(257), Ipv4Addr::new(127, 0, 2, 1));
        assert!(source_address(u64::MAX).is_loopback());
    }
}
