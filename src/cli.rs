//! The command line.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use signal_hook::consts::SIGXFSZ;
use tracing_subscriber::EnvFilter;

use crate::config::ServeArgs;
use crate::doctor::{self, DoctorArgs};
use crate::reactor::ListenAddress;
use crate::server::serve;
use crate::snapshot::{self, SnapshotArgs};
use crate::swarm::{self, SwarmArgs};

/// A real-time reaction counter, tuned for connection density
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve rooms of live counters (the default)
    Serve(Box<ServeArgs>),
    Swarm(SwarmArgs),
    Doctor(DoctorArgs),
    Snapshot(SnapshotArgs),
}

/// Runs the command that the arguments of this process give.
///
/// Exit codes: 0 for success, 1 for a failure of the system or connections that don't fit, 2 for
/// wrong usage, 3 for an address that can't be listened on, 4 for a snapshot that can't be opened
/// or saved whole, 5 for one that is damaged.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // By default a file over RLIMIT_FSIZE ends the process; handled, the write fails instead.
    if let Err(error) = signal_hook::flag::register(SIGXFSZ, Arc::default()) {
        tracing::warn!(%error, "a limit on file sizes would end this process");
    }
    match cli.command.unwrap_or(Command::Serve(Box::new(cli.serve))) {
        Command::Serve(args) => match serve(&args, |addresses, admin| {
            announce(addresses, admin, !args.no_pages);
        }) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Not by the log, which may be off.
                eprintln!("ovation: {error}");
                ExitCode::from(error.exit_code())
            }
        },
        Command::Swarm(args) => match swarm::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                ExitCode::FAILURE
            }
        },
        Command::Snapshot(args) => match snapshot::run(&args, &mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ovation: {error}");
                ExitCode::from(error.exit_code())
            }
        },
        Command::Doctor(args) => match doctor::run(&args, &mut std::io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                tracing::error!("can't write the report: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Says where the server listens and how to try it.
fn announce(addresses: &[ListenAddress], admin: &[ListenAddress], has_pages: bool) {
    let mut lines = Vec::new();
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    lines.push(format!("Ovation listens on {}", all.join(", ")));
    let tcp = addresses.iter().find_map(|address| match address {
        ListenAddress::Tcp(text) => Some(text),
        ListenAddress::Unix(_) => None,
    });
    if let Some(address) = tcp {
        if has_pages {
            lines.push(format!("Open it: http://{address}/"));
        }
        lines.push(format!(
            "Try it: curl -d '{{\"kind\":\"love\"}}' http://{address}/parties/main/talk"
        ));
    }
    for address in admin {
        lines.push(match address {
            ListenAddress::Tcp(text) => format!("Dashboard: http://{text}/"),
            ListenAddress::Unix(_) => format!("Dashboard: {address}"),
        });
    }
    // Nobody may be reading; the server serves all the same.
    let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
}
