//! `ovation doctor`: how many connections fit on this machine, what stops first, and the exact
//! line that changes it.
//!
//! - `limits`: reads what bounds connections, from `/proc` and the control groups.
//! - `resource`: what each thing allows, and what raises it; the costs of a connection.
//! - `verdict`: all of these together: the order, the aim, what should change.
//! - `report`: text and JSON.
//!
//! The limits are those of the process that asks: run it as the server would run, with the same
//! user, unit or container. The free memory and the open files are those of the moment.

mod limits;
mod report;
mod resource;
mod verdict;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{MAX_CONNECTIONS, ranged, reactor_count};
use crate::figures::whole;
use crate::os::descriptors::FdTables;
use crate::reactor::DEFAULT_MAX_CONNECTIONS;
use crate::rooms::MAX_REACTORS;
use limits::Limits;
use report::Report;
use resource::{Remedy, Setup};
use verdict::{Bound, Verdict};

/// Say how many connections fit on this machine, what stops first, and how to raise it
///
/// Run it as the server would run: the limits are those of the user, unit or container that asks.
/// Exits with 1 if --connections don't fit.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// The connections that are to fit; if not given, as many as the memory holds
    #[arg(long, value_name = "N", value_parser = ranged(1, MAX_CONNECTIONS))]
    connections: Option<usize>,

    /// Reactor threads of the server; one for each core if not given
    #[arg(long, value_name = "N", value_parser = ranged(1, MAX_REACTORS))]
    reactors: Option<usize>,

    /// Whether each reactor of the server has its own table of file descriptors
    #[arg(long, value_name = "WHICH", default_value = "per-reactor")]
    fd_tables: FdTables,

    /// The clients run on this machine too, such as a load generator's
    #[arg(long)]
    both_ends: bool,

    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,

    /// Where the files of the machine lie
    #[arg(long, value_name = "PATH", default_value = "/", hide = true)]
    root: PathBuf,
}

/// Writes the report on this machine to `out`; whether the connections that are wanted fit, which
/// is so if no number is.
///
/// # Errors
/// Only those of writing: what can't be read is part of the report.
pub fn run(args: &DoctorArgs, out: &mut impl io::Write) -> io::Result<bool> {
    let readings = Limits::read(&args.root);
    let setup = Setup {
        reactors: reactor_count(args.reactors) as u64,
        fd_tables: args.fd_tables,
        both_ends: args.both_ends,
        max_connections: Some(DEFAULT_MAX_CONNECTIONS as u64),
        wanted: args.connections.map(|wanted| wanted as u64),
    };
    let verdict = Verdict::new(&readings, setup);
    let report = Report {
        verdict: &verdict,
        readings: &readings,
    };
    if args.json {
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()?;
    Ok(verdict.fits.unwrap_or(true))
}

/// A bound that stops a server short of the connections that it is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What the system calls the bound.
    pub name: &'static str,
    /// How many connections it allows.
    pub connections: u64,
    /// How the number comes about.
    pub why: String,
    /// Lines any one of which raises it far enough.
    pub remedies: Vec<String>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, why) = (self.name, &self.why);
        let connections = whole(self.connections);
        let remedies = self.remedies.join(" or ");
        write!(f, "{name} allows {connections} ({why}); remedy: {remedies}")
    }
}

impl From<Bound> for Warning {
    fn from(bound: Bound) -> Self {
        let line = |remedy: &Remedy| remedy.line().to_owned();
        Self {
            name: bound.name,
            connections: bound.connections,
            remedies: bound.remedies.iter().map(line).collect(),
            why: bound.why,
        }
    }
}

/// The bounds of this machine that don't let a server with so many reactors, whose clients are
/// elsewhere, hold `wanted` connections; the least first.
pub fn check(wanted: usize, reactors: usize, fd_tables: FdTables) -> Vec<Warning> {
    warnings(&Limits::read(Path::new("/")), wanted, reactors, fd_tables)
}

fn warnings(limits: &Limits, wanted: usize, reactors: usize, fd_tables: FdTables) -> Vec<Warning> {
    let setup = Setup {
        reactors: reactors as u64,
        fd_tables,
        both_ends: false,
        max_connections: None,
        wanted: Some(wanted as u64),
    };
    let bounds = Verdict::new(limits, setup).bounds.into_iter();
    bounds
        .filter(|bound| bound.connections < wanted as u64)
        .map(Warning::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A made-up machine: a directory with the files of its `/proc` and `/sys`.
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

        pub(super) fn limits(&self) -> Limits {
            Limits::read(self.0.path())
        }
    }

    /// A server with its clients elsewhere, and nothing wanted of it.
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
    fn a_server_is_warned_of_each_bound_in_its_way() {
        let limits = Machine::ordinary().limits();
        let warnings = warnings(&limits, 3_000_000, 2, FdTables::PerThread);
        let names: Vec<&str> = warnings.iter().map(|warning| warning.name).collect();
        assert_eq!(names, ["RLIMIT_NOFILE", "fs.nr_open", "fs.file-max"]);
        let text = warnings[2].to_string();
        assert!(
            text.contains("remedy: sysctl -w fs.file-max=3100000"),
            "{text}"
        );
        assert_eq!(super::warnings(&limits, 1_000, 2, FdTables::Shared), []);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_holds_one_connection() {
        assert_eq!(check(1, 1, FdTables::PerThread), []);
    }
}
