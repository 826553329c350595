//! Where the rooms listen, and with how many reactors.

use clap::Args;

use super::parse::ranged;
use crate::os::descriptors::FdTables;
use crate::reactor::ListenAddress;
use crate::rooms::MAX_REACTORS;

/// Default address: PartyKit's own development port.
const DEFAULT_LISTEN: &str = "127.0.0.1:1999";

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct ListenArgs {
    /// Address to listen on: ADDRESS:PORT or unix:PATH; may be given several times
    #[arg(long, value_name = "ADDRESS", env = "OVATION_LISTEN", value_delimiter = ',',
          default_value = DEFAULT_LISTEN)]
    pub(crate) listen: Vec<ListenAddress>,

    /// Number of reactor threads [default: one per core]
    #[arg(long, value_name = "N", env = "OVATION_REACTORS", value_parser = ranged(1, MAX_REACTORS))]
    pub(crate) reactors: Option<usize>,

    /// Tables of file descriptors: per-reactor lets each reactor have as many connections as
    /// RLIMIT_NOFILE allows (Linux)
    #[arg(
        long,
        value_name = "WHICH",
        env = "OVATION_FD_TABLES",
        default_value = "per-reactor"
    )]
    pub(crate) fd_tables: FdTables,
}

impl ListenArgs {
    /// The number of reactors to run.
    pub(crate) fn reactor_count(&self) -> usize {
        reactor_count(self.reactors)
    }
}

/// The number of reactors to run if the operator asks for `asked`.
pub(crate) fn reactor_count(asked: Option<usize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if cfg!(target_os = "linux") {
        asked.unwrap_or_else(cores).min(MAX_REACTORS)
    } else {
        // Elsewhere SO_REUSEPORT doesn't spread connections over sockets.
        1
    }
}
