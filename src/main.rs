//! The `ovation` binary.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load a server with thousands to millions of connections and measure it.
    Swarm(ovation::swarm::SwarmArgs),
}

fn main() -> ExitCode {
    let Command::Swarm(args) = Cli::parse().command;
    match ovation::swarm::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ovation swarm: {error}");
            ExitCode::FAILURE
        }
    }
}
