//! What a token says (RFC 7519, section 4; Centrifugo's subscription tokens).

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::caps::{Cap, Caps};

/// The claims that the server reads. It ignores the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user, for the back end's own use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The rooms: `party/room`, or a prefix of that which ends in `*`.
    pub channel: String,
    /// When the token expires, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<Seconds>,
    /// When a connection with the token ends, if not at `exp`; 0 for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<Seconds>,
    /// When the token was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<Seconds>,
    /// When the token begins to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Seconds>,
    /// Which servers the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    /// Who made the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// What the client may do. What the server doesn't know gives nothing, so that a back end can be
    /// ahead of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caps: Option<Vec<Value>>,
}

/// A time in seconds since 1970 (RFC 7519, section 2: `NumericDate`). Fractions are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Seconds(pub u64);

/// The claim `aud`: one name, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One name.
    One(String),
    /// A list of names.
    Many(Vec<String>),
}

impl Claims {
    /// What the client may do. Without the claim, the client may watch and react.
    pub fn caps(&self) -> Caps {
        let Some(names) = &self.caps else {
            return Caps::REACT;
        };
        let known = names
            .iter()
            .filter_map(|name| name.as_str()?.parse::<Cap>().ok());
        known.collect()
    }

    /// When a connection with the token ends, in seconds since 1970; `None` for never.
    pub fn expires_at(&self) -> Option<u64> {
        match self.expire_at {
            Some(Seconds(0)) => None,
            Some(Seconds(at)) => Some(at),
            None => self.exp.map(|Seconds(at)| at),
        }
    }

    /// Whether the token is for the room `room` of `party`.
    pub fn covers(&self, party: &str, room: &str) -> bool {
        let mut name = party.bytes().chain([b'/']).chain(room.bytes());
        match self.channel.strip_suffix('*') {
            Some(prefix) => prefix.bytes().all(|byte| name.next() == Some(byte)),
            None => self.channel.bytes().eq(name),
        }
    }
}

impl Audience {
    /// Whether the claim names `audience`.
    pub fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(name) => name == audience,
            Self::Many(names) => names.iter().any(|name| name == audience),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since 1970")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Seconds, E> {
                Ok(Seconds(value))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Seconds, E> {
                // The conversion saturates, so that a number beyond u64 means the end of time.
                let is_time = value >= 0.0;
                is_time
                    .then_some(Seconds(value.ceil() as u64))
                    .ok_or_else(|| E::custom("a time before 1970"))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(rest: &str) -> Result<Claims, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"channel":"main/talk"{rest}}}"#))
    }

    #[test]
    fn a_channel_names_one_room_or_a_prefix() {
        for (channel, room, expected) in [
            ("main/talk", "talk", true),
            ("main/talk", "talks", false),
            ("main/talks", "talk", false),
            ("main/Talk", "talk", false),
            ("main/", "talk", false),
            ("main", "talk", false),
            ("other/talk", "talk", false),
            ("talk", "talk", false),
            ("", "talk", false),
            ("main/a/b", "a/b", true),
            ("main/*", "talk", true),
            ("main/ta*", "talk", true),
            ("main/talk*", "talk", true),
            ("main/talk*", "talks", true),
            ("main/talk*", "tal", false),
            ("main/to*", "talk", false),
            ("main/*alk", "talk", false),
            ("main*", "talk", true),
            ("mai*", "talk", true),
            ("*", "talk", true),
            ("mainly*", "talk", false),
            ("other/*", "talk", false),
            ("main/x*", "*", false),
            ("main/❤*", "❤️", true),
        ] {
            let claims = Claims {
                channel: channel.to_owned(),
                ..Claims::default()
            };
            assert_eq!(claims.covers("main", room), expected, "{channel}: {room}");
        }
    }

    #[test]
    fn caps_are_what_the_server_knows_of_the_list() {
        for (rest, expected) in [
            ("", "watch, react"),
            (r#","caps":null"#, "watch, react"),
            (r#","caps":[]"#, "nothing"),
            (r#","caps":["watch"]"#, "watch"),
            (r#","caps":["react"]"#, "watch, react"),
            (r#","caps":["moderate"]"#, "moderate"),
            (
                r#","caps":["WATCH","fly",1,null,{"allow":["sub"]}]"#,
                "nothing",
            ),
        ] {
            assert_eq!(claims(rest).unwrap().caps().to_string(), expected, "{rest}");
        }
        assert!(claims(r#","caps":"watch""#).is_err());
    }

    #[test]
    fn a_connection_ends_at_expire_at_or_else_at_exp() {
        for (rest, expected) in [
            ("", None),
            (r#","exp":100"#, Some(100)),
            (r#","exp":100.25"#, Some(101)),
            (r#","exp":1e2"#, Some(100)),
            (r#","exp":1e300"#, Some(u64::MAX)),
            (r#","exp":100,"expire_at":200"#, Some(200)),
            (r#","exp":100,"expire_at":0"#, None),
            (r#","exp":100,"expire_at":0.5"#, Some(1)),
            (r#","exp":100,"expire_at":null"#, Some(100)),
        ] {
            assert_eq!(claims(rest).unwrap().expires_at(), expected, "{rest}");
        }
    }

    #[test]
    fn malformed_claims_are_refused() {
        for rest in [
            r#","exp":"100""#,
            r#","exp":-1"#,
            r#","exp":-0.5"#,
            r#","exp":1,"exp":2"#,
            r#","expire_at":true"#,
            r#","nbf":[]"#,
            r#","sub":1"#,
            r#","aud":1"#,
            r#","iss":["a"]"#,
            r#","channel":"main/other""#,
        ] {
            assert!(claims(rest).is_err(), "{rest}");
        }
        assert!(serde_json::from_str::<Claims>("{}").is_err());
        assert!(serde_json::from_str::<Claims>(r#"{"channel":null}"#).is_err());
        assert!(claims(r#","other":{"a":[1,{}]},"aud":["a","b"]"#).is_ok());
    }

    #[test]
    fn an_audience_is_a_name_or_a_list() {
        let one = Audience::One("a".to_owned());
        let many = Audience::Many(vec!["a".to_owned(), "b".to_owned()]);
        assert!(one.names("a") && !one.names("b"));
        assert!(many.names("b") && !many.names("c"));
    }
}
