//! The proxies that may name their clients, and how they do it.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A proxy that the operator trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Every peer on a Unix socket.
    Unix,
    /// Every peer in this network.
    Network(IpNet),
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let network = text.parse::<IpNet>().ok();
        let network = network.or_else(|| Some(text.parse::<IpAddr>().ok()?.into()));
        network.map(Self::Network).ok_or_else(|| {
            "expected an address or a network, such as 127.0.0.1 or 10.0.0.0/8, or unix".to_owned()
        })
    }
}

/// How trusted proxies name their clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// By the fields `Forwarded` or `X-Forwarded-For` of each request.
    #[default]
    Fields,
    /// By a PROXY header before the first byte of the connection.
    ProxyHeader,
}

/// The proxies that the operator trusts to name their clients. The default trusts none.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    /// The proxies.
    pub proxies: Vec<TrustedProxy>,
    /// How they name their clients.
    pub naming: Naming,
}

impl TrustedProxies {
    /// Whether any proxy is trusted.
    pub(super) fn are_any(&self) -> bool {
        !self.proxies.is_empty()
    }

    /// Whether the peer is a trusted proxy. A peer on a Unix socket has no address.
    pub(super) fn trust(&self, peer: Option<IpAddr>) -> bool {
        self.proxies.iter().any(|proxy| match (proxy, peer) {
            (TrustedProxy::Unix, None) => true,
            (TrustedProxy::Network(network), Some(peer)) => network.contains(&peer.to_canonical()),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_peers_are_trusted() {
        let proxies = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"].map(|it| it.parse().unwrap());
        let proxies = TrustedProxies {
            proxies: proxies.to_vec(),
            naming: Naming::Fields,
        };
        for (peer, expected) in [
            ("10.9.8.7", true),
            ("::ffff:10.9.8.7", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::1", true),
            ("::1", false),
        ] {
            assert_eq!(
                proxies.trust(Some(peer.parse().unwrap())),
                expected,
                "{peer}"
            );
        }
        assert!(!proxies.trust(None));
        assert!(!TrustedProxies::default().trust(None));
    }

    #[test]
    fn other_texts_are_not_proxies() {
        assert_eq!("unix".parse(), Ok(TrustedProxy::Unix));
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.1:80", "unix:/run/x"] {
            assert!(text.parse::<TrustedProxy>().is_err(), "{text}");
        }
    }
}
