//! The addresses that a server can listen on.

use std::fmt;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and port, or a host name and port.
    Tcp(String),
    /// The path of a Unix socket, written `unix:PATH`.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only this machine can reach the address. A name that doesn't resolve isn't local.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(text) => text.to_socket_addrs().is_ok_and(|mut addresses| {
                addresses.all(|address| address.ip().to_canonical().is_loopback())
            }),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("unix: must be followed by a path".to_owned()),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        match text.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(_)) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(
                "expected ADDRESS:PORT, such as 127.0.0.1:1999 or [::1]:1999, or unix:PATH"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => formatter.write_str(address),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_others_can_reach_are_not_local() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("localhost:1", true),
            ("unix:/tmp/admin", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
            ("nowhere.invalid:1", false),
        ] {
            let parsed: ListenAddress = address.parse().unwrap();
            assert_eq!(parsed.is_local(), expected, "{address}");
        }
    }
}
