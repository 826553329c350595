//! The application's JSON (RFC 8259): clients send `{"kind":"love"}`, the server sends
//! `{"love":3,"clap":1}`, and to clients that ask for it `{"$here":7}` and `{"$state":"frozen"}`.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use thiserror::Error;

/// Default maximum length of a kind, in bytes.
pub const DEFAULT_MAX_KIND_BYTES: usize = 32;
/// The key of the member count in what presence subscribers get.
pub const HERE: &str = "$here";
/// The key of the room's mode in what clients get that ask for it.
pub const STATE: &str = "$state";
/// What the server's own keys begin with, and no kind.
pub const RESERVED: char = '$';

/// Why a message isn't a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidReaction {
    /// The message isn't a JSON object with a string `kind`.
    #[error("a reaction is a JSON object with a string \"kind\"")]
    Malformed,
    /// The kind is empty.
    #[error("the kind is empty")]
    EmptyKind,
    /// The kind is over the length limit.
    #[error("the kind is too long")]
    KindTooLong,
    /// The kind contains control characters.
    #[error("the kind has control characters")]
    ControlCharacter,
    /// The kind begins with [`RESERVED`].
    #[error("kinds that begin with {RESERVED} are reserved")]
    Reserved,
    /// The number of taps or of the message is out of range.
    #[error("a number is out of range")]
    Number,
}

/// Parses a reaction and returns its kind.
///
/// The rules are those of `JSON.parse`: other fields are ignored, the last of duplicate keys wins,
/// escapes are decoded, and white space may surround everything. The kind must be a string that
/// isn't empty, has at most `max_kind_bytes` bytes and no control characters, and doesn't begin with
/// [`RESERVED`].
///
/// ```
/// use ovation::protocol::messages::{InvalidReaction, parse_reaction};
///
/// assert_eq!(parse_reaction(r#"{"kind":"love"}"#, 32).as_deref(), Ok("love"));
/// assert_eq!(parse_reaction("[]", 32), Err(InvalidReaction::Malformed));
/// ```
///
/// # Errors
/// [`InvalidReaction`] says which rule is broken.
#[inline]
pub fn parse_reaction(text: &str, max_kind_bytes: usize) -> Result<Cow<'_, str>, InvalidReaction> {
    // `parse_any` refuses a kind that begins with a dollar sign.
    if let Some(kind) = plain_kind(text)
        && kind.as_bytes().first().is_some_and(|first| *first != b'$')
        && kind.len() <= max_kind_bytes
    {
        return Ok(Cow::Borrowed(kind));
    }
    parse_any(text, max_kind_bytes)
}

/// The kind of a message that is exactly `{"kind":"…"}`, without escapes and without bytes that
/// could be part of a control character (in UTF-8, C2 begins U+0080 to U+009F). What this function
/// accepts, the full parser accepts with the same result.
#[inline]
fn plain_kind(text: &str) -> Option<&str> {
    let (prefix, rest) = text.as_bytes().split_first_chunk::<9>()?;
    let (kind, suffix) = rest.split_last_chunk::<2>()?;
    let is_special = |byte: u8| matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f | 0xc2);
    // The loop has no branch, since kinds are short.
    let specials = kind.iter().fold(false, |any, byte| any | is_special(*byte));
    let is_plain = prefix == br#"{"kind":""# && suffix == br#""}"# && !specials;
    is_plain.then(|| &text[9..text.len() - 2])
}

#[cold]
fn parse_any(text: &str, max_kind_bytes: usize) -> Result<Cow<'_, str>, InvalidReaction> {
    let kind = parse_json(text)?;
    check_kind(&kind, max_kind_bytes)?;
    Ok(kind)
}

/// Checks the rules for kinds.
pub(super) fn check_kind(kind: &str, max_kind_bytes: usize) -> Result<(), InvalidReaction> {
    if kind.is_empty() {
        return Err(InvalidReaction::EmptyKind);
    }
    if kind.len() > max_kind_bytes {
        return Err(InvalidReaction::KindTooLong);
    }
    if kind.chars().any(char::is_control) {
        return Err(InvalidReaction::ControlCharacter);
    }
    if kind.starts_with(RESERVED) {
        return Err(InvalidReaction::Reserved);
    }
    Ok(())
}

fn parse_json(text: &str) -> Result<Cow<'_, str>, InvalidReaction> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let kind = parser
        .deserialize_map(ReactionVisitor)
        .map_err(|_| InvalidReaction::Malformed)?;
    parser.end().map_err(|_| InvalidReaction::Malformed)?;
    kind.ok_or(InvalidReaction::Malformed)
}

/// A JSON value: a string, or any other value, which is ignored.
struct StringOrOther<'de>(Option<Cow<'de, str>>);

impl<'de> serde::Deserialize<'de> for StringOrOther<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringVisitor)
    }
}

struct StringVisitor;

impl<'de> Visitor<'de> for StringVisitor {
    type Value = StringOrOther<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(StringOrOther(Some(Cow::Borrowed(text))))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(StringOrOther(Some(Cow::Owned(text.to_owned()))))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(StringOrOther(None))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(StringOrOther(None))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(StringOrOther(None))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(StringOrOther(None))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(StringOrOther(None))
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(StringOrOther(None))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(StringOrOther(None))
    }
}

/// Reads an object and keeps its last `kind`.
struct ReactionVisitor;

impl<'de> Visitor<'de> for ReactionVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kind = None;
        while let Some(StringOrOther(key)) = map.next_key()? {
            if key.as_deref() == Some("kind") {
                kind = map.next_value::<StringOrOther<'de>>()?.0;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(kind)
    }
}

/// Encodes a kind as a key of the counts: quoted and escaped, with its colon.
pub fn encode_key(kind: &str) -> Box<str> {
    // Serializing a string can't fail.
    let mut key = serde_json::to_string(kind).unwrap_or_default();
    key.push(':');
    key.into_boxed_str()
}

/// Appends the counts as one JSON object. The keys of `counts` must come from [`encode_key`].
pub fn encode_counts<'a>(counts: impl Iterator<Item = (&'a str, u64)>, output: &mut Vec<u8>) {
    output.push(b'{');
    for (index, (key, count)) in counts.enumerate() {
        if index > 0 {
            output.push(b',');
        }
        output.extend_from_slice(key.as_bytes());
        // Writing to memory can't fail.
        let _ = write!(output, "{count}");
    }
    output.push(b'}');
}

/// Appends the member count as JSON.
pub fn encode_here(members: u64, output: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = write!(output, r#"{{"{HERE}":{members}}}"#);
}

/// Appends the counts after a reset as JSON: `counts` is their JSON.
pub fn encode_reset(counts: &[u8], output: &mut Vec<u8>) {
    for part in [br#"{"$reset":"#, counts, b"}"] {
        output.extend_from_slice(part);
    }
}

/// Appends the name of the room's mode as JSON. The name needs no escapes.
pub fn encode_mode(mode: &str, output: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = write!(output, r#"{{"{STATE}":"{mode}"}}"#);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, InvalidReaction> {
        parse_reaction(text, DEFAULT_MAX_KIND_BYTES).map(Cow::into_owned)
    }

    #[test]
    fn what_json_parse_accepts_is_accepted() {
        for (text, kind) in [
            (r#"{"kind":"love"}"#, "love"),
            (" \t\r\n{ \"kind\" : \"love\" } \n", "love"),
            (r#"{"kind":"❤"}"#, "❤"),
            (r#"{"kind":"\u2764"}"#, "❤"),
            (r#"{"\u006bind":"love"}"#, "love"),
            (r#"{"kind":"a\"b\\c\/d"}"#, r#"a"b\c/d"#),
            (r#"{"kind":"a$"}"#, "a$"),
            (
                r#"{"id":7,"x":[1,{"kind":"no"}],"kind":"yes","z":null}"#,
                "yes",
            ),
            (r#"{"kind":"first","kind":"last"}"#, "last"),
            (r#"{"kind":7,"kind":"last"}"#, "last"),
            (r#"{"kind":[{"a":1e9}],"kind":"last"}"#, "last"),
            (r#"{"kind":"__proto__"}"#, "__proto__"),
            (r#"{"kind":"constructor"}"#, "constructor"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(kind), "{text}");
        }
    }

    #[test]
    fn other_messages_are_refused_with_a_reason() {
        use InvalidReaction::*;
        for (text, reason) in [
            ("", Malformed),
            ("{}", Malformed),
            ("[]", Malformed),
            ("null", Malformed),
            (r#""kind""#, Malformed),
            (r#"{"kind":7}"#, Malformed),
            (r#"{"kind":null}"#, Malformed),
            (r#"{"kind":"last","kind":7}"#, Malformed),
            (r#"{"Kind":"love"}"#, Malformed),
            (r#"{"kind":"love"}}"#, Malformed),
            (r#"{"kind":"love"},"#, Malformed),
            (r#"{"kind":"lo"ve"}"#, Malformed),
            (r#"{"kind":"\x"}"#, Malformed),
            (r#"{"kind":"\ud800"}"#, Malformed),
            ("{\"kind\":\"a\nb\"}", Malformed),
            (r#"{kind:"love"}"#, Malformed),
            (r#"{"kind":""}"#, EmptyKind),
            (r#"{"kind":"\u0000"}"#, ControlCharacter),
            ("{\"kind\":\"\u{7f}\"}", ControlCharacter),
            ("{\"kind\":\"é\u{85}\"}", ControlCharacter),
            (
                r#"{"kind":"123456789012345678901234567890123"}"#,
                KindTooLong,
            ),
            (r#"{"kind":"$here"}"#, Reserved),
            (r#"{"kind":"\u0024here"}"#, Reserved),
            (r#"{"kind":"$"}"#, Reserved),
        ] {
            assert_eq!(parse(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_a_deep_stack() {
        let text = format!(r#"{{"x":{}1{}}}"#, "[".repeat(4000), "]".repeat(4000));
        assert_eq!(parse(&text), Err(InvalidReaction::Malformed));
    }

    proptest! {
        #[test]
        fn the_short_way_and_the_full_parser_agree(kind in "\\PC{0,12}|[\\x00-\\x7f]{0,6}") {
            let text = format!(r#"{{"kind":"{kind}"}}"#);
            if let Some(plain) = plain_kind(&text) {
                prop_assert_eq!(parse_json(&text), Ok(Cow::Borrowed(plain)));
            }
        }

        #[test]
        fn any_kind_survives_the_way_in_and_out(kind in any::<String>(), count in any::<u64>()) {
            let mut output = Vec::new();
            let key = encode_key(&kind);
            encode_counts([(&*key, count)].into_iter(), &mut output);
            let counts: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&output).unwrap();
            prop_assert_eq!(counts.get(&kind).and_then(|value| value.as_u64()), Some(count));
        }
    }
}
