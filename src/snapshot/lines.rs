//! A room as a line of JSON: `{"party":"main","room":"talk","active":1764000000,
//! "counts":{"love":3,"clap":1}}`. The kinds are in the order in which they were created.
//! `active` is when the room last counted something, in seconds since 1970, and may be missing.
//! So may `"mode":"frozen"` or `"mode":"closed"`, which a room that is open does not have.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::protocol::messages::RESERVED;
use crate::store::format::{MAX_KIND_BYTES, MAX_NAME_BYTES, MAX_ROOM_COUNTERS};
use crate::store::{RoomContents, RoomMode};

/// Maximum length of a room's line, in bytes. Every byte of a name may be escaped.
pub(super) const MAX_LINE_BYTES: usize =
    6 * (MAX_NAME_BYTES + MAX_ROOM_COUNTERS * (MAX_KIND_BYTES + 8)) + 256;

/// Why a line is not a room.
#[derive(Debug, Error)]
pub(super) enum LineError {
    /// The line is not the right JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The line is longer than a room's can be.
    #[error("the line has more than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// A name is not valid.
    #[error("party and room must not be empty, nor have more than {MAX_NAME_BYTES} bytes together")]
    Name,
    /// A kind is not valid.
    #[error("{0:?} is not a kind: 1 to {MAX_KIND_BYTES} bytes, without control characters")]
    Kind(String),
    /// A kind is the name of the members present, which are no count.
    #[error("the kind {0:?} is reserved")]
    ReservedKind(String),
    /// A count is not valid.
    #[error("the count of {0:?} is not a whole number from 0 to {max}", max = u64::MAX)]
    Count(String),
    /// The room has too many kinds.
    #[error("the room has more than {MAX_ROOM_COUNTERS} kinds")]
    TooManyKinds,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    party: String,
    room: String,
    #[serde(default, skip_serializing_if = "is_open")]
    mode: RoomMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    active: Option<u32>,
    counts: Map<String, Value>,
}

/// Whether a room is open, as serde asks for it.
fn is_open(mode: &RoomMode) -> bool {
    mode.is_open()
}

/// Encodes a room as a line, without the line break.
pub(super) fn encode(room: &RoomContents) -> serde_json::Result<String> {
    let counts = room.counts.iter();
    serde_json::to_string(&Line {
        party: room.party.clone(),
        room: room.room.clone(),
        mode: room.mode,
        active: room.active,
        counts: counts
            .map(|(kind, count)| (kind.clone(), Value::from(*count)))
            .collect(),
    })
}

/// Decodes the room of a line.
pub(super) fn decode(line: &[u8]) -> Result<RoomContents, LineError> {
    let line: Line = serde_json::from_slice(line)?;
    let name_bytes = line.party.len() + line.room.len();
    if line.party.is_empty() || line.room.is_empty() || name_bytes > MAX_NAME_BYTES {
        return Err(LineError::Name);
    }
    if line.counts.len() > MAX_ROOM_COUNTERS {
        return Err(LineError::TooManyKinds);
    }
    let counts = line.counts.into_iter().map(|(kind, count)| {
        if kind.is_empty() || kind.len() > MAX_KIND_BYTES || kind.chars().any(char::is_control) {
            return Err(LineError::Kind(kind));
        }
        if kind.starts_with(RESERVED) {
            return Err(LineError::ReservedKind(kind));
        }
        match count.as_u64() {
            Some(count) => Ok((kind, count)),
            None => Err(LineError::Count(kind)),
        }
    });
    Ok(RoomContents {
        party: line.party,
        room: line.room,
        mode: line.mode,
        active: line.active,
        counts: counts.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_room_survives_encoding(
            party in "[a-z]{1,9}",
            room in "[^\\x00]{1,40}",
            mode in prop::sample::select(vec![
                RoomMode::Open,
                RoomMode::Frozen,
                RoomMode::Closed,
            ]),
            active: Option<u32>,
            counts in prop::collection::hash_map("[a-z❤\"\\\\]{1,6}", any::<u64>(), 0..9),
        ) {
            let counts = counts.into_iter().collect();
            let room = RoomContents { party, room, mode, active, counts };
            let line = encode(&room).unwrap();
            prop_assert!(!line.contains('\n'));
            prop_assert!(line.len() <= MAX_LINE_BYTES);
            prop_assert_eq!(decode(line.as_bytes()).unwrap(), room);
        }

        #[test]
        fn no_line_makes_decoding_panic(line in "\\PC{0,60}") {
            let _ = decode(line.as_bytes());
        }
    }

    #[test]
    fn an_invalid_line_is_refused_with_the_reason() {
        for (line, reason) in [
            (r#"{"party":"main","room":"a"}"#, "missing field `counts`"),
            (r#"{"party":"main","room":"","counts":{}}"#, "empty"),
            (
                r#"{"party":"main","room":"a","counts":{"love":-1}}"#,
                "whole number",
            ),
            (
                r#"{"party":"main","room":"a","counts":{"":1}}"#,
                "not a kind",
            ),
            (
                r#"{"party":"main","room":"a","counts":{"a\nb":1}}"#,
                "not a kind",
            ),
            (
                r#"{"party":"main","room":"a","counts":{"$here":1}}"#,
                "reserved",
            ),
            (r#"{"party":"main","room":"a","count":{}}"#, "unknown field"),
            (
                r#"{"party":"main","room":"a","mode":"shut","counts":{}}"#,
                "unknown variant",
            ),
        ] {
            let error = decode(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
