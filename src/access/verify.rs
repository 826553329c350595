//! The check of a token: what it allows, or why it allows nothing.

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use super::caps::Caps;
use super::claims::{Audience, Claims, Seconds};
use super::keys::Keys;

/// Maximum length of a token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 4096;
/// How far the clock of a token's maker may be ahead of the server's, in seconds. A token that was
/// made in the future by no more than that holds at once.
pub const CLOCK_LEEWAY: u64 = 5;

/// Who may do what: the keys of tokens, and what clients without a token may do.
#[derive(Debug)]
pub struct Access {
    /// The keys that verify tokens.
    pub keys: Keys,
    /// The audience that a token must name. Without it, a token must name none.
    pub audience: Option<String>,
    /// The issuer that a token must name. Without it, a token may name any.
    pub issuer: Option<String>,
    /// What a client without a token may do.
    pub anonymous: Caps,
}

/// What a client may do in the room that it asks for, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// What the client may do.
    pub caps: Caps,
    /// When a connection ends, in seconds since 1970; `None` for never.
    pub expires_at: Option<u64>,
}

/// Why a client may do nothing in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denied {
    /// There is no token.
    #[error("an access token is required")]
    Missing,
    /// The token is refused, now and later.
    #[error("the access token is not valid: {0}")]
    Invalid(Flaw),
    /// The token no longer holds.
    #[error("the access token has expired")]
    Expired,
    /// The token is for other rooms.
    #[error("the access token is for another room")]
    WrongRoom,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Flaw {
    /// It is longer than [`MAX_TOKEN_BYTES`].
    #[error("it is too long")]
    TooLong,
    /// It isn't a signed JWT, or demands an extension (RFC 7515, section 4.1.11).
    #[error("it is malformed")]
    Malformed,
    /// No key has its `kid`, and every key has another.
    #[error("its key is unknown")]
    Key,
    /// Its algorithm isn't that of the key.
    #[error("its algorithm is not that of the key")]
    Algorithm,
    /// The signature is not the key's.
    #[error("its signature is wrong")]
    Signature,
    /// A claim is missing or malformed.
    #[error("its claims are malformed")]
    Claims,
    /// It begins to hold later.
    #[error("it does not hold yet")]
    NotYet,
    /// It is for another audience.
    #[error("it is for another audience")]
    Audience,
    /// It is of another issuer.
    #[error("it is of another issuer")]
    Issuer,
}

impl Denied {
    /// All labels.
    pub const LABELS: [&str; 9] = [
        "missing",
        "expired",
        "wrong_room",
        "malformed",
        "key",
        "algorithm",
        "signature",
        "not_yet",
        "audience_or_issuer",
    ];

    /// The label in metrics, one of [`Denied::LABELS`].
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Expired => "expired",
            Self::WrongRoom => "wrong_room",
            Self::Invalid(flaw) => match flaw {
                Flaw::TooLong | Flaw::Malformed | Flaw::Claims => "malformed",
                Flaw::Key => "key",
                Flaw::Algorithm => "algorithm",
                Flaw::Signature => "signature",
                Flaw::NotYet => "not_yet",
                Flaw::Audience | Flaw::Issuer => "audience_or_issuer",
            },
        }
    }
}

impl From<Flaw> for Denied {
    fn from(flaw: Flaw) -> Self {
        Self::Invalid(flaw)
    }
}

/// The header of a token (RFC 7515, section 4.1).
#[derive(Deserialize)]
struct Header<'t> {
    #[serde(borrow)]
    alg: Cow<'t, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'t, str>>,
    /// Extensions that the server would have to know. It knows none.
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

impl Access {
    /// What a client with `token` may do in the room `room` of `party` at `now`, in seconds since
    /// 1970.
    ///
    /// # Errors
    /// [`Denied`] says why the client may do nothing.
    pub fn check(
        &self,
        token: Option<&str>,
        party: &str,
        room: &str,
        now: u64,
    ) -> Result<Grant, Denied> {
        let Some(token) = token else {
            if self.anonymous == Caps::NONE {
                return Err(Denied::Missing);
            }
            return Ok(Grant {
                caps: self.anonymous,
                expires_at: None,
            });
        };
        let claims = self.verify(token, now)?;
        if !claims.covers(party, room) {
            return Err(Denied::WrongRoom);
        }
        Ok(Grant {
            caps: claims.caps(),
            expires_at: claims.expires_at(),
        })
    }

    /// The claims of `token`, if it holds at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`Denied`] says why the token doesn't hold.
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, Denied> {
        let payload = self.signed_payload(token)?;
        let claims: Claims = from_object(&payload).ok_or(Flaw::Claims)?;
        let is_later = |time: Option<Seconds>| {
            time.is_some_and(|Seconds(time)| time > now.saturating_add(CLOCK_LEEWAY))
        };
        if is_later(claims.nbf) || is_later(claims.iat) {
            return Err(Flaw::NotYet.into());
        }
        let is_past = |time: Option<u64>| time.is_some_and(|time| time <= now);
        if is_past(claims.exp.map(|Seconds(time)| time)) || is_past(claims.expires_at()) {
            return Err(Denied::Expired);
        }
        // RFC 7519, section 4.1.3: a token for an audience is not for a server without a name.
        let is_for_us = match (&claims.aud, &self.audience) {
            (None, None) => true,
            (Some(named), Some(own)) => named.names(own),
            (Some(Audience::Many(names)), None) => names.is_empty(),
            (Some(Audience::One(_)), None) | (None, Some(_)) => false,
        };
        if !is_for_us {
            return Err(Flaw::Audience.into());
        }
        if self.issuer.is_some() && claims.iss != self.issuer {
            return Err(Flaw::Issuer.into());
        }
        Ok(claims)
    }

    /// The payload of `token`, if one of the keys has signed it.
    fn signed_payload(&self, token: &str) -> Result<Vec<u8>, Flaw> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Flaw::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Flaw::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Flaw::Malformed)?;
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes());
        let header = decode(header).map_err(|_| Flaw::Malformed)?;
        let header: Header<'_> = from_object(&header).ok_or(Flaw::Malformed)?;
        // A payload with a further dot isn't Base64.
        let payload = decode(payload).map_err(|_| Flaw::Malformed)?;
        if header.crit.is_some() {
            return Err(Flaw::Malformed);
        }
        let mut flaw = Flaw::Key;
        for key in self.keys.candidates(header.kid.as_deref()) {
            if !key.is_for(&header.alg) {
                // A wrong signature says more than another key's algorithm.
                if flaw == Flaw::Key {
                    flaw = Flaw::Algorithm;
                }
            } else if key.verifies(message, signature) {
                return Ok(payload);
            } else {
                flaw = Flaw::Signature;
            }
        }
        Err(flaw)
    }
}

/// Parses a JSON object in UTF-8. Serde alone would also take the fields from an array, and pass over
/// malformed UTF-8 in what it ignores.
fn from_object<'t, T: Deserialize<'t>>(json: &'t [u8]) -> Option<T> {
    let json = std::str::from_utf8(json).ok()?;
    let is_object = json.trim_start().starts_with('{');
    is_object.then(|| serde_json::from_str(json).ok())?
}
