//! Parsers for values of flags.

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
