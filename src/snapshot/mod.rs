//! `ovation snapshot`: what an operator does with a snapshot file apart from serving it.
//!
//! - `inspect`: what is in a file, and whether it is whole.
//! - `transfer`: rooms out of files and into files. `lines`: as JSON Lines.
//!
//! `inspect`, `verify`, `export` and `backup` only look at the file, and may be used while a server
//! runs on it: each count they see is one that the counter had. `import` and `compact` need it
//! for themselves; they write a new file and put it in the place of the old one when it is whole,
//! so that they have happened or not, whatever comes between.

mod inspect;
mod lines;
mod transfer;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use thiserror::Error;

use crate::config::{DEFAULT_SNAPSHOT, room_ttl};
use crate::store::{DamageReport, OpenError, StoreError};
use lines::LineError;

/// How often work begins anew because a server has given cells to other rooms meanwhile.
const MAX_TRIES: usize = 5;

/// Look at, check, copy or compact a snapshot file
///
/// Exits with 0 if all went well, 1 if the system failed, 2 for wrong usage or input, 4 for a
/// file that can't be opened, 5 for a damaged one.
#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Say how large a file is, what is in it, how old it is, and how it was left
    Inspect {
        #[command(flatten)]
        file: FileArg,
        /// How many of the rooms with the highest counts to name
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
        /// Print one JSON object instead of the text
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
        /// Where to; standard output if not given
        #[arg(long, short, value_name = "PATH")]
        output: Option<PathBuf>,
    },
    /// Add rooms from JSON Lines to a file, which is made if there is none; of two counts the
    /// larger stays, so that importing twice is importing once
    Import {
        #[command(flatten)]
        file: FileArg,
        /// Where from; standard input if not given
        #[arg(long, short, value_name = "PATH")]
        input: Option<PathBuf>,
    },
    /// Write a file anew, as small as can be
    Compact {
        #[command(flatten)]
        file: FileArg,
        /// Leave out rooms that have counted nothing for so long, such as 30d
        #[arg(long, value_name = "TIME", value_parser = room_ttl)]
        room_ttl: Option<Duration>,
    },
    /// Copy a file, also while a server runs on it
    Backup {
        #[command(flatten)]
        file: FileArg,
        /// The copy, which must not be there yet
        #[arg(long, short, value_name = "PATH")]
        output: PathBuf,
    },
}

#[derive(Debug, Clone, Args)]
struct FileArg {
    /// The snapshot file
    #[arg(value_name = "FILE", env = "OVATION_SNAPSHOT", default_value = DEFAULT_SNAPSHOT)]
    path: PathBuf,
}

/// Why the command has not done what it was asked.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The file can't be opened or written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file is damaged.
    #[error("snapshot {path} is damaged: {damage}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        damage: DamageReport,
    },
    /// A line of the input is not a room.
    #[error("{input}, line {number}: {source}; nothing was imported")]
    Line {
        /// Where it was read.
        input: String,
        /// The line, from 1.
        number: usize,
        /// What is wrong with it.
        source: LineError,
    },
    /// A room has no place in a file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy is there already.
    #[error("{0} is there already; choose another name, or move it away")]
    Exists(PathBuf),
    /// Something can't be read or written.
    #[error("can't {action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl SnapshotError {
    /// 1 for the system, 2 for the input, 4 for a file that can't be opened, 5 for damage.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } => 1,
            Self::Line { .. } | Self::Exists(_) => 2,
            Self::Open(OpenError::Damaged { .. }) | Self::Damaged { .. } => 5,
            Self::Open(_) | Self::Store(_) => 4,
        }
    }

    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// Does what the arguments say, and writes what it has to say to `output`.
///
/// # Errors
/// [`SnapshotError`].
pub fn run(args: &SnapshotArgs, output: &mut impl io::Write) -> Result<(), SnapshotError> {
    match &args.action {
        Action::Inspect { file, top, json } => inspect::inspect(&file.path, *top, *json, output),
        Action::Verify { file } => inspect::verify(&file.path, output),
        Action::Export { file, output: to } => transfer::export(&file.path, to.as_deref(), output),
        Action::Import { file, input } => transfer::import(&file.path, input.as_deref(), output),
        Action::Compact { file, room_ttl } => transfer::compact(&file.path, *room_ttl, output),
        Action::Backup { file, output: copy } => transfer::backup(&file.path, copy, output),
    }
}

/// How far long work has come, shown where somebody watches.
fn progress(rooms: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(rooms as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len} rooms, {eta} left")
    {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}
