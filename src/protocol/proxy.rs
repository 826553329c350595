//! The PROXY protocol, versions 1 and 2: the header with which a proxy names its client before the
//! first byte of the connection (HAProxy's `doc/proxy-protocol.txt`).
//!
//! The server reads the client's address and nothing else: it skips ports and the extensions (TLVs)
//! of version 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// Maximum length of a header of version 1 with its line end, in bytes.
const MAX_LINE_BYTES: usize = 107;
/// Maximum length of a header of version 2 with its extensions, in bytes. Certificates that proxies
/// describe in extensions take a few hundred.
pub const MAX_HEADER_BYTES: usize = 4096;
/// The first bytes of version 1.
const LINE_START: &[u8] = b"PROXY ";
/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of version 2 up to its addresses, in bytes.
const FIXED_BYTES: usize = 16;

/// What a header says about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The client with this address.
    Client(IpAddr),
    /// No client is named: the proxy itself connects, for a health check (`LOCAL`), or the proxy
    /// does not know its client's address (`UNKNOWN`).
    NoClient,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// The bytes begin in another way.
    #[error("the PROXY header is missing")]
    Missing,
    /// The header breaks the protocol.
    #[error("malformed PROXY header")]
    Malformed,
    /// The header is longer than [`MAX_HEADER_BYTES`].
    #[error("PROXY header too large")]
    TooLarge,
}

/// Parses the header at the start of `bytes`. Returns what it says about the client, and
/// its length, or `None` if the header isn't complete.
///
/// # Errors
/// [`ProxyError`], as soon as the error is certain.
pub fn parse(bytes: &[u8]) -> Result<Option<(Named, usize)>, ProxyError> {
    if begins(bytes, SIGNATURE) {
        parse_binary(bytes)
    } else if begins(bytes, LINE_START) {
        parse_line(bytes)
    } else {
        Err(ProxyError::Missing)
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let length = bytes.len().min(start.len());
    bytes[..length] == start[..length]
}

/// Parses version 1: a line of text.
fn parse_line(bytes: &[u8]) -> Result<Option<(Named, usize)>, ProxyError> {
    let window = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return match window.len() {
            MAX_LINE_BYTES => Err(ProxyError::Malformed),
            _ => Ok(None),
        };
    };
    let line = window[..end].strip_suffix(b"\r");
    let text = line.and_then(|line| std::str::from_utf8(line).ok());
    let text = text.ok_or(ProxyError::Malformed)?;
    let named = parse_words(text).ok_or(ProxyError::Malformed)?;
    Ok(Some((named, end + 1)))
}

fn parse_words(line: &str) -> Option<Named> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // A receiver must ignore the rest of the line.
        return Some(Named::NoClient);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let client = match family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            IpAddr::V4(source.parse().ok()?)
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            IpAddr::V6(source.parse().ok()?)
        }
        _ => return None,
    };
    let ports = [words.next()?, words.next()?];
    let is_port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number && text.parse::<u16>().is_ok()
    };
    let is_whole = words.next().is_none() && ports.into_iter().all(is_port);
    is_whole.then_some(Named::Client(client))
}

/// Parses version 2: a signature, a command, a family, a length, and as many bytes.
fn parse_binary(bytes: &[u8]) -> Result<Option<(Named, usize)>, ProxyError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let [command, family, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED_BYTES + length > MAX_HEADER_BYTES {
        return Err(ProxyError::TooLarge);
    }
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Malformed),
    };
    let Some(addresses) = rest.get(..length) else {
        return Ok(None);
    };
    let named = match is_local {
        true => Named::NoClient,
        false => parse_addresses(family, addresses).ok_or(ProxyError::Malformed)?,
    };
    Ok(Some((named, FIXED_BYTES + length)))
}

/// The source in `block`, which begins with a source and a destination of one family. `family`
/// holds the address family in its upper half and the transport in its lower half.
fn parse_addresses(family: u8, block: &[u8]) -> Option<Named> {
    /// Two IPv4 addresses and two ports.
    const IPV4_BYTES: usize = 12;
    /// Two IPv6 addresses and two ports.
    const IPV6_BYTES: usize = 36;
    /// Two paths of Unix sockets.
    const UNIX_BYTES: usize = 216;
    match family {
        0x00 => Some(Named::NoClient),
        0x11 | 0x12 => {
            let source: [u8; 4] = *block.get(..IPV4_BYTES)?.first_chunk()?;
            Some(Named::Client(source.into()))
        }
        0x21 | 0x22 => {
            let source: [u8; 16] = *block.get(..IPV6_BYTES)?.first_chunk()?;
            Some(Named::Client(source.into()))
        }
        0x31 | 0x32 => block.get(..UNIX_BYTES).map(|_| Named::NoClient),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = (block.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    fn client(text: &str) -> Named {
        Named::Client(text.parse().unwrap())
    }

    #[test]
    fn lines_of_version_1_name_their_source() {
        for (line, expected) in [
            ("PROXY TCP4 10.0.0.1 10.0.0.2 5 80", client("10.0.0.1")),
            ("PROXY TCP6 2001:db8::1 ::1 65535 1", client("2001:db8::1")),
            ("PROXY UNKNOWN", Named::NoClient),
            ("PROXY UNKNOWN 1.2.3.4 whatever", Named::NoClient),
        ] {
            let whole = format!("{line}\r\nGET /");
            let length = line.len() + 2;
            assert_eq!(parse(whole.as_bytes()), Ok(Some((expected, length))));
        }
    }

    #[test]
    fn lines_that_break_version_1_are_refused() {
        for line in [
            "PROXY TCP4 10.0.0.1 10.0.0.2 5\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 5 80 1\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 5 65536\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 +5 80\r\n",
            "PROXY TCP4 ::1 10.0.0.2 5 80\r\n",
            "PROXY TCP6 10.0.0.1 ::1 5 80\r\n",
            "PROXY TCP4  10.0.0.1 10.0.0.2 5 80\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 5 80\n",
            "PROXY TCP5 10.0.0.1 10.0.0.2 5 80\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(ProxyError::Malformed), "{line}");
        }
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(ProxyError::Missing));
        assert_eq!(parse(b"proxy TCP4"), Err(ProxyError::Missing));
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(MAX_LINE_BYTES));
        assert_eq!(parse(endless.as_bytes()), Err(ProxyError::Malformed));
    }

    #[test]
    fn version_2_names_its_source_and_skips_extensions() {
        let mut ipv4 = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 80];
        let header = binary(0x21, 0x11, &ipv4);
        assert_eq!(parse(&header), Ok(Some((client("10.0.0.1"), 28))));
        ipv4.extend([0x04, 0, 3, 1, 2, 3]);
        let header = binary(0x21, 0x11, &ipv4);
        assert_eq!(parse(&header), Ok(Some((client("10.0.0.1"), 34))));
        let mut ipv6 = [0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        let header = binary(0x21, 0x21, &ipv6);
        assert_eq!(parse(&header), Ok(Some((client("2001:db8::"), 52))));
    }

    #[test]
    fn version_2_may_name_no_client() {
        for (command, family, block) in [
            (0x20, 0x00, &[][..]),
            (0x20, 0xff, &[1, 2, 3][..]),
            (0x21, 0x00, &[1][..]),
            (0x21, 0x31, &[0; 216][..]),
        ] {
            let header = binary(command, family, block);
            assert_eq!(parse(&header), Ok(Some((Named::NoClient, header.len()))));
        }
    }

    #[test]
    fn headers_that_break_version_2_are_refused() {
        for header in [
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x31, &[0; 215]),
            binary(0x21, 0x13, &[0; 12]),
            binary(0x21, 0x41, &[0; 12]),
        ] {
            assert_eq!(parse(&header), Err(ProxyError::Malformed), "{header:?}");
        }
        let long = binary(0x21, 0x11, &[0; MAX_HEADER_BYTES]);
        assert_eq!(parse(&long[..FIXED_BYTES]), Err(ProxyError::TooLarge));
    }

    /// Headers that are whole.
    fn header() -> impl Strategy<Value = (Vec<u8>, Named)> {
        let ports = any::<(u16, u16)>();
        let extensions = proptest::collection::vec(any::<u8>(), 0..64);
        let line = (any::<(IpAddr, IpAddr)>(), ports).prop_filter_map(
            "one family",
            |((source, destination), (from, to))| {
                let family = match (source, destination) {
                    (IpAddr::V4(_), IpAddr::V4(_)) => "TCP4",
                    (IpAddr::V6(_), IpAddr::V6(_)) => "TCP6",
                    _ => return None,
                };
                let line = format!("PROXY {family} {source} {destination} {from} {to}\r\n");
                Some((line.into_bytes(), Named::Client(source)))
            },
        );
        let binary = (any::<IpAddr>(), extensions).prop_map(|(source, extensions)| {
            let (family, mut block) = match source {
                IpAddr::V4(source) => (0x11, [&source.octets()[..], &[0; 8]].concat()),
                IpAddr::V6(source) => (0x21, [&source.octets()[..], &[0; 20]].concat()),
            };
            block.extend(extensions);
            (binary(0x21, family, &block), Named::Client(source))
        });
        prop_oneof![line, binary]
    }

    proptest! {
        #[test]
        fn a_header_is_read_once_and_only_when_whole(
            (header, named) in header(),
            rest in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let whole = [&header[..], &rest].concat();
            prop_assert_eq!(parse(&whole), Ok(Some((named, header.len()))));
            for length in 0..header.len() {
                prop_assert_eq!(parse(&header[..length]), Ok(None));
            }
        }

        #[test]
        fn the_outcome_is_the_same_however_bytes_arrive(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
            start in 0usize..3,
        ) {
            let start = [&b""[..], LINE_START, SIGNATURE][start];
            let whole = [start, &bytes].concat();
            let outcome = (0..=whole.len()).map(|length| parse(&whole[..length]));
            let first = outcome.into_iter().find(|outcome| *outcome != Ok(None));
            prop_assert_eq!(first.unwrap_or(Ok(None)), parse(&whole));
        }
    }
}
