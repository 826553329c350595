//! The command line.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use signal_hook::consts::SIGXFSZ;
use tracing_subscriber::EnvFilter;

use crate::config::{ServeArgs, advice, undecided};
use crate::doctor::{self, DoctorArgs};
use crate::log::{self, LogGuard};
use crate::reactor::ListenAddress;
use crate::server::{ServeError, serve};
use crate::snapshot::{self, SnapshotArgs};
use crate::swarm::{self, SwarmArgs};
use crate::token::{self, TokenArgs};

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
    Token(TokenArgs),
}

/// Runs the command of this process's arguments.
///
/// Exit codes: 0 for success; 1 if the system fails or the connections don't fit; 2 for wrong
/// usage; 3 if an address can't be listened on; 4 if a snapshot can't be opened or saved
/// completely; 5 if a snapshot is damaged.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // By default, a file that reaches RLIMIT_FSIZE ends the process. With a handler, the write
    // fails instead. The log may be such a file.
    let handled = signal_hook::flag::register(SIGXFSZ, Arc::default());
    let _log = match start_log() {
        Ok(guard) => guard,
        Err(error) => {
            // Nothing is left to report a failure to.
            let _ = writeln!(std::io::stderr(), "ovation: can't start the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = handled {
        tracing::warn!(%error, "could not handle SIGXFSZ: a file size limit would end the process");
    }
    run(cli)
}

/// Sends what tracing collects to the log. The process ends after the guard is dropped.
fn start_log() -> std::io::Result<LogGuard> {
    let guard = log::start()?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log::writer)
        .with_ansi(std::io::stderr().is_terminal())
        // It would report them on standard error, and panic if that fails too.
        .log_internal_errors(false)
        .init();
    Ok(guard)
}

fn run(cli: Cli) -> ExitCode {
    match cli.command.unwrap_or(Command::Serve(Box::new(cli.serve))) {
        Command::Serve(args) => run_server(&args),
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
                log::say(&format!("ovation: {error}"));
                ExitCode::from(error.exit_code())
            }
        },
        Command::Token(args) => match token::run(&args, &mut std::io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                log::say(&format!("ovation: {error}"));
                ExitCode::from(2)
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

fn run_server(args: &ServeArgs) -> ExitCode {
    if args.admin.is_contradictory() {
        let why =
            "--admin (OVATION_ADMIN) and --no-admin (OVATION_NO_ADMIN) can't be used together";
        Cli::command()
            .error(ErrorKind::ArgumentConflict, why)
            .exit();
    }
    if args.listen.lacks_proxies() {
        let why = "--proxy-protocol (OVATION_PROXY_PROTOCOL) needs --trusted-proxy \
                   (OVATION_TRUSTED_PROXY)";
        Cli::command()
            .error(ErrorKind::MissingRequiredArgument, why)
            .exit();
    }
    if let Some(address) = undecided(args) {
        log::say(&format!("ovation: {}", advice::undecided(address)));
        return ExitCode::from(2);
    }
    let has_pages = !args.pages.no_pages;
    match serve(args, |rooms, admin| announce(rooms, admin, has_pages)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::say(&format!("ovation: {}", explain(&error)));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Words for an error that ends the server, with advice for the operator.
fn explain(error: &ServeError) -> String {
    match error {
        ServeError::Bind(error) => advice::bind_error(error),
        ServeError::Access(error) => advice::key_file_error(error),
        ServeError::Admin(error) => advice::admin_error(error),
        ServeError::Snapshot(error) => advice::snapshot::open_error(error),
        ServeError::Close { path, source } => {
            let reason = advice::snapshot::close_error(source);
            format!(
                "snapshot {}: can't save all of it: {reason}",
                path.display()
            )
        }
        ServeError::System { .. } | ServeError::Thread(_) => error.to_string(),
    }
}

/// Prints where the server listens and how to try it.
fn announce(rooms: &[ListenAddress], admin: &[ListenAddress], has_pages: bool) {
    let mut lines = Vec::new();
    let all: Vec<String> = rooms.iter().map(ToString::to_string).collect();
    lines.push(format!("Ovation listens on {}", all.join(", ")));
    let tcp = rooms.iter().find_map(|address| match address {
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
    print_apart(lines.join("\n"));
}

/// Prints `text` on a thread of its own: the server serves even if nothing reads its standard
/// output.
fn print_apart(text: String) {
    let print = move || {
        // Where nothing reads, nothing is missed.
        let _ = writeln!(std::io::stdout(), "{text}");
    };
    let thread = std::thread::Builder::new().name("banner".to_owned());
    if let Err(error) = thread.spawn(print) {
        tracing::warn!(%error, "could not print the addresses");
    }
}
