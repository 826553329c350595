//! Which client a proxy names in a request: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Each proxy appends the address from which the request came to it. The list is read from the
//! right, because a client can write whatever it likes at the left.

use std::net::{IpAddr, SocketAddr};

use super::request::Request;

/// What the fields of a request say about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// No client is named: the request has no such field, or names trusted proxies only.
    NoClient,
    /// The client with this address: the last one that is not a trusted proxy's.
    Client(IpAddr),
    /// The fields are malformed, hide the address, or contradict each other.
    Unclear,
}

/// The client that `request` names. If the request has both fields, they must agree: a proxy that
/// writes one of them may pass on the other as the client sent it.
pub fn client(request: &Request<'_>, is_trusted: impl Fn(IpAddr) -> bool) -> Forwarded {
    let plain = request.values("x-forwarded-for");
    let plain = plain.flat_map(|value| split(value, b',').map(parse_node));
    let plain = last_untrusted(plain.collect(), &is_trusted);
    let elements = request.values("forwarded");
    let elements = elements.flat_map(|value| split(value, b',').map(parse_element));
    let elements = last_untrusted(elements.collect(), &is_trusted);
    match (plain, elements) {
        (named, None) | (None, named) => named.unwrap_or(Forwarded::NoClient),
        (Some(one), Some(other)) if one == other => one,
        _ => Forwarded::Unclear,
    }
}

/// The client that a list of addresses names. An entry that isn't an address is `None`. Returns
/// `None` if the list is empty.
fn last_untrusted(
    entries: Vec<Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<Forwarded> {
    if entries.is_empty() {
        return None;
    }
    for entry in entries.into_iter().rev() {
        match entry {
            None => return Some(Forwarded::Unclear),
            Some(address) if is_trusted(address) => {}
            Some(address) => return Some(Forwarded::Client(address)),
        }
    }
    Some(Forwarded::NoClient)
}

/// Splits a list at `separator`, except within quotes, and leaves empty entries out (RFC 9110,
/// section 5.6.1).
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let entries = value.split(move |&byte| {
        let is_literal = std::mem::take(&mut is_escaped);
        match byte {
            b'\\' if is_quoted && !is_literal => is_escaped = true,
            b'"' if !is_literal => is_quoted = !is_quoted,
            _ => {}
        }
        byte == separator && !is_quoted
    });
    let entries = entries.map(<[u8]>::trim_ascii);
    entries.filter(|entry| !entry.is_empty())
}

/// The address in an element of `Forwarded`, such as `for="[2001:db8::1]:5";proto=https`.
fn parse_element(element: &[u8]) -> Option<IpAddr> {
    let nodes = split(element, b';').filter_map(|pair| {
        let (name, value) = pair.split_at_checked(pair.iter().position(|&byte| byte == b'=')?)?;
        name.eq_ignore_ascii_case(b"for").then(|| &value[1..])
    });
    let mut nodes = nodes.fuse();
    let node = nodes.next()?;
    let node = match node.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\"")?,
        None => node,
    };
    nodes.next().is_none().then(|| parse_node(node)).flatten()
}

/// The address in a node, with or without a port.
fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address: Option<IpAddr> = text.parse().ok();
    let address = address
        .or_else(bracketed)
        .or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::super::request;
    use super::*;

    /// The client that a request with these fields names, if all of 10.0.0.0/8 is trusted.
    fn named(fields: &str) -> Forwarded {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (request, _) = request::parse(head.as_bytes(), 8192).unwrap().unwrap();
        client(
            &request,
            |address| matches!(address, IpAddr::V4(it) if it.octets()[0] == 10),
        )
    }

    fn of(text: &str) -> Forwarded {
        Forwarded::Client(text.parse().unwrap())
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        for (fields, expected) in [
            ("", Forwarded::NoClient),
            ("X-Forwarded-For: 10.0.0.1\r\n", Forwarded::NoClient),
            ("X-Forwarded-For: 1.1.1.1\r\n", of("1.1.1.1")),
            ("X-Forwarded-For: 9.9.9.9, 1.1.1.1\r\n", of("1.1.1.1")),
            (
                "X-Forwarded-For: 9.9.9.9, 1.1.1.1,10.0.0.9\r\n",
                of("1.1.1.1"),
            ),
            (
                "X-Forwarded-For: junk, 1.1.1.1, , 10.0.0.9\r\n",
                of("1.1.1.1"),
            ),
            (
                "X-Forwarded-For: 9.9.9.9\r\nx-forwarded-for: 1.1.1.1\r\n",
                of("1.1.1.1"),
            ),
            ("X-Forwarded-For: 1.1.1.1:80\r\n", of("1.1.1.1")),
            ("X-Forwarded-For: 2001:db8::1\r\n", of("2001:db8::1")),
            ("X-Forwarded-For: [2001:db8::1]:80\r\n", of("2001:db8::1")),
            ("X-Forwarded-For: ::ffff:1.1.1.1\r\n", of("1.1.1.1")),
            ("Forwarded: for=1.1.1.1\r\n", of("1.1.1.1")),
            (
                "Forwarded: for=9.9.9.9, For=\"[2001:db8::1]:5\";proto=https;by=10.0.0.1\r\n",
                of("2001:db8::1"),
            ),
            (
                "Forwarded: for=9.9.9.9;host=\"a,\\\"b\", proto=http;for=1.1.1.1\r\n",
                of("1.1.1.1"),
            ),
        ] {
            assert_eq!(named(fields), expected, "{fields}");
        }
    }

    #[test]
    fn fields_that_name_no_address_are_unclear() {
        for fields in [
            "X-Forwarded-For: unknown\r\n",
            "X-Forwarded-For: 1.1.1.1, junk, 10.0.0.1\r\n",
            "X-Forwarded-For: 1.1.1.1 2.2.2.2\r\n",
            "Forwarded: for=_hidden\r\n",
            "Forwarded: proto=https\r\n",
            "Forwarded: for=1.1.1.1;for=2.2.2.2\r\n",
            "Forwarded: for=\"1.1.1.1, for=2.2.2.2\r\n",
        ] {
            assert_eq!(named(fields), Forwarded::Unclear, "{fields}");
        }
    }

    #[test]
    fn two_fields_must_agree() {
        let plain = "X-Forwarded-For: 1.1.1.1\r\n";
        assert_eq!(
            named(&format!("{plain}Forwarded: for=1.1.1.1\r\n")),
            of("1.1.1.1")
        );
        for other in ["for=2.2.2.2", "for=10.0.0.1", "junk"] {
            let fields = format!("{plain}Forwarded: {other}\r\n");
            assert_eq!(named(&fields), Forwarded::Unclear, "{other}");
        }
    }
}
