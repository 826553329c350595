//! Parsers for values of flags.

use std::net::Ipv6Addr;
use std::time::Duration;

use clap::builder::{RangedU64ValueParser, TypedValueParser};

/// Minimum time after which a room may be removed. The store notes the minute of a room's last
/// reaction.
const MIN_ROOM_TTL: Duration = Duration::from_secs(120);

/// Parses the time after which unused rooms are removed, such as `30d`.
pub(crate) fn room_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl < MIN_ROOM_TTL {
        return Err(format!("it must be at least {MIN_ROOM_TTL:?}"));
    }
    Ok(ttl)
}

/// Parses the name of a host, such as `talks.example`. An IPv6 address gets its brackets.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]"));
    }
    let bracketed = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_address = bracketed.is_some_and(|it| it.parse::<Ipv6Addr>().is_ok());
    let is_part = |it: char| !it.is_whitespace() && !it.is_control() && !"/:@[]?#*,".contains(it);
    let is_name = !text.is_empty() && text.chars().all(is_part);
    if is_address || is_name {
        Ok(text.to_owned())
    } else {
        Err("expected a name without port, such as talks.example or 192.0.2.1".to_owned())
    }
}

/// Accepts whole numbers from `min` to `max`.
pub(crate) fn ranged(min: usize, max: usize) -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new()
        .range(min as u64..=max as u64)
        .map(|value| value as usize)
}

/// A time in milliseconds. Zero means none.
pub(super) fn optional_ms(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

/// A size in bytes. Zero means none.
pub(super) fn optional_bytes(bytes: usize) -> Option<usize> {
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_has_no_port() {
        for (text, expected) in [
            ("talks.example", Some("talks.example")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("::1", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("talks.example:443", None),
            ("https://talks.example", None),
            ("*.example", None),
            ("[::1]:80", None),
            ("", None),
        ] {
            assert_eq!(host_name(text).ok().as_deref(), expected, "{text}");
        }
    }
}
