//! Tokens against keys, claims and time.

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

use super::claims::{Audience, Seconds};
use super::keys::{MAX_KEYS, MAX_KEYS_WITHOUT_KID};
use super::mint::{Mint, MintError};
use super::verify::{CLOCK_LEEWAY, MAX_TOKEN_BYTES};
use super::*;
use crate::protocol::http::request;

const SECRET: &[u8] = b"a secret of exactly 32 bytes....";
const NOW: u64 = 1_800_000_000;

macro_rules! key {
    ($name:literal) => {
        include_bytes!(concat!("keys/", $name))
    };
}

/// Private and public keys, with their algorithms.
const PAIRS: [(&str, &[u8], &[u8]); 5] = [
    ("RS256", key!("rsa.pem"), key!("rsa.public.pem")),
    ("RS256", key!("rsa.pkcs1.pem"), key!("rsa.pkcs1.public.pem")),
    ("ES256", key!("p256.pem"), key!("p256.public.pem")),
    ("EdDSA", key!("ed25519.pem"), key!("ed25519.public.pem")),
    ("ES256", key!("p256.pem"), key!("set.json")),
];

fn access(add: impl FnOnce(&mut Keys) -> Result<(), KeyError>) -> Access {
    let mut keys = Keys::default();
    add(&mut keys).unwrap();
    Access {
        keys,
        audience: None,
        issuer: None,
        anonymous: Caps::NONE,
    }
}

fn with_secret() -> Access {
    access(|keys| keys.add_secret(SECRET))
}

fn claims() -> Claims {
    Claims {
        channel: "main/talk".to_owned(),
        exp: Some(Seconds(NOW + 60)),
        ..Claims::default()
    }
}

fn signed(claims: &Claims) -> String {
    Mint::from_secret(SECRET).unwrap().token(claims).unwrap()
}

fn check(access: &Access, token: &str) -> Result<Grant, Denied> {
    access.check(Some(token), "main", "talk", NOW)
}

/// A token with any header and payload, signed with [`SECRET`].
fn raw(header: &str, payload: impl AsRef<[u8]>) -> String {
    use jsonwebtoken::{Algorithm, EncodingKey, crypto};
    let encode = |text: &[u8]| BASE64URL_NOPAD.encode(text);
    let message = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_ref()));
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn a_token_of_each_algorithm_is_accepted() {
    let grant = Grant {
        caps: Caps::REACT,
        expires_at: Some(NOW + 60),
    };
    assert_eq!(check(&with_secret(), &signed(&claims())), Ok(grant));
    for (algorithm, private, public) in PAIRS {
        let access = access(|keys| keys.add_public(public));
        let kid = public.starts_with(b"{").then(|| "p".to_owned());
        let mint = Mint::from_private_key(private).unwrap().with_kid(kid);
        let token = mint.token(&claims()).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(format!("{:?}", header.alg), algorithm);
        assert_eq!(check(&access, &token), Ok(grant), "{algorithm}");
    }
}

#[test]
fn another_key_of_the_same_algorithm_is_refused() {
    let token = signed(&claims());
    let other = access(|keys| keys.add_secret(b"another secret of at least 32 bytes"));
    assert_eq!(check(&other, &token), Err(Flaw::Signature.into()));
}

#[test]
fn the_public_key_is_no_secret() {
    let public: &[u8] = key!("rsa.public.pem");
    let token = Mint::from_secret(public).unwrap().token(&claims()).unwrap();
    let rsa = access(|keys| keys.add_public(public));
    assert_eq!(check(&rsa, &token), Err(Flaw::Algorithm.into()));
    let both = access(|keys| {
        keys.add_public(public)?;
        keys.add_secret(SECRET)
    });
    assert_eq!(check(&both, &token), Err(Flaw::Signature.into()));
    assert!(check(&both, &signed(&claims())).is_ok());
}

#[test]
fn a_header_chooses_no_other_algorithm() {
    let payload = serde_json::to_string(&claims()).unwrap();
    let check = |header: &str| check(&with_secret(), &raw(header, &payload));
    assert!(check(r#"{"alg":"HS256"}"#).is_ok());
    assert!(check(r#"{"alg":"HS256","typ":"at+jwt","jku":"https://a.example","jwk":1}"#).is_ok());
    for algorithm in ["none", "None", "", "hs256", "HS512", "RS256", "EdDSA"] {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        assert_eq!(check(&header), Err(Flaw::Algorithm.into()), "{algorithm}");
    }
    for header in [
        "{}",
        r#"{"alg":null}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"["HS256"]"#,
        r#"{"alg":"HS256"} x"#,
    ] {
        assert_eq!(check(header), Err(Flaw::Malformed.into()), "{header}");
    }
}

#[test]
fn a_malformed_token_is_refused() {
    let token = signed(&claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let access = with_secret();
    let check = |token: &str| check(&access, token);
    for token in [
        "",
        ".",
        "..",
        "...",
        message,
        &format!("{header}.{payload}.{payload}.{signature}"),
        &format!("{header}=.{payload}.{signature}"),
        &format!("{message}.{signature}")
            .replace('_', "/")
            .replace("ey", "e+"),
    ] {
        assert_eq!(check(token), Err(Flaw::Malformed.into()), "{token}");
    }
    for token in [
        format!("{message}."),
        format!("{header}..{signature}"),
        format!("{message}.!"),
        format!("{message}.{signature}A"),
        format!("{token}="),
        format!("{token} "),
    ] {
        assert_eq!(check(&token), Err(Flaw::Signature.into()), "{token}");
    }
    let long = "a".repeat(MAX_TOKEN_BYTES);
    assert_eq!(check(&long), Err(Flaw::Malformed.into()));
    assert_eq!(check(&format!("{long}a")), Err(Flaw::TooLong.into()));
    let list = r#"[null,"main/talk",null,null,null,null,null,null,null]"#;
    for payload in ["", list, "[]", "{}", "1", "\u{feff}{}", &"[".repeat(2000)] {
        let token = raw(r#"{"alg":"HS256"}"#, payload);
        assert_eq!(check(&token), Err(Flaw::Claims.into()), "{payload}");
    }
}

#[test]
fn ignored_claims_must_be_utf8_too() {
    let payload = |ignored: &[u8]| [br#"{"channel":"main/talk","a":""#, ignored, br#""}"#].concat();
    let check = |ignored: &[u8]| {
        let token = raw(r#"{"alg":"HS256"}"#, payload(ignored));
        check(&with_secret(), &token).map(|_| ())
    };
    assert_eq!(check("❤".as_bytes()), Ok(()));
    assert_eq!(check(b"\x80"), Err(Flaw::Claims.into()));
}

#[test]
fn a_kid_chooses_its_key() {
    let known: serde_json::Value = serde_json::from_slice(key!("set.json")).unwrap();
    let mut set = known["keys"][1].clone();
    set["kid"] = "one".into();
    let set = set.to_string();
    let private: &[u8] = key!("p256.pem");
    let token = |kid: Option<&str>| {
        let mint = Mint::from_private_key(private).unwrap();
        let mint = mint.with_kid(kid.map(str::to_owned));
        mint.token(&claims()).unwrap()
    };
    let named = access(|keys| keys.add_public(set.as_bytes()));
    assert!(check(&named, &token(Some("one"))).is_ok());
    for kid in [None, Some("two"), Some("")] {
        assert_eq!(check(&named, &token(kid)), Err(Flaw::Key.into()), "{kid:?}");
    }
    let unnamed = access(|keys| keys.add_public(key!("p256.public.pem")));
    for kid in [None, Some("one"), Some("")] {
        assert!(check(&unnamed, &token(kid)).is_ok(), "{kid:?}");
    }
    // A key with the kid of the token is the only one that counts.
    let both = access(|keys| {
        keys.add_secret(SECRET)?;
        keys.add_public(set.as_bytes())
    });
    assert!(check(&both, &token(Some("one"))).is_ok());
    assert!(check(&both, &signed(&claims())).is_ok());
    let mint = Mint::from_secret(SECRET).unwrap();
    let token = mint.with_kid(Some("one".to_owned())).token(&claims());
    assert_eq!(check(&both, &token.unwrap()), Err(Flaw::Algorithm.into()));
}

#[test]
fn keys_that_cannot_be_used_are_refused() {
    let add = |file: &[u8]| Keys::default().add_public(file);
    for private in [
        &key!("rsa.pem")[..],
        key!("rsa.pkcs1.pem"),
        key!("p256.pem"),
        key!("p256.sec1.pem"),
        key!("ed25519.pem"),
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}]}"#,
    ] {
        assert_eq!(add(private), Err(KeyError::Private));
    }
    for unknown in [
        &key!("p384.public.pem")[..],
        key!("secp256k1.public.pem"),
        key!("rsapss.public.pem"),
        key!("p256.compressed.public.pem"),
        key!("certificate.pem"),
        &[key!("p256.public.pem"), &key!("ed25519.public.pem")[..]].concat(),
        &key!("p256.public.pem")[..100],
        SECRET,
        b"",
        b"\xff",
        b"{",
        br#"{"keys":1}"#,
        br#"{"keys":[1]}"#,
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#,
    ] {
        assert_eq!(add(unknown), Err(KeyError::Unknown));
    }
    assert_eq!(
        add(key!("rsa1024.public.pem")),
        Err(KeyError::RsaBits(1024))
    );
    let weak = br#"{"kty":"RSA","n":"AAAB","e":"AQAB"}"#;
    assert_eq!(add(weak), Err(KeyError::RsaBits(1)));
    let secret = br#"{"keys":[{"kty":"oct","k":"AA"}]}"#;
    assert_eq!(add(secret), Err(KeyError::SecretInSet));
    for set in [
        r#"{"keys":[]}"#,
        "{}",
        r#"{"keys":[{"kty":"EC","crv":"P-384"}]}"#,
    ] {
        assert_eq!(add(set.as_bytes()), Err(KeyError::EmptySet), "{set}");
    }
    let short = Keys::default().add_secret(&SECRET[1..]);
    assert_eq!(short, Err(KeyError::ShortSecret(31)));
    let mut keys = Keys::default();
    for _ in 0..MAX_KEYS_WITHOUT_KID {
        keys.add_secret(SECRET).unwrap();
    }
    assert_eq!(keys.add_secret(SECRET), Err(KeyError::TooManyWithoutKid));
    // 256 bytes in Base64: the last digit has four bits too many, which are zero.
    let modulus = "x".repeat(341) + "w";
    let key = |kid| format!(r#"{{"kty":"RSA","n":"{modulus}","e":"AQAB","kid":"{kid}"}}"#);
    for kid in MAX_KEYS_WITHOUT_KID..MAX_KEYS {
        keys.add_public(key(kid).as_bytes()).unwrap();
    }
    assert_eq!(keys.add_public(key(99).as_bytes()), Err(KeyError::TooMany));
}

#[test]
fn keys_for_other_purposes_are_left_out_of_a_set() {
    let set: serde_json::Value = serde_json::from_slice(key!("set.json")).unwrap();
    for (name, value) in [
        ("use", serde_json::json!("enc")),
        ("alg", serde_json::json!("ES384")),
        ("key_ops", serde_json::json!(["deriveBits"])),
    ] {
        let mut key = set["keys"][1].clone();
        assert!(
            Keys::default()
                .add_public(key.to_string().as_bytes())
                .is_ok()
        );
        key[name] = value;
        let added = Keys::default().add_public(key.to_string().as_bytes());
        assert_eq!(added, Err(KeyError::EmptySet), "{name}");
    }
}

#[test]
fn only_private_keys_make_tokens() {
    for file in [key!("rsa.public.pem"), &key!("p256.sec1.pem")[..], SECRET] {
        let refused = Mint::from_private_key(file);
        assert!(matches!(refused, Err(MintError::NotPrivate)));
    }
    assert!(Mint::from_secret(&SECRET[1..]).is_err());
}

#[test]
fn a_token_is_for_its_rooms_only() {
    let access = with_secret();
    let token = signed(&claims());
    let check = |party, room| access.check(Some(&token), party, room, NOW);
    assert!(check("main", "talk").is_ok());
    assert_eq!(check("main", "other"), Err(Denied::WrongRoom));
    assert_eq!(check("other", "talk"), Err(Denied::WrongRoom));
}

#[test]
fn without_a_token_a_client_may_do_what_anybody_may() {
    let mut access = with_secret();
    let check = |access: &Access| access.check(None, "main", "talk", NOW);
    assert_eq!(check(&access), Err(Denied::Missing));
    access.anonymous = Caps::WATCH;
    let grant = Grant {
        caps: Caps::WATCH,
        expires_at: None,
    };
    assert_eq!(check(&access), Ok(grant));
    // A client that presents a token is held to it.
    assert!(access.check(Some(""), "main", "talk", NOW).is_err());
}

#[test]
fn audience_and_issuer_are_those_of_the_server() {
    let one = |name: &str| Some(Audience::One(name.to_owned()));
    let many = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned());
        Some(Audience::Many(names.collect()))
    };
    for (own, named, is_allowed) in [
        (None, None, true),
        (None, one("a"), false),
        (None, many(&["a"]), false),
        (None, many(&[]), true),
        (Some("a"), None, false),
        (Some("a"), one("a"), true),
        (Some("a"), one("b"), false),
        (Some("a"), many(&["b", "a"]), true),
        (Some("a"), many(&["b"]), false),
        (Some("a"), many(&[]), false),
    ] {
        let mut access = with_secret();
        access.audience = own.map(str::to_owned);
        let mut claims = claims();
        claims.aud = named;
        let checked = check(&access, &signed(&claims)).map(|_| ());
        let expected = is_allowed.then_some(()).ok_or(Flaw::Audience.into());
        assert_eq!(checked, expected, "{own:?} {:?}", claims.aud);
    }
    for (own, named, is_allowed) in [
        (None, None, true),
        (None, Some("a"), true),
        (Some("a"), None, false),
        (Some("a"), Some("a"), true),
        (Some("a"), Some("b"), false),
    ] {
        let mut access = with_secret();
        access.issuer = own.map(str::to_owned);
        let mut claims = claims();
        claims.iss = named.map(str::to_owned);
        let checked = check(&access, &signed(&claims)).map(|_| ());
        let expected = is_allowed.then_some(()).ok_or(Flaw::Issuer.into());
        assert_eq!(checked, expected, "{own:?} {named:?}");
    }
}

/// Times near [`NOW`], and the ends of the scale.
fn time() -> impl Strategy<Value = Option<u64>> {
    let near = (NOW - 10)..(NOW + 10);
    proptest::option::of(prop_oneof![8 => near, 1 => Just(0), 1 => Just(u64::MAX)])
}

proptest! {
    #[test]
    fn a_token_holds_from_nbf_to_exp(
        exp in time(), expire_at in time(), nbf in time(), iat in time(),
        now in prop_oneof![8 => Just(NOW), 1 => Just(0), 1 => Just(u64::MAX)],
    ) {
        let claims = Claims {
            channel: "main/talk".to_owned(),
            exp: exp.map(Seconds),
            expire_at: expire_at.map(Seconds),
            nbf: nbf.map(Seconds),
            iat: iat.map(Seconds),
            ..Claims::default()
        };
        let starts = nbf.max(iat).unwrap_or(0);
        let ends = exp.unwrap_or(u64::MAX).min(expire_at.filter(|at| *at > 0).unwrap_or(u64::MAX));
        let is_endless = exp.is_none() && expire_at.is_none_or(|at| at == 0);
        let checked = with_secret().check(Some(&signed(&claims)), "main", "talk", now);
        if starts.saturating_sub(CLOCK_LEEWAY) > now {
            prop_assert_eq!(checked, Err(Flaw::NotYet.into()));
        } else if now >= ends && !is_endless {
            prop_assert_eq!(checked, Err(Denied::Expired));
        } else {
            let expires_at = checked.unwrap().expires_at;
            prop_assert_eq!(expires_at, match expire_at {
                Some(0) => None,
                Some(at) => Some(at),
                None => exp,
            });
        }
    }

    #[test]
    fn no_changed_byte_of_a_token_is_accepted(at in 0usize..1000, byte in any::<u8>()) {
        let token = signed(&claims());
        let mut changed = token.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = byte;
        if let Ok(changed) = String::from_utf8(changed) {
            let checked = check(&with_secret(), &changed);
            prop_assert_eq!(checked.is_ok(), changed == token);
        }
    }
}

#[test]
fn the_first_token_of_a_request_counts() {
    const ALL: [&str; 3] = [
        "Authorization: Bearer a",
        "Sec-WebSocket-Protocol: ovation, ovation.token.b",
        "Cookie: x=1; ovation_token=d; y=2",
    ];
    for (target, fields, expected) in [
        ("/", &ALL[..0], None),
        ("/?token=c", &ALL[..], Some(("a", Source::Bearer))),
        ("/?token=c", &ALL[1..], Some(("b", Source::Subprotocol))),
        ("/?token=c", &ALL[2..], Some(("c", Source::Query))),
        ("/?token=", &ALL[2..], Some(("d", Source::Cookie))),
        (
            "/?a&token=c&token=d#token=e",
            &[],
            Some(("c", Source::Query)),
        ),
        ("/token=c", &[], None),
        (
            "/",
            &["Authorization: BEARER   a "],
            Some(("a", Source::Bearer)),
        ),
        ("/", &["Authorization: Bearer"], None),
        ("/", &["Authorization: Bearer "], None),
        ("/", &["Authorization: Basic a"], None),
        ("/", &["Authorization: Bearer\u{e9}"], None),
        (
            "/",
            &["Authorization: Bearer a", "Authorization: Basic b"],
            Some(("", Source::Bearer)),
        ),
        ("/", &["Sec-WebSocket-Protocol: ovation"], None),
        (
            "/",
            &[
                "Sec-WebSocket-Protocol: x",
                "Sec-WebSocket-Protocol: ovation.token.b,ovation",
            ],
            Some(("b", Source::Subprotocol)),
        ),
        ("/", &["Cookie: xovation_token=d"], None),
        (
            "/",
            &["Cookie: x=1", "cookie: ovation_token=d"],
            Some(("d", Source::Cookie)),
        ),
    ] {
        let fields: String = fields.iter().map(|it| format!("{it}\r\n")).collect();
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (request, _) = request::parse(head.as_bytes(), 8192).unwrap().unwrap();
        let found = presented(&request).map(|it| (it.token, it.source));
        assert_eq!(found, expected, "{head}");
    }
}
