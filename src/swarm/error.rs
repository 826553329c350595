//! Why a run failed.

use std::io;
use std::net::SocketAddr;

/// Why a run failed, or that it found errors of the server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmError {
    /// The URL isn't one of a reachable room.
    #[error("{url}: {reason}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The target is another machine.
    #[error("{0} is not loopback; to load a server of your own, add --i-own-this-server")]
    Foreign(SocketAddr),
    /// A reaction of this kind doesn't fit into a frame of 125 bytes.
    #[error("--kind must be 1 to 114 bytes long as JSON")]
    Kind,
    /// The connections need more tables of file descriptors, or a higher limit.
    #[error(
        "{members} members do not fit: RLIMIT_NOFILE is {file_limit}; \
         use --fd-tables per-thread with --threads {threads_needed} or more, or raise the limit"
    )]
    FileLimit {
        /// Number of connections wanted.
        members: u64,
        /// Maximum number of open files in a table of descriptors.
        file_limit: u64,
        /// Number of threads with their own tables that would suffice.
        threads_needed: u64,
    },
    /// The server's process can't be sampled.
    #[error("--pid {pid}: {error}")]
    Pid {
        /// The process id as given.
        pid: u32,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A worker thread could not start, or its event loop failed.
    #[error("a worker failed: {0}")]
    Worker(io::Error),
    /// The report could not be written.
    #[error("could not write the report: {0}")]
    Output(io::Error),
    /// The suite could not run its load generator, or has no server to run.
    #[error("suite: {0}")]
    Suite(String),
    /// Connections failed, a count went down, or a member did not end on the count that was sent.
    #[error("the run was not exact: {0}")]
    NotExact(String),
}
