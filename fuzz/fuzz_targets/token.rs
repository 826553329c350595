//! Access tokens. No bytes are accepted as a token unless a key signed them; what a key signed is
//! accepted exactly if a second reading of its JSON agrees; and a request's token is part of its
//! head.
#![no_main]

use std::sync::LazyLock;

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;
use ovation::access::verify::{CLOCK_LEEWAY, MAX_TOKEN_BYTES};
use ovation::access::{Access, Caps, Denied, Flaw, Keys, presented};
use ovation::protocol::http::request;
use serde_json::Value;

const SECRET: &[u8] = b"a secret of exactly 32 bytes....";
const KEY_SET: &[u8] = include_bytes!("../../src/access/tests/keys/set.json");
const NOW: u64 = 1_800_000_000;

static ACCESS: LazyLock<Access> = LazyLock::new(|| {
    let mut keys = Keys::default();
    keys.add_secret(SECRET).unwrap();
    keys.add_public(KEY_SET).unwrap();
    Access {
        keys,
        audience: Some("ovation".to_owned()),
        issuer: None,
        anonymous: Caps::NONE,
    }
});

fuzz_target!(|bytes: &[u8]| {
    unsigned(bytes);
    if let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
        signed(&bytes[..at], &bytes[at + 1..]);
    }
    fields(bytes);
    // A file of keys is refused or taken.
    let _ = Keys::default().add_public(bytes);
});

fn unsigned(bytes: &[u8]) {
    let Ok(token) = std::str::from_utf8(bytes) else {
        return;
    };
    // No input holds a signature of the secret, which is random to the fuzzer.
    let denied = ACCESS.check(Some(token), "main", "talk", NOW).unwrap_err();
    assert!(matches!(denied, Denied::Invalid(_)));
    let is_long = denied == Denied::Invalid(Flaw::TooLong);
    assert_eq!(is_long, token.len() > MAX_TOKEN_BYTES);
}

fn signed(header: &[u8], payload: &[u8]) {
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let message = format!("{}.{}", encode(header), encode(payload));
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    let token = format!("{message}.{signature}");
    let Ok(grant) = ACCESS.check(Some(&token), "main", "talk", NOW) else {
        return;
    };
    assert!(token.len() <= MAX_TOKEN_BYTES);
    // The server ignores other members, where a full reading finds numbers that are too large and
    // escapes of half a character.
    let (Ok(header), Ok(claims)) = (parse(header), parse(payload)) else {
        return;
    };
    assert_eq!(header["alg"], "HS256");
    assert!(header["crit"].is_null());
    let kid = header["kid"].as_str().unwrap_or_default();
    assert!(
        !["r", "p", "e"].contains(&kid),
        "a key of the set has signed"
    );
    let channel = claims["channel"].as_str().unwrap();
    match channel.strip_suffix('*') {
        Some(prefix) => assert!("main/talk".starts_with(prefix)),
        None => assert_eq!(channel, "main/talk"),
    }
    let time = |name: &str| claims[name].as_f64();
    assert!(time("exp").is_none_or(|at| at > NOW as f64));
    for name in ["nbf", "iat"] {
        assert!(time(name).is_none_or(|at| at <= (NOW + CLOCK_LEEWAY) as f64));
    }
    let end = time("expire_at").or(time("exp")).filter(|at| *at != 0.0);
    assert_eq!(grant.expires_at.is_some(), end.is_some());
    assert!(grant.expires_at.is_none_or(|at| at > NOW));
    let aud = &claims["aud"];
    let mut names = aud.as_array().into_iter().flatten();
    assert!(aud == "ovation" || names.any(|name| name == "ovation"));
}

fn parse(json: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_str(std::str::from_utf8(json).expect("the server accepts UTF-8 only"))
}

fn fields(bytes: &[u8]) {
    let head = [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], bytes, b"\r\n\r\n"].concat();
    if let Ok(Some((request, _))) = request::parse(&head, head.len())
        && let Some(found) = presented(&request)
    {
        let head = String::from_utf8_lossy(&head);
        assert!(head.contains(found.token));
        assert!(!found.token.contains(['\n', '\r']));
    }
}
