//! `ovation doctor`: how many connections fit on this machine, which limit stops the server first,
//! and the exact line that raises it.
//!
//! - `reading`: one value of a file, which may be missing or unreadable; `cgroup`: what control
//!   groups leave; `limits`: all readings of a machine.
//! - `setup`: the server that is assessed, and the costs of a connection.
//! - `resource`: how many connections each resource allows, and the `remedy` that raises it.
//! - `notes`: remarks on readings that don't limit connections.
//! - `assessment`: all of these together: the order, the target, the changes.
//! - `report`: text and JSON.
//!
//! The limits are those of the process that runs the doctor: run it as the server would run, with
//! the same user, unit or container. Free memory and open files are those of the moment.

mod assessment;
mod cgroup;
mod limits;
mod notes;
mod reading;
mod remedy;
mod report;
mod resource;
mod setup;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{MAX_CONNECTIONS, ranged, reactor_count};
use crate::figures::whole;
use crate::os::descriptors::FdTables;
use crate::reactor::DEFAULT_MAX_CONNECTIONS;
use crate::rooms::MAX_REACTORS;
use assessment::{Assessment, ConnectionBound};
use limits::MachineLimits;
use remedy::Remedy;
use report::DoctorReport;
use setup::Setup;

/// Say how many connections fit on this machine, which limit stops first, and how to raise it
///
/// Run it as the server would run: the limits are those of the user, unit or container that runs
/// it. Exits with 1 if --connections don't fit.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Number of connections that must fit [default: as many as fit into memory]
    #[arg(long, value_name = "N", value_parser = ranged(1, MAX_CONNECTIONS))]
    connections: Option<usize>,

    /// Reactor threads of the server [default: one per core]
    #[arg(long, value_name = "N", value_parser = ranged(1, MAX_REACTORS))]
    reactors: Option<usize>,

    /// Whether each reactor of the server has its own table of file descriptors
    #[arg(long, value_name = "WHICH", default_value = "per-reactor")]
    fd_tables: FdTables,

    /// Assume that the clients run on this machine too, such as a load generator
    #[arg(long)]
    both_ends: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Directory that stands for the root of the machine's files
    #[arg(long, value_name = "PATH", default_value = "/", hide = true)]
    root: PathBuf,
}

/// Writes the report on this machine to `out`. Returns whether the wanted connections fit; true if
/// no number is wanted.
///
/// # Errors
/// Errors of writing only: a value that can't be read is part of the report.
pub(crate) fn run(args: &DoctorArgs, out: &mut impl io::Write) -> io::Result<bool> {
    let readings = MachineLimits::read(&args.root);
    let setup = Setup {
        reactors: reactor_count(args.reactors) as u64,
        fd_tables: args.fd_tables,
        both_ends: args.both_ends,
        max_connections: Some(DEFAULT_MAX_CONNECTIONS as u64),
        wanted: args.connections.map(|wanted| wanted as u64),
    };
    let assessment = Assessment::new(&readings, setup);
    let report = DoctorReport {
        assessment: &assessment,
        readings: &readings,
    };
    if args.json {
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    Ok(assessment.fits.unwrap_or(true))
}

/// A limit that stops a server short of the connections that it must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortfall {
    /// The system's name for the limit.
    name: &'static str,
    /// How many connections it allows.
    connections: u64,
    /// How the number comes about.
    why: String,
    /// Lines that raise the limit far enough. Any one of them suffices.
    remedies: Vec<String>,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, why) = (self.name, &self.why);
        let connections = whole(self.connections);
        let remedies = self.remedies.join(" or ");
        write!(f, "{name} allows {connections} ({why}); remedy: {remedies}")
    }
}

impl From<ConnectionBound> for Shortfall {
    fn from(bound: ConnectionBound) -> Self {
        let line = |remedy: &Remedy| remedy.line().to_owned();
        Self {
            name: bound.name,
            connections: bound.connections,
            remedies: bound.remedies.iter().map(line).collect(),
            why: bound.why,
        }
    }
}

/// Returns the limits of this machine that keep a server from holding `wanted` connections, the
/// lowest first. The clients are assumed to run elsewhere.
pub(crate) fn check(wanted: usize, reactors: usize, fd_tables: FdTables) -> Vec<Shortfall> {
    let setup = Setup {
        reactors: reactors as u64,
        fd_tables,
        both_ends: false,
        max_connections: None,
        wanted: Some(wanted as u64),
    };
    shortfalls(&MachineLimits::read(Path::new("/")), setup)
}

fn shortfalls(limits: &MachineLimits, setup: Setup) -> Vec<Shortfall> {
    let bounds = Assessment::new(limits, setup).bounds.into_iter();
    bounds
        .filter(|bound| {
            setup
                .wanted
                .is_some_and(|wanted| bound.connections < wanted)
        })
        .map(Shortfall::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A made-up machine: a directory with its files of `/proc` and `/sys`.
    pub(super) struct Machine(TempDir);

    impl Machine {
        pub(super) fn empty() -> Self {
            Self(TempDir::new().unwrap())
        }

        /// 24 GiB, no control groups, no conntrack, an ordinary user.
        pub(super) fn ordinary() -> Self {
            let machine = Self::empty();
            for (path, text) in [
                (
                    "proc/self/limits",
                    "Limit                     Soft Limit           Hard Limit           Units\n\
                     Max processes             96365                96365                processes\n\
                     Max open files            1024                 20000                files\n",
                ),
                ("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n"),
                ("proc/self/uid_map", "         0          0 4294967295\n"),
                ("proc/sys/fs/nr_open", "1048576\n"),
                ("proc/sys/fs/file-max", "2466183\n"),
                ("proc/sys/fs/file-nr", "413\t13\t2466183\n"),
                ("proc/sys/fs/epoll/max_user_watches", "5491533\n"),
                ("proc/sys/net/core/somaxconn", "4096\n"),
                ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
                ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
                ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
                ("proc/sys/net/ipv4/tcp_mem", "287901\t383869\t575802\n"),
                ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n"),
                ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
                ("proc/sys/vm/max_map_count", "65530\n"),
                ("proc/sys/vm/overcommit_memory", "0\n"),
                (
                    "proc/meminfo",
                    "MemTotal:       24684096 kB\nMemFree: 1 kB\nMemAvailable:   23676872 kB\n\
                     CommitLimit:    12342048 kB\nCommitted_AS:     100000 kB\n",
                ),
            ] {
                machine.write(path, text);
            }
            machine
        }

        pub(super) fn write(&self, path: &str, text: &str) {
            self.write_bytes(path, text.as_bytes());
        }

        pub(super) fn write_bytes(&self, path: &str, bytes: &[u8]) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        pub(super) fn limits(&self) -> MachineLimits {
            MachineLimits::read(self.0.path())
        }
    }

    /// A server whose clients run elsewhere, without a wanted number of connections.
    pub(super) fn setup(reactors: u64) -> Setup {
        Setup {
            reactors,
            fd_tables: FdTables::PerThread,
            both_ends: false,
            max_connections: Some(DEFAULT_MAX_CONNECTIONS as u64),
            wanted: None,
        }
    }

    #[test]
    fn each_limit_below_the_wanted_number_is_a_shortfall() {
        let limits = Machine::ordinary().limits();
        let wanting = |wanted, fd_tables| Setup {
            max_connections: None,
            wanted: Some(wanted),
            fd_tables,
            ..setup(2)
        };
        let found = shortfalls(&limits, wanting(3_000_000, FdTables::PerThread));
        let names: Vec<&str> = found.iter().map(|shortfall| shortfall.name).collect();
        assert_eq!(names, ["RLIMIT_NOFILE", "fs.nr_open", "fs.file-max"]);
        let text = found[2].to_string();
        assert!(
            text.contains("remedy: sysctl -w fs.file-max=3100000"),
            "{text}"
        );
        assert_eq!(shortfalls(&limits, wanting(1_000, FdTables::Shared)), []);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_holds_one_connection() {
        assert_eq!(check(1, 1, FdTables::PerThread), []);
    }
}
