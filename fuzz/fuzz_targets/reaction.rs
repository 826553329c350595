//! The reaction parser agrees with serde_json, within the limits, and every kind survives being
//! encoded in the counts. A message of a session is a reaction too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovation::protocol::http::sse;
use ovation::protocol::messages::{
    RESERVED, encode_counts, encode_key, encode_reset, parse_reaction,
};
use ovation::protocol::taps::{MAX_TAPS, parse_tap};
use serde_json::Value;

const MAX_KIND_BYTES: usize = 32;

fuzz_target!(|text: &str| {
    // Like JSON.parse, serde_json keeps the last of duplicate keys.
    let value: Option<Value> = serde_json::from_str(text).ok();
    let kind = value.as_ref().and_then(|value| value.get("kind")?.as_str());
    let expected = kind.filter(|kind| {
        let is_plain = !kind.is_empty() && !kind.chars().any(char::is_control);
        is_plain && kind.len() <= MAX_KIND_BYTES && !kind.starts_with(RESERVED)
    });
    let parsed = parse_reaction(text, MAX_KIND_BYTES);
    match (&parsed, expected) {
        (Ok(kind), Some(expected)) => assert_eq!(kind, expected),
        (Err(_), None) => {}
        // The parser skips numbers that no f64 can represent; a serde_json::Value refuses them.
        (Ok(_), None) if value.is_none() => {}
        other => panic!("{other:?}"),
    }
    if let Ok(tap) = parse_tap(text, MAX_KIND_BYTES) {
        assert_eq!(parsed.as_deref(), Ok(&*tap.kind));
        assert!((1..=MAX_TAPS).contains(&tap.taps) && tap.number != Some(0));
    }
    if let Ok(kind) = parsed {
        let mut output = Vec::new();
        encode_counts([(&*encode_key(&kind), 7)].into_iter(), &mut output);
        let counts: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(counts[&*kind], 7);
        let mut reset = Vec::new();
        encode_reset(&output, &mut reset);
        let reset: Value = serde_json::from_slice(&reset).unwrap();
        assert_eq!(reset["$reset"], counts);
        let mut event = Vec::new();
        sse::encode(&output, &mut event);
        let ends = event.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(ends, 2, "an event has two line ends, both at its end");
    }
});
