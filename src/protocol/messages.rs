//! The JSON of the application: `{"kind":"love"}` in, `{"love":3,"clap":1}` out, and `{"$here":7}`
//! to members that ask how many are here.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use thiserror::Error;

/// The default of the longest kind, in bytes.
pub const DEFAULT_MAX_KIND_BYTES: usize = 32;
/// The key under which members are told how many are here. No kind may be called so.
pub const HERE: &str = "$here";

/// Why a message is not a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidReaction {
    /// Not a JSON object with a string `kind` (RFC 8259).
    #[error("a reaction is a JSON object with a string \"kind\"")]
    Malformed,
    /// An empty kind.
    #[error("the kind is empty")]
    EmptyKind,
    /// A kind over the limit.
    #[error("the kind is too long")]
    KindTooLong,
    /// A kind with control characters.
    #[error("the kind has control characters")]
    ControlCharacter,
    /// A kind that means something else in what members are sent.
    #[error("the kind {HERE} is reserved")]
    Reserved,
}

/// The kind that a message reacts with.
///
/// The rules are those of `JSON.parse`: other fields are ignored, the last of duplicate keys
/// wins, escapes are decoded, white space may surround everything. The kind must be a string,
/// non-empty, at most `max_kind_bytes` long, without control characters, and not [`HERE`].
///
/// # Errors
/// [`InvalidReaction`] says which rule was broken.
#[inline]
pub fn parse_reaction(text: &str, max_kind_bytes: usize) -> Result<Cow<'_, str>, InvalidReaction> {
    // Whether what begins with a dollar sign is reserved is seen there.
    if let Some(kind) = plain_kind(text)
        && kind.as_bytes().first().is_some_and(|first| *first != b'$')
        && kind.len() <= max_kind_bytes
    {
        return Ok(Cow::Borrowed(kind));
    }
    parse_any(text, max_kind_bytes)
}

/// The kind of a message that is, to the byte, `{"kind":"…"}` without an escape or anything that
/// could be a control character: in UTF-8, C2 begins those from U+0080 to U+009F. It accepts only
/// what the full parser accepts with the same result; everything else is left to that.
#[inline]
fn plain_kind(text: &str) -> Option<&str> {
    let (prefix, rest) = text.as_bytes().split_first_chunk::<9>()?;
    let (kind, suffix) = rest.split_last_chunk::<2>()?;
    let is_special = |byte: u8| matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f | 0xc2);
    // Without a branch in the loop: kinds are short.
    let specials = kind.iter().fold(false, |any, byte| any | is_special(*byte));
    let is_plain = prefix == br#"{"kind":""# && suffix == br#""}"# && !specials;
    is_plain.then(|| &text[9..text.len() - 2])
}

#[cold]
fn parse_any(text: &str, max_kind_bytes: usize) -> Result<Cow<'_, str>, InvalidReaction> {
    let kind = parse_json(text)?;
    if kind.is_empty() {
        return Err(InvalidReaction::EmptyKind);
    }
    if kind.len() > max_kind_bytes {
        return Err(InvalidReaction::KindTooLong);
    }
    if kind.chars().any(char::is_control) {
        return Err(InvalidReaction::ControlCharacter);
    }
    if kind == HERE {
        return Err(InvalidReaction::Reserved);
    }
    Ok(kind)
}

fn parse_json(text: &str) -> Result<Cow<'_, str>, InvalidReaction> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let kind = parser
        .deserialize_map(ReactionVisitor)
        .map_err(|_| InvalidReaction::Malformed)?;
    parser.end().map_err(|_| InvalidReaction::Malformed)?;
    kind.ok_or(InvalidReaction::Malformed)
}

/// A JSON value that is a string, or else is passed over.
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

/// A kind as the key that it is in the counts: quoted, escaped, with its colon.
pub fn encode_key(kind: &str) -> Box<str> {
    // A string always serializes.
    let mut key = serde_json::to_string(kind).unwrap_or_default();
    key.push(':');
    key.into_boxed_str()
}

/// Appends the counts as one JSON object. `counts` gives keys as [`encode_key`] made them.
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

/// Appends how many are here, as JSON.
pub fn encode_here(members: u64, output: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = write!(output, r#"{{"{HERE}":{members}}}"#);
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
            (r#"{"kind":"$her"}"#, "$her"),
            (r#"{"kind":"$"}"#, "$"),
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
    fn everything_else_is_refused_with_its_reason() {
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
