//! The load generator: `ovation swarm`, for any server that speaks Ovation's protocol.
//!
//! The load generator must not be the bottleneck of its measurements. So an idle connection is one
//! entry of 24 bytes without heap, each thread has one read buffer, and the conductor and the
//! workers share only atomics. It checks the server as well: a count must never go down on any
//! connection, and every member must end on exactly the count that its room was sent. It shares no
//! protocol code with the server that it checks.
//!
//! ```text
//! args      the command line                     target   the URL, resolved
//! plan      threads, fd tables, shares, paces    board    what conductor and workers share
//! conduct   the conductor: phases of each mode   worker   one thread's event loop
//! connect   opening sockets, source addresses    member   one connection's state
//! flood     pipelining senders                   wire     heads, frames, counts; no sockets
//! sample    memory and CPU time                  summary  from samples to the report
//! report    the figures of a run: JSON           table    the figures of a run: text
//! suite     several servers side by side         error    why a run failed
//! ```
//!
//! # Meaning of the latency
//!
//! A member has seen the n-th reaction sent into a room once it has seen a count of at least n
//! above the room's first count. For each message of counts, the load generator records the time
//! since the *oldest* reaction in it was sent that the member had not seen yet. This is how stale
//! the room looked at worst: one value for each message, and every member has the same weight. The
//! load generator times both ends, so its own delay in reading is part of the latency.

mod args;
mod board;
mod conduct;
mod connect;
mod error;
mod flood;
mod member;
mod plan;
mod report;
mod sample;
mod suite;
mod summary;
mod table;
mod target;
mod wire;
mod worker;

use std::io;
use std::time::Duration;

use crate::os::descriptor_limit;
use args::{CommonArgs, CrowdArgs, Mode};
use plan::{Goal, Pace, Plan, Workload};
use report::RunReport;

pub use args::SwarmArgs;
pub use error::SwarmError;

/// Runs one mode and prints its report on stdout.
///
/// Blocks until the run is over, at most for the time of `--timeout`. Raises the soft limit of open
/// files of the whole process to the hard limit.
///
/// # Errors
/// [`SwarmError`].
pub fn run(args: SwarmArgs) -> Result<(), SwarmError> {
    run_to(args, &mut io::stdout())
}

/// Runs one mode, as [`run`] does, and writes its report to `out`.
///
/// # Errors
/// [`SwarmError`]. The report is written even if the run was not exact.
pub fn run_to(args: SwarmArgs, out: &mut impl io::Write) -> Result<(), SwarmError> {
    // The servers of a suite inherit the limit. If it can't be raised, the run has to fit below it.
    let file_limit = descriptor_limit::raise().unwrap_or_else(|_| descriptor_limit::soft());
    let (common, crowd, workload) = match args.mode {
        Mode::Suite(args) => return suite::run(&args, out),
        Mode::Idle(args) => {
            let hold = Duration::from_secs(args.seconds.into());
            (args.common, args.crowd, Workload::Idle { hold })
        }
        Mode::Fanout(args) => (args.common, args.crowd, Workload::Fanout(args.pace.pace())),
        Mode::Slow(args) => {
            let workload = Workload::Slow {
                pace: args.pace.pace(),
                percent: args.slow_percent,
            };
            (args.common, args.crowd, workload)
        }
        Mode::Ingest(args) => {
            let time = Goal::Time(Duration::from_secs(args.seconds.into()));
            let goal = args.reactions.map_or(time, Goal::Reactions);
            let crowd = CrowdArgs {
                members: args.senders + 1,
                rooms: 1,
            };
            (args.common, crowd, Workload::Ingest { goal })
        }
        Mode::Churn(args) => {
            let pace = Pace::new(args.rate, args.seconds);
            (args.common, args.crowd, Workload::Churn(pace))
        }
        Mode::Storm(args) => (args.common, args.crowd, Workload::Storm),
    };
    let plan = Plan::new(&common, &crowd, workload, file_limit)?;
    let report = conduct::conduct(plan, common.pid, &common.url)?;
    write_report(&report, &common, out)?;
    if report.exactness.passed {
        Ok(())
    } else {
        Err(SwarmError::NotExact(report.shortcomings()))
    }
}

fn write_report(
    report: &RunReport,
    common: &CommonArgs,
    out: &mut impl io::Write,
) -> Result<(), SwarmError> {
    let text = if common.json {
        let json = serde_json::to_string(report).map_err(io::Error::from);
        json.map_err(SwarmError::Output)? + "\n"
    } else {
        report.to_string()
    };
    out.write_all(text.as_bytes()).map_err(SwarmError::Output)
}
