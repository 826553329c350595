//! Making tokens, for tests and for operators. A back end makes its own.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use thiserror::Error;

use super::claims::Claims;
use super::keys::{KeyError, MIN_SECRET_BYTES};
use super::pem::{self, PemKey};

/// Why a token can't be made.
#[derive(Debug, Error)]
pub enum MintError {
    /// The key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file holds no private key of a known form.
    #[error("this is not a private key in PEM (PKCS#8: RSA, P-256 or Ed25519)")]
    NotPrivate,
    /// The key doesn't sign.
    #[error("the key does not sign: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A key that makes tokens.
#[derive(Debug)]
pub struct Mint {
    key: EncodingKey,
    header: Header,
}

impl Mint {
    /// Makes tokens for HS256 with a secret.
    ///
    /// # Errors
    /// [`MintError`] if the secret is too short.
    pub fn from_secret(secret: &[u8]) -> Result<Self, MintError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret(secret.len()).into());
        }
        Ok(Self {
            key: EncodingKey::from_secret(secret),
            header: Header::new(Algorithm::HS256),
        })
    }

    /// Makes tokens with the private key of a PEM file: RS256, ES256 or EdDSA, by the key.
    ///
    /// # Errors
    /// [`MintError`] if the file has no such key.
    pub fn from_private_key(file: &[u8]) -> Result<Self, MintError> {
        let text = std::str::from_utf8(file).map_err(|_| MintError::NotPrivate)?;
        let key = pem::only_block(text).and_then(|block| block.private_key());
        let (algorithm, key) = match key.ok_or(MintError::NotPrivate)? {
            PemKey::P256(der) => (Algorithm::ES256, EncodingKey::from_ec_der(&der)),
            PemKey::Ed25519(der) => (Algorithm::EdDSA, EncodingKey::from_ed_der(&der)),
            PemKey::Rsa(der) => (Algorithm::RS256, EncodingKey::from_rsa_der(&der)),
        };
        Ok(Self {
            key,
            header: Header::new(algorithm),
        })
    }

    /// Writes `kid` into tokens, by which a server finds the key.
    #[must_use]
    pub fn with_kid(mut self, kid: Option<String>) -> Self {
        self.header.kid = kid;
        self
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// [`MintError`] if the key doesn't sign.
    pub fn token(&self, claims: &Claims) -> Result<String, MintError> {
        Ok(encode(&self.header, claims, &self.key)?)
    }
}
