//! Access tokens: which keys verify them, and what clients without one may do.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use thiserror::Error;

use crate::access::{Access, Caps, KeyError, Keys};
use crate::os::secret_file::{self, Content, SecretFileError};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access tokens")]
pub(crate) struct AccessArgs {
    #[command(flatten)]
    verification: VerificationArgs,

    /// What a client without a token may do, if the server has keys for tokens
    #[arg(
        long,
        value_name = "WHAT",
        env = "OVATION_ANONYMOUS",
        default_value = "none",
        requires = "token_keys"
    )]
    anonymous: Anonymous,
}

/// How tokens are verified.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access tokens")]
pub(crate) struct VerificationArgs {
    #[command(flatten)]
    keys: KeyArgs,

    /// Audience that tokens must name
    #[arg(
        long,
        value_name = "NAME",
        env = "OVATION_TOKEN_AUDIENCE",
        requires = "token_keys"
    )]
    token_audience: Option<String>,

    /// Issuer that tokens must name
    #[arg(
        long,
        value_name = "NAME",
        env = "OVATION_TOKEN_ISSUER",
        requires = "token_keys"
    )]
    token_issuer: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[group(id = "token_keys", multiple = true)]
struct KeyArgs {
    /// File with a secret of at least 32 bytes that signs tokens (HS256); may be given several
    /// times. With this flag or --token-key-file, clients need a token
    #[arg(
        long = "token-secret-file",
        value_name = "FILE",
        env = "OVATION_TOKEN_SECRET_FILE",
        value_delimiter = ','
    )]
    secret_files: Vec<PathBuf>,

    /// File with a public key that verifies tokens: PEM (RSA for RS256, P-256 for ES256, Ed25519
    /// for EdDSA), or a JSON Web Key Set; may be given several times
    #[arg(
        long = "token-key-file",
        value_name = "FILE",
        env = "OVATION_TOKEN_KEY_FILE",
        value_delimiter = ','
    )]
    key_files: Vec<PathBuf>,
}

/// What a client without a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Anonymous {
    /// Nothing
    None,
    /// See the counts
    Watch,
    /// See the counts and react
    React,
}

/// A file of keys that the server can't use.
#[derive(Debug, Error)]
#[error("{content} {path}: {reason}", content = Name(*content), path = path.display())]
pub(crate) struct KeyFileError {
    pub(super) path: PathBuf,
    pub(super) content: Content,
    pub(super) reason: KeyFileProblem,
}

/// What is wrong with a file of keys.
#[derive(Debug, Error)]
pub(crate) enum KeyFileProblem {
    /// The file can't be read, or must not be.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file is read, and its key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The name of a file of keys in messages.
struct Name(Content);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Content::Secret => "token secret file",
            Content::Public => "token key file",
        })
    }
}

impl AccessArgs {
    /// Reads the keys. `None` if there are none: then everybody may watch and react.
    ///
    /// # Errors
    /// [`KeyFileError`] if a file can't be used.
    pub(crate) fn access(&self) -> Result<Option<Access>, KeyFileError> {
        let access = self.verification.access()?;
        Ok(access.map(|access| Access {
            anonymous: match self.anonymous {
                Anonymous::None => Caps::NONE,
                Anonymous::Watch => Caps::WATCH,
                Anonymous::React => Caps::REACT,
            },
            ..access
        }))
    }
}

impl VerificationArgs {
    /// Reads the keys. `None` if there are none. Clients without a token may do nothing.
    ///
    /// # Errors
    /// [`KeyFileError`] if a file can't be used.
    pub(crate) fn access(&self) -> Result<Option<Access>, KeyFileError> {
        let mut keys = Keys::default();
        for path in &self.keys.secret_files {
            add(path, Content::Secret, |secret| keys.add_secret(secret))?;
        }
        for path in &self.keys.key_files {
            add(path, Content::Public, |file| keys.add_public(file))?;
        }
        Ok((!keys.is_empty()).then(|| Access {
            keys,
            audience: self.token_audience.clone(),
            issuer: self.token_issuer.clone(),
            anonymous: Caps::NONE,
        }))
    }
}

/// Reads a file of keys, and adds its content.
fn add(
    path: &Path,
    content: Content,
    add: impl FnOnce(&[u8]) -> Result<(), KeyError>,
) -> Result<(), KeyFileError> {
    let read = secret_file::read(path, content).map_err(KeyFileProblem::from);
    let added = read.and_then(|bytes| Ok(add(&bytes)?));
    added.map_err(|reason| KeyFileError {
        path: path.to_owned(),
        content,
        reason,
    })
}
