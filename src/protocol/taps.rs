//! Numbered taps: the messages between the server and a client with a session.
//!
//! The client numbers its messages from 1: `{"kind":"love","n":3,"id":17}` is message 17 of its
//! session and stands for three taps. The server tells up to which number it has counted, so that
//! the client can send again exactly what is missing.

use std::borrow::Cow;
use std::io::Write;

use serde::Deserialize;

use super::messages::{InvalidReaction, check_kind};

/// Maximum number of taps in one message.
pub const MAX_TAPS: u16 = 50;
/// Number of hexadecimal digits in the name of a session.
const SESSION_DIGITS: usize = 32;

/// A message of a client with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap<'t> {
    /// The kind.
    pub kind: Cow<'t, str>,
    /// Number of taps, from 1 to [`MAX_TAPS`].
    pub taps: u16,
    /// The message's number in its session; `None` for an ordinary reaction.
    pub number: Option<u64>,
}

impl<'t> Tap<'t> {
    /// An ordinary reaction.
    pub fn one(kind: Cow<'t, str>) -> Self {
        Self {
            kind,
            taps: 1,
            number: None,
        }
    }
}

#[derive(Deserialize)]
struct Fields<'t> {
    #[serde(borrow)]
    kind: Cow<'t, str>,
    #[serde(default)]
    n: Option<u16>,
    #[serde(default)]
    id: Option<u64>,
}

/// Parses a message of a client with a session. The rules for the kind are those of
/// [`parse_reaction`](super::messages::parse_reaction), except that duplicate keys are refused.
///
/// ```
/// use ovation::protocol::taps::parse_tap;
///
/// let tap = parse_tap(r#"{"kind":"love","n":3,"id":17}"#, 32)?;
/// assert_eq!((&*tap.kind, tap.taps, tap.number), ("love", 3, Some(17)));
/// # Ok::<(), ovation::protocol::messages::InvalidReaction>(())
/// ```
///
/// # Errors
/// [`InvalidReaction`] says which rule is broken.
pub fn parse_tap(text: &str, max_kind_bytes: usize) -> Result<Tap<'_>, InvalidReaction> {
    // For a struct, serde would also take a list of its values.
    if !text.trim_start().starts_with('{') {
        return Err(InvalidReaction::Malformed);
    }
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|_| InvalidReaction::Malformed)?;
    check_kind(&fields.kind, max_kind_bytes)?;
    let taps = fields.n.unwrap_or(1);
    if !(1..=MAX_TAPS).contains(&taps) || fields.id == Some(0) {
        return Err(InvalidReaction::Number);
    }
    Ok(Tap {
        kind: fields.kind,
        taps,
        number: fields.id,
    })
}

/// The session that `text` names: 32 hexadecimal digits that are not all zero. `None` if it names
/// none.
pub fn parse_session(text: &str) -> Option<u128> {
    let is_hex = text.len() == SESSION_DIGITS && text.bytes().all(|it| it.is_ascii_hexdigit());
    let id = is_hex
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()?;
    (id != 0).then_some(id)
}

/// What a client with a session is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The number up to which the messages of the session are counted.
    pub counted: u64,
    /// Which server this is. A server that has lost the numbers of its sessions has another number.
    pub server: u32,
    /// Interval at which the client hears from the server at least, in milliseconds; 0 for none.
    pub heartbeat_ms: u64,
    /// Time for which the server remembers a session that has gone, in milliseconds.
    pub memory_ms: u64,
}

/// Appends what a client with a session is told first, as JSON.
pub fn encode_hello(hello: &Hello, output: &mut Vec<u8>) {
    let Hello {
        counted,
        server,
        heartbeat_ms,
        memory_ms,
    } = hello;
    // Writing to memory can't fail.
    let _ = write!(
        output,
        r#"{{"$ack":{counted},"$server":{server},"$heartbeat":{heartbeat_ms},"$memory":{memory_ms}}}"#
    );
}

/// Appends the number up to which the messages of a session are counted, as JSON.
pub fn encode_ack(counted: u64, output: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = write!(output, r#"{{"$ack":{counted}}}"#);
}

/// Appends that the message `number` of a session is refused and why, as JSON. `reason` needs no
/// escapes.
pub fn encode_refused(number: u64, reason: &str, output: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = write!(output, r#"{{"$refused":{number},"reason":"{reason}"}}"#);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_are_bounded_and_numbered_from_one() {
        use InvalidReaction::*;
        let tap = |taps, number| Ok((taps, number));
        for (text, expected) in [
            (r#"{"kind":"love"}"#, tap(1, None)),
            (r#"{"kind":"love","n":50,"id":1}"#, tap(50, Some(1))),
            (
                r#"{"id":9007199254740991,"kind":"love"}"#,
                tap(1, Some(9007199254740991)),
            ),
            (r#"{"kind":"love","n":0,"id":1}"#, Err(Number)),
            (r#"{"kind":"love","n":51,"id":1}"#, Err(Number)),
            (r#"{"kind":"love","n":1,"id":0}"#, Err(Number)),
            (r#"{"kind":"love","n":-1,"id":1}"#, Err(Malformed)),
            (r#"{"kind":"love","n":1.5}"#, Err(Malformed)),
            (
                r#"{"kind":"love","id":99999999999999999999}"#,
                Err(Malformed),
            ),
            (r#"{"kind":"","id":1}"#, Err(EmptyKind)),
            (r#"{"kind":"$x","id":1}"#, Err(Reserved)),
            (r#"{"n":1,"id":1}"#, Err(Malformed)),
            (r#"["love",3,17]"#, Err(Malformed)),
            ("", Err(Malformed)),
        ] {
            let parsed = parse_tap(text, 32).map(|tap| (tap.taps, tap.number));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn sessions_are_named_by_32_digits() {
        assert_eq!(parse_session(&format!("{:032x}", 7)), Some(7));
        assert_eq!(parse_session(&"f".repeat(32)), Some(u128::MAX));
        for bad in [
            "",
            "7",
            &"0".repeat(32),
            &"f".repeat(33),
            &format!("+{:031x}", 7),
        ] {
            assert_eq!(parse_session(bad), None, "{bad}");
        }
    }
}
