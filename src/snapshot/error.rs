//! Why a snapshot tool fails.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::lines::LineError;
use crate::config::advice::snapshot::{
    SnapshotTool, tool_damage, tool_open_error, tool_store_error,
};
use crate::store::{DamageReport, OpenError, StoreError};

/// Why a snapshot tool has failed, with advice that fits the tool.
#[derive(Debug)]
pub(crate) struct SnapshotError {
    tool: SnapshotTool,
    failure: Failure,
}

/// Why a snapshot tool has failed.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The file can't be opened or written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file is damaged.
    #[error("snapshot {path} is damaged: {damage}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged, and where.
        damage: DamageReport,
    },
    /// A line of the input is not a room.
    #[error("{input}, line {number}: {source}; nothing was imported")]
    Line {
        /// Where the line was read.
        input: String,
        /// Number of the line, from 1.
        number: usize,
        /// What is wrong with the line.
        source: LineError,
    },
    /// A room does not fit into a file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file to be written exists.
    #[error("{0} is there already; choose another name, or move it away")]
    Exists(PathBuf),
    /// Something can't be read or written.
    #[error("can't {action}: {source}")]
    Io {
        /// What was attempted.
        action: String,
        /// Why the operating system refused.
        source: io::Error,
    },
}

impl Failure {
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(super) fn damaged(path: &Path, damage: &DamageReport) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            damage: damage.clone(),
        }
    }
}

impl SnapshotError {
    pub(super) fn new(tool: SnapshotTool, failure: Failure) -> Self {
        Self { tool, failure }
    }

    /// The exit code: 1 for the system, 2 for the input, 4 for a file that can't be opened or
    /// written, 5 for a damaged file.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.failure {
            Failure::Io { .. } => 1,
            Failure::Line { .. } | Failure::Exists(_) => 2,
            Failure::Open(OpenError::Damaged { .. }) | Failure::Damaged { .. } => 5,
            Failure::Open(_) | Failure::Store(_) => 4,
        }
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Open(error) => f.write_str(&tool_open_error(self.tool, error)),
            Failure::Store(error) => f.write_str(&tool_store_error(error)),
            failure @ Failure::Damaged { .. } => write!(f, "{failure}; {}", tool_damage()),
            failure => failure.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.failure)
    }
}
