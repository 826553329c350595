//! Why the server can't run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::admin::AdminError;
use crate::config::KeyFileError;
use crate::reactor::BindError;
use crate::store::{CloseError, OpenError};

/// Why the server can't run. Each kind has its own exit code.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    /// A file of keys for access tokens can't be used.
    #[error(transparent)]
    Access(#[from] KeyFileError),
    /// The snapshot can't be opened.
    #[error(transparent)]
    Snapshot(#[from] OpenError),
    /// An address can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The snapshot could not be saved completely at the end.
    #[error("snapshot {path}: can't save all of it: {source}")]
    Close {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        source: CloseError,
    },
    /// The admin side can't start.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The operating system refuses a thread, a poll or the like.
    #[error("can't {action}: {source}")]
    System {
        /// What the server was doing.
        action: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// A thread that the server can't do without has ended.
    #[error("can't go on: {0}")]
    Thread(io::Error),
}

impl ServeError {
    /// The exit code: 2 for usage, 3 for an address, 4 for the snapshot, 1 for the rest.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::System { .. } | Self::Thread(_) => 1,
            Self::Admin(AdminError::Bind(_)) | Self::Bind(_) => 3,
            Self::Access(_) | Self::Admin(_) => 2,
            Self::Snapshot(_) | Self::Close { .. } => 4,
        }
    }

    /// Adds what the server was doing to an error of the operating system.
    pub(super) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
