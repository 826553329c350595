//! The load generator: `ovation swarm`, for any server that speaks Ovation's protocol.
//!
//! It must never be the bottleneck of what it measures, so an idle connection is one entry of 24
//! bytes without heap, each thread has one read buffer, and the conductor and the threads share
//! atomics only. It judges as well as it measures: a count may never go down on any connection, and
//! every member must end on exactly what its room was sent.
//!
//! ```text
//! args      the command line                      target   the URL: resolved, loopback or refused
//! plan      threads, fd tables, shares, paces     board    what conductor and workers share
//! conduct   the conductor: phases of each mode    worker   one thread's event loop
//! connect   opening sockets, source addresses     client   one connection's state
//! flood     pipelining senders                    wire     heads, frames and counts, without sockets
//! sample    memory and CPU from /proc             summary  from samples to the report
//! report    JSON and table                        suite    several servers side by side
//! ```
//!
//! # What the latency means
//!
//! The n-th reaction sent into a room has been seen by a member once that member has seen a count of
//! at least n above the room's first count. For each message of counts the time is recorded that
//! has passed since the *oldest* reaction in it was sent that the member had not seen yet: how stale
//! the room looked at worst, once a message, with every member weighing the same. Both ends are
//! timed by the load generator, so its own delay in reading is part of it.

mod args;
mod board;
mod client;
mod conduct;
mod connect;
mod flood;
mod plan;
mod report;
mod sample;
mod suite;
mod summary;
mod target;
mod wire;
mod worker;

pub use args::SwarmArgs;

use crate::os::descriptor_limit;
use args::{CrowdArgs, Mode};
use plan::{Activity, Goal, Pace, Plan};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why a run could not be done, or that it was done and found the server wanting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmError {
    /// The URL is not one of a room that can be reached.
    #[error("{url}: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The target is another machine.
    #[error("{0} is not loopback; load only what is yours, and say so with --i-own-this-server")]
    Foreign(SocketAddr),
    /// The kind cannot be sent in a frame of 125 bytes.
    #[error("--kind must be 1 to 114 bytes long as JSON")]
    Kind,
    /// So many connections need more tables of file descriptors, or a higher limit.
    #[error(
        "{members} members do not fit: RLIMIT_NOFILE is {file_limit}; \
         use --fd-tables per-thread and at least {threads_needed} --threads, or raise the limit"
    )]
    FileLimit {
        /// Connections wanted.
        members: u64,
        /// Open files per table of descriptors.
        file_limit: u64,
        /// Threads with own tables that would do.
        threads_needed: u64,
    },
    /// The server's process cannot be sampled.
    #[error("--pid {pid}: {error}")]
    Pid {
        /// As given.
        pid: u32,
        /// What the kernel said.
        error: io::Error,
    },
    /// A worker thread could not start or its event loop failed.
    #[error("a worker failed: {0}")]
    Worker(io::Error),
    /// The report could not be written.
    #[error("cannot write the report: {0}")]
    Output(io::Error),
    /// The suite could not run its own load generator, or no server.
    #[error("suite: {0}")]
    Suite(String),
    /// Connections failed, a count went down, or a member did not end on what was sent.
    #[error("the run was not exact: {0}")]
    NotExact(String),
}

/// Runs one mode and prints its report on stdout.
///
/// Blocks until the run is over, which `--timeout` bounds. Raises the soft limit of open files of
/// the whole process to the hard one.
pub fn run(args: SwarmArgs) -> Result<(), SwarmError> {
    run_to(args, &mut io::stdout())
}

/// The same with another place for the report, which is written even if the run was not exact.
pub fn run_to(args: SwarmArgs, out: &mut impl io::Write) -> Result<(), SwarmError> {
    let file_limit = descriptor_limit::raise().unwrap_or_else(|_| descriptor_limit::soft());
    let (common, crowd, activity) = match args.mode {
        Mode::Idle(args) => {
            let hold = Duration::from_secs(args.seconds.into());
            (args.common, args.crowd, Activity::Idle { hold })
        }
        Mode::Fanout(args) => (args.common, args.crowd, Activity::Fanout(args.pace.pace())),
        Mode::Slow(args) => {
            let activity = Activity::Slow {
                pace: args.pace.pace(),
                percent: args.slow_percent,
            };
            (args.common, args.crowd, activity)
        }
        Mode::Ingest(args) => {
            let time = Goal::Time(Duration::from_secs(args.seconds.into()));
            let goal = args.reactions.map_or(time, Goal::Reactions);
            let crowd = CrowdArgs {
                members: args.senders + 1,
                rooms: 1,
            };
            (args.common, crowd, Activity::Ingest { goal })
        }
        Mode::Churn(args) => {
            let pace = Pace::new(args.rate, args.seconds);
            (args.common, args.crowd, Activity::Churn(pace))
        }
        Mode::Storm(args) => (args.common, args.crowd, Activity::Storm),
        Mode::Suite(args) => return suite::run(&args, out),
    };
    let plan = Plan::new(&common, &crowd, activity, file_limit)?;
    let report = conduct::conduct(plan, common.pid, &common.url)?;
    let text = if common.json {
        let json = serde_json::to_string(&report).map_err(io::Error::from);
        json.map_err(SwarmError::Output)? + "\n"
    } else {
        report.to_string()
    };
    out.write_all(text.as_bytes()).map_err(SwarmError::Output)?;
    if report.exactness.passed {
        Ok(())
    } else {
        Err(SwarmError::NotExact(report.shortcomings()))
    }
}
