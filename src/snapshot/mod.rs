//! `ovation snapshot`: tools for snapshot files.
//!
//! - `inspect`: what a file holds, and whether it is whole.
//! - `transfer`: moving rooms out of files and into files. `lines`: rooms as JSON Lines.
//! - `error`: why a tool fails. `progress`: how far it has come.
//!
//! `inspect`, `verify`, `export` and `backup` only read the file, and work while a server runs on
//! it: each count that they see is one that the counter had. `import` and `compact` need the file
//! for themselves. They write a new file and replace the old one when the new one is whole, so
//! that a crash leaves either the old file or the new one.

mod error;
mod inspect;
mod lines;
mod progress;
mod transfer;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::advice::snapshot::SnapshotTool;
use crate::config::{DEFAULT_SNAPSHOT, room_ttl};
pub(crate) use error::SnapshotError;
use inspect::OutputFormat;

/// Inspect, check, copy or compact a snapshot file
///
/// Exits with 0 on success, 1 if the system failed, 2 for wrong usage or input, 4 for a file that
/// can't be opened or written, 5 for a damaged file.
#[derive(Debug, Clone, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Print the size, content and age of a file, and how it was left; exits with 5 if it is
    /// damaged
    Inspect {
        #[command(flatten)]
        file: FileArg,
        /// Number of rooms to list, highest counts first
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Check every record of a file; exits with 5 if one is damaged
    Verify {
        #[command(flatten)]
        file: FileArg,
    },
    /// Write all rooms as JSON Lines
    Export {
        #[command(flatten)]
        file: FileArg,
        /// File to write, which must not exist; standard output by default
        #[arg(long, short, value_name = "PATH")]
        output: Option<PathBuf>,
    },
    /// Add rooms from JSON Lines to a file, which is created if it does not exist. A count that is
    /// there already only rises, so importing twice changes nothing
    Import {
        #[command(flatten)]
        file: FileArg,
        /// File to read; standard input by default
        #[arg(long, short, value_name = "PATH")]
        input: Option<PathBuf>,
    },
    /// Write a file anew, as small as possible
    Compact {
        #[command(flatten)]
        file: FileArg,
        /// Leave out rooms that have counted nothing for this time, such as 30d
        #[arg(long, value_name = "TIME", value_parser = room_ttl)]
        room_ttl: Option<Duration>,
    },
    /// Copy a file, even while a server runs on it
    Backup {
        #[command(flatten)]
        file: FileArg,
        /// File to write, which must not exist
        #[arg(long, short, value_name = "PATH")]
        output: PathBuf,
    },
}

impl Action {
    fn tool(&self) -> SnapshotTool {
        match self {
            Self::Inspect { .. } | Self::Verify { .. } | Self::Export { .. } => SnapshotTool::Read,
            Self::Import { .. } | Self::Compact { .. } => SnapshotTool::Replace,
            Self::Backup { .. } => SnapshotTool::Copy,
        }
    }
}

#[derive(Debug, Clone, Args)]
struct FileArg {
    /// Snapshot file
    #[arg(value_name = "FILE", env = "OVATION_SNAPSHOT", default_value = DEFAULT_SNAPSHOT)]
    path: PathBuf,
}

/// Runs the tool that the arguments name, and writes its report to `output`.
///
/// # Errors
/// [`SnapshotError`] if the tool fails.
pub(crate) fn run(args: &SnapshotArgs, output: &mut impl io::Write) -> Result<(), SnapshotError> {
    let done = match &args.action {
        Action::Inspect { file, top, json } => {
            let format = if *json {
                OutputFormat::Json
            } else {
                OutputFormat::Text
            };
            inspect::inspect(&file.path, *top, format, output)
        }
        Action::Verify { file } => inspect::verify(&file.path, output),
        Action::Export { file, output: to } => transfer::export(&file.path, to.as_deref(), output),
        Action::Import { file, input } => transfer::import(&file.path, input.as_deref(), output),
        Action::Compact { file, room_ttl } => transfer::compact(&file.path, *room_ttl, output),
        Action::Backup { file, output: copy } => transfer::backup(&file.path, copy, output),
    };
    done.map_err(|failure| SnapshotError::new(args.action.tool(), failure))
}
