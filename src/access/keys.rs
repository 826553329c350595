//! The keys that verify tokens. Each has one algorithm.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{self, AlgorithmParameters};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::pem::{self, PemKey};

/// Minimum length of a secret, in bytes: the length of an HMAC (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Maximum number of keys.
pub const MAX_KEYS: usize = 16;
/// Maximum number of keys without `kid`. A token may have to be tried with each of them.
pub const MAX_KEYS_WITHOUT_KID: usize = 4;
/// Minimum length of an RSA modulus, in bits (RFC 7518, section 3.3).
const MIN_RSA_BITS: usize = 2048;
/// Maximum length of an RSA modulus, in bits. Longer ones take too long.
const MAX_RSA_BITS: usize = 8192;

/// Why a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The secret can be guessed.
    #[error("a secret must have at least {MIN_SECRET_BYTES} bytes, and this one has {0}")]
    ShortSecret(usize),
    /// Whoever reads this key can make tokens, and a server needs only the public key.
    #[error("this is a private key")]
    Private,
    /// A set holds a secret.
    #[error("this is a set of keys with a secret in it")]
    SecretInSet,
    /// The file holds no public key of a known form.
    #[error("this is neither a public key in PEM (RSA, P-256 or Ed25519) nor a JSON Web Key Set")]
    Unknown,
    /// The set has no key for signatures that the server can use.
    #[error("the set has no key for RS256, ES256 or EdDSA")]
    EmptySet,
    /// The RSA key is weak, or so long that it slows the server down.
    #[error("an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, and this one has {0}")]
    RsaBits(usize),
    /// There are too many keys.
    #[error("there are more than {MAX_KEYS} keys")]
    TooMany,
    /// There are too many keys without `kid`.
    #[error("there are more than {MAX_KEYS_WITHOUT_KID} keys without kid")]
    TooManyWithoutKid,
}

/// The keys that verify tokens.
#[derive(Debug, Default)]
pub struct Keys {
    keys: Vec<Key>,
}

/// A key that verifies tokens of one algorithm.
#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// A key of a set (RFC 7517 and 7518).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SetKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
    /// Only private keys have it.
    d: Option<Value>,
}

impl Keys {
    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds a secret for HS256.
    ///
    /// # Errors
    /// [`KeyError`] if the secret is too short, or there are too many keys.
    pub fn add_secret(&mut self, secret: &[u8]) -> Result<(), KeyError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        self.add(Key {
            kid: None,
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
        })
    }

    /// Adds what a key file holds: a public key in PEM, or a JSON Web Key (Set).
    ///
    /// # Errors
    /// [`KeyError`] says why the server doesn't take the file.
    pub fn add_public(&mut self, file: &[u8]) -> Result<(), KeyError> {
        let text = std::str::from_utf8(file).map_err(|_| KeyError::Unknown)?;
        if text.trim_start().starts_with('{') {
            return self.add_set(text);
        }
        if pem::has_private_key(text) {
            return Err(KeyError::Private);
        }
        let block = pem::only_block(text).ok_or(KeyError::Unknown)?;
        let (algorithm, key) = match block.public_key().ok_or(KeyError::Unknown)? {
            PemKey::P256(point) => (Algorithm::ES256, DecodingKey::from_ec_der(&point)),
            PemKey::Ed25519(key) => (Algorithm::EdDSA, DecodingKey::from_ed_der(&key)),
            PemKey::Rsa(der) => {
                let key = DecodingKey::from_rsa_der(&der);
                check_rsa_bits(&rsa_modulus(&key).ok_or(KeyError::Unknown)?)?;
                (Algorithm::RS256, key)
            }
        };
        let kid = None;
        self.add(Key {
            kid,
            algorithm,
            key,
        })
    }

    /// Adds the keys of a set, or a single key in the same form. Keys of other kinds are left out,
    /// as RFC 7517, section 5, has it.
    fn add_set(&mut self, text: &str) -> Result<(), KeyError> {
        let mut set: Value = serde_json::from_str(text).map_err(|_| KeyError::Unknown)?;
        let keys = match set.get_mut("keys").map(Value::take) {
            Some(Value::Array(keys)) => keys,
            Some(_) => return Err(KeyError::Unknown),
            None => vec![set],
        };
        let mut is_empty = true;
        for key in keys {
            let key: SetKey = serde_json::from_value(key).map_err(|_| KeyError::Unknown)?;
            if let Some(key) = key.usable()? {
                self.add(key)?;
                is_empty = false;
            }
        }
        if is_empty {
            return Err(KeyError::EmptySet);
        }
        Ok(())
    }

    fn add(&mut self, key: Key) -> Result<(), KeyError> {
        if self.keys.len() == MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let without_kid = self.keys.iter().filter(|key| key.kid.is_none()).count();
        if key.kid.is_none() && without_kid == MAX_KEYS_WITHOUT_KID {
            return Err(KeyError::TooManyWithoutKid);
        }
        self.keys.push(key);
        Ok(())
    }

    /// The keys that may have signed a token with this `kid`: those with the same `kid`, or else
    /// those without.
    pub(super) fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        let has_it = |key: &&Key| key.kid.is_some() && key.kid.as_deref() == kid;
        let wanted = self.keys.iter().find(has_it).and(kid);
        let keys = self.keys.iter();
        keys.filter(move |key| key.kid.as_deref() == wanted)
    }
}

impl Key {
    /// Whether the key is for the algorithm that a token names.
    pub(super) fn is_for(&self, algorithm: &str) -> bool {
        names(self.algorithm).contains(&algorithm)
    }

    /// Whether `signature`, in Base64, is this key's for `message`.
    pub(super) fn verifies(&self, message: &str, signature: &str) -> bool {
        let message = message.as_bytes();
        // A signature that isn't Base64 is an error, which is no signature either.
        crypto::verify(signature, message, &self.key, self.algorithm).unwrap_or(false)
    }
}

/// The names of an algorithm in the header of a token (RFC 7518, section 3.1; RFC 8037, section
/// 3.1; RFC 9864, section 2.2).
fn names(algorithm: Algorithm) -> &'static [&'static str] {
    match algorithm {
        Algorithm::HS256 => &["HS256"],
        Algorithm::RS256 => &["RS256"],
        Algorithm::ES256 => &["ES256"],
        Algorithm::EdDSA => &["EdDSA", "Ed25519"],
        _ => &[],
    }
}

impl SetKey {
    /// The key; `None` if it isn't for signatures that the server knows.
    fn usable(self) -> Result<Option<Key>, KeyError> {
        if self.d.is_some() {
            return Err(KeyError::Private);
        }
        if self.kty == "oct" {
            return Err(KeyError::SecretInSet);
        }
        let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let coordinate = |text: &str| bytes(text).filter(|bytes| bytes.len() == 32);
        let found = match (&*self.kty, &*self.crv) {
            ("RSA", _) => bytes(&self.n).zip(bytes(&self.e)).map(|(n, e)| {
                let key = DecodingKey::from_rsa_raw_components(&n, &e);
                check_rsa_bits(&n).map(|()| (Algorithm::RS256, key))
            }),
            ("EC", "P-256") => coordinate(&self.x).zip(coordinate(&self.y)).map(|(x, y)| {
                let point = [&[4], &*x, &*y].concat();
                Ok((Algorithm::ES256, DecodingKey::from_ec_der(&point)))
            }),
            ("OKP", "Ed25519") => {
                coordinate(&self.x).map(|x| Ok((Algorithm::EdDSA, DecodingKey::from_ed_der(&x))))
            }
            _ => return Ok(None),
        };
        let (algorithm, key) = found.ok_or(KeyError::Unknown)??;
        let is_for_signatures = self.usage.is_none_or(|usage| usage == "sig")
            && self
                .key_ops
                .is_none_or(|ops| ops.iter().any(|it| it == "verify"));
        let is_for_algorithm = self.alg.is_none_or(|alg| names(algorithm).contains(&&*alg));
        Ok((is_for_signatures && is_for_algorithm).then_some(Key {
            kid: self.kid,
            algorithm,
            key,
        }))
    }
}

/// The modulus of an RSA key in DER; `None` if the key is malformed.
fn rsa_modulus(key: &DecodingKey) -> Option<Vec<u8>> {
    match jwk::Jwk::from_decoding_key(key, None).ok()?.algorithm {
        AlgorithmParameters::RSA(parameters) => {
            BASE64URL_NOPAD.decode(parameters.n.as_bytes()).ok()
        }
        _ => None,
    }
}

fn check_rsa_bits(modulus: &[u8]) -> Result<(), KeyError> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = modulus[zeros..].first().map_or(0, |first| {
        (modulus.len() - zeros) * 8 - first.leading_zeros() as usize
    });
    let is_allowed = (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits);
    is_allowed.then_some(()).ok_or(KeyError::RsaBits(bits))
}
