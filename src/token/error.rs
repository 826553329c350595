//! Why a tool for access tokens fails.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::access::mint::MintError;
use crate::config::KeyFileError;
use crate::config::advice;
use crate::os::secret_file::SecretFileError;

/// Why a tool for access tokens has failed, with what the operator can do.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    /// A file of keys can't be used.
    #[error("{}", advice::key_file_error(.0))]
    KeyFile(#[from] KeyFileError),
    /// There is no key to check a token with.
    #[error("no key to check the token with; give --token-secret-file or --token-key-file")]
    NoKey,
    /// The file with the signing key can't be read, or must not be.
    #[error("{}", advice::secret_file_error(path, source))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SecretFileError,
    },
    /// The file's key makes no tokens.
    #[error("{}: {source}", path.display())]
    Mint {
        /// The file.
        path: PathBuf,
        /// What is wrong with its key.
        source: MintError,
    },
    /// The token can't be read, or the report can't be written.
    #[error("can't {action}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Why the operating system refused.
        source: io::Error,
    },
}

impl TokenError {
    /// Adds what was attempted to an error of the operating system.
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}
