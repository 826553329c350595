//! Measures several servers in turn, in interleaved rounds, and compares their medians in one
//! table.
//!
//! Each trial starts a new server on a new port and runs the load generator in a process of its
//! own, so that no trial inherits the memory of another. Each round covers all servers before the
//! next round begins, so that a machine that becomes slower affects all servers.

mod comparison;
mod note;
mod server;

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::args::SuiteArgs;
use super::error::SwarmError;
use super::report::RunReport;
use crate::os::meminfo;
use comparison::{Comparison, Row, Trials, with_ratios};
use note::note;
use server::{Contestant, build, contestants, start};

/// Runs the suite and writes its table to `out`.
pub(super) fn run(args: &SuiteArgs, out: &mut impl io::Write) -> Result<(), SwarmError> {
    let own = std::env::current_exe().map_err(|error| SwarmError::Suite(error.to_string()))?;
    if args.build {
        build(&args.peers);
    }
    let contestants = contestants(args, &own)?;
    let trials = run_trials(args, &own, &contestants)?;
    let rows: Vec<Row> = contestants
        .iter()
        .zip(&trials)
        .map(|(contestant, trials)| trials.row(&contestant.name))
        .collect();
    let comparison = Comparison {
        machine: machine(),
        rounds: args.rounds,
        rows: with_ratios(rows),
    };
    let text = if args.json {
        let json = serde_json::to_string(&comparison).map_err(io::Error::from);
        json.map_err(SwarmError::Output)? + "\n"
    } else {
        comparison.markdown(args)
    };
    out.write_all(text.as_bytes()).map_err(SwarmError::Output)?;
    let wrong: Vec<&str> = comparison
        .rows
        .iter()
        .filter(|row| !row.exact)
        .map(|row| row.server.as_str())
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(SwarmError::NotExact(wrong.join(", ")))
    }
}

/// Runs all rounds. Returns the reports of each contestant.
fn run_trials(
    args: &SuiteArgs,
    own: &Path,
    contestants: &[Contestant],
) -> Result<Vec<Trials>, SwarmError> {
    let idle = [("--members", args.idle_members)];
    let fanout = [
        ("--members", args.fanout_members),
        ("--rate", args.fanout_rate),
        ("--seconds", args.seconds),
    ];
    let ingest = [
        ("--senders", args.ingest_senders),
        ("--seconds", args.seconds),
    ];
    let mut port = args.port;
    let mut trials: Vec<Trials> = contestants.iter().map(|_| Trials::default()).collect();
    for round in 1..=args.rounds {
        for (contestant, trials) in contestants.iter().zip(&mut trials) {
            note(&format!("round {round}: {}", contestant.name));
            let mut trial = |mode: &str, options: &[(&str, u32)]| {
                port = port.checked_add(1).unwrap_or(args.port);
                measure(contestant, port, own, mode, options)
            };
            trials.idle.extend(trial("idle", &idle)?);
            trials.fanout.extend(trial("fanout", &fanout)?);
            trials.ingest.extend(trial("ingest", &ingest)?);
        }
    }
    Ok(trials)
}

/// Runs one trial. Returns `None` if the server doesn't start, or if the load generator has no
/// report.
fn measure(
    contestant: &Contestant,
    port: u16,
    own: &Path,
    mode: &str,
    options: &[(&str, u32)],
) -> Result<Option<RunReport>, SwarmError> {
    let Some(server) = start(contestant, port) else {
        note(&format!(
            "{} did not start; {mode} skipped",
            contestant.name
        ));
        return Ok(None);
    };
    let output = Command::new(own)
        .args(["swarm", mode, "--json", "--pid"])
        .arg(server.id().to_string())
        .args(
            options
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        )
        .arg(format!("ws://127.0.0.1:{port}/parties/main/talk"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| SwarmError::Suite(error.to_string()))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(report) => Ok(Some(report)),
        Err(_) => {
            let reason = String::from_utf8_lossy(&output.stderr);
            note(&format!("{mode} of {}: {}", contestant.name, reason.trim()));
            Ok(None)
        }
    }
}

/// Describes the machine in one line: processor, cores, memory, kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let memory_kib = meminfo::total_kib(&read(meminfo::PATH)).unwrap_or(0);
    let system = rustix::system::uname();
    format!(
        "{}, {cores} cores, {:.0} GiB, {} {}",
        processor.as_deref().unwrap_or("unknown processor"),
        memory_kib as f64 / f64::from(1 << 20),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        assert!(machine().contains("cores"));
    }
}
