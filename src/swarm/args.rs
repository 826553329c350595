//! The command line of `ovation swarm`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use crate::os::descriptors::FdTables;

const PER_THREAD: &str = "per-thread";
const SHARED: &str = "shared";

/// Load a server with thousands to millions of connections and measure it.
///
/// Works against every server of this protocol, so that peers are measured with the same tool.
/// Exits non-zero when a connection failed, a count went down, or a member did not end on exactly
/// what was sent.
#[derive(Debug, Clone, Args)]
pub struct SwarmArgs {
    #[command(subcommand)]
    pub(super) mode: Mode,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Mode {
    /// Open connections and hold them: memory per connection.
    Idle(IdleArgs),
    /// Members react at a steady rate, and all see it: deliveries and latency.
    Fanout(FanoutArgs),
    /// A few senders pipeline reactions as fast as the server takes them.
    Ingest(IngestArgs),
    /// Like fanout, while a share of the members stops reading.
    Slow(SlowArgs),
    /// Members leave and join at a steady rate.
    Churn(ChurnArgs),
    /// Everyone connects, everyone drops, everyone reconnects at once.
    Storm(StormArgs),
    /// Idle, fanout and ingest against each server in turn, side by side in one table.
    Suite(SuiteArgs),
}

#[derive(Debug, Clone, Args)]
pub(super) struct CommonArgs {
    /// Room to load, e.g. ws://127.0.0.1:1999/parties/main/talk
    pub(super) url: String,
    /// Process id of the server, to measure its memory and CPU time
    #[arg(long)]
    pub(super) pid: Option<u32>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(super) json: bool,
    /// Kind of reaction that is sent and followed
    #[arg(long, default_value = "swarm")]
    pub(super) kind: String,
    /// Worker threads [default: 1, or as many as RLIMIT_NOFILE asks for]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(super) threads: Option<u16>,
    /// One table of file descriptors a thread or one for all [default: shared while it suffices]
    #[arg(long, value_parser = fd_tables())]
    pub(super) fd_tables: Option<FdTables>,
    /// Spread source addresses over 127.0.0.0/8, 10,000 connections each
    #[arg(long, value_enum, default_value_t = SourceSpread::Auto)]
    pub(super) source_spread: SourceSpread,
    /// Handshakes in flight per thread [default: 512 divided by threads, at least 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) connect_window: Option<u32>,
    /// New connections per second in all [default: as fast as they come]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) connect_rate: Option<u32>,
    /// Give up a phase when nothing has moved for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) stall: u32,
    /// Hard bound on the whole run
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) timeout: u32,
    /// Allow a target that is not loopback
    #[arg(long)]
    pub(super) i_own_this_server: bool,
}

/// The values of `--fd-tables`. The server's flag of this name has the same meaning and calls
/// `per-thread` `per-reactor`.
fn fd_tables() -> impl TypedValueParser<Value = FdTables> {
    let values = [
        PossibleValue::new(PER_THREAD).help(
            "Each thread has its own, so that RLIMIT_NOFILE bounds a thread instead of the \
             process (Linux)",
        ),
        PossibleValue::new(SHARED).help("All threads share the table of the process"),
    ];
    PossibleValuesParser::new(values).map(|value| {
        if value == PER_THREAD {
            FdTables::PerThread
        } else {
            FdTables::Shared
        }
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SourceSpread {
    /// When the target is IPv4 loopback.
    Auto,
    /// The system's choice, which ends near 28,000 connections to one destination.
    Off,
}

#[derive(Debug, Clone, Args)]
pub(super) struct CrowdArgs {
    /// Connections to open
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    pub(super) members: u32,
    /// Rooms that the members are spread over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) rooms: u16,
}

#[derive(Debug, Clone, Args)]
pub(super) struct PaceArgs {
    /// Reactions per second in all
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) rate: u32,
    /// For how long reactions are sent
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(super) struct IdleArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) crowd: CrowdArgs,
    /// How long the connections are held
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(super) struct FanoutArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) crowd: CrowdArgs,
    #[command(flatten)]
    pub(super) pace: PaceArgs,
}

#[derive(Debug, Clone, Args)]
pub(super) struct SlowArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) crowd: CrowdArgs,
    #[command(flatten)]
    pub(super) pace: PaceArgs,
    /// Share of the members that stops reading, with a receive buffer at its minimum
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(super) slow_percent: u8,
}

#[derive(Debug, Clone, Args)]
pub(super) struct IngestArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Connections that pipeline reactions; one more watches how often the counts move
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) senders: u32,
    /// Reactions to send in all, instead of a time
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) reactions: Option<u64>,
    /// For how long reactions are sent
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ChurnArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) crowd: CrowdArgs,
    /// Members per second that leave, each replaced by a new one
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) rate: u32,
    /// For how long members leave and join
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(super) struct StormArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) crowd: CrowdArgs,
}

/// Servers that are not built are left out and named; with --build they are built first.
#[derive(Debug, Clone, Args)]
pub(super) struct SuiteArgs {
    /// Rounds over all servers, interleaved; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) rounds: u16,
    /// Build the bare loop and the peers first, with cargo and npm
    #[arg(long)]
    pub(super) build: bool,
    /// Servers to run, by name: ovation, bare, tokio-tungstenite, node-ws [default: all that are built]
    #[arg(long, value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Another server: NAME=COMMAND, run without a shell, with {port} for the port
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(super) server: Vec<String>,
    /// Directory of the peers' sources
    #[arg(long, default_value = "benches/peers")]
    pub(super) peers: PathBuf,
    /// First of the ports that the servers listen on
    #[arg(long, default_value_t = 19_990)]
    pub(super) port: u16,
    /// Connections of the idle run
    #[arg(long, default_value_t = 15_000)]
    pub(super) idle_members: u32,
    /// Members of the fan-out
    #[arg(long, default_value_t = 10_000)]
    pub(super) fanout_members: u32,
    /// Reactions per second of the fan-out
    #[arg(long, default_value_t = 1_000)]
    pub(super) fanout_rate: u32,
    /// Senders of the ingest run
    #[arg(long, default_value_t = 4)]
    pub(super) ingest_senders: u32,
    /// Seconds of load in the fan-out and in the ingest run
    #[arg(long, default_value_t = 5)]
    pub(super) seconds: u32,
    /// Print the medians as one JSON object instead of the table
    #[arg(long)]
    pub(super) json: bool,
}
