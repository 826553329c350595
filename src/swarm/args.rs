//! The command line of `ovation swarm`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum, value_parser};

use crate::os::descriptors::FdTables;

const PER_THREAD: &str = "per-thread";
const SHARED: &str = "shared";

/// Load a server with thousands to millions of connections, and measure it.
///
/// Works with every server of this protocol, so that other servers are measured with the same tool.
/// Exits with an error if a connection failed, a count went down, or a member did not end on
/// exactly the count that was sent.
#[derive(Debug, Clone, Args)]
pub struct SwarmArgs {
    #[command(subcommand)]
    pub(super) mode: Mode,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Mode {
    /// Open connections and hold them: measures memory per connection.
    Idle(IdleArgs),
    /// Members react at a steady rate and see all counts: measures deliveries and latency.
    Fanout(FanoutArgs),
    /// A few senders pipeline reactions as fast as the server accepts them.
    Ingest(IngestArgs),
    /// Like fanout, while some of the members stop reading.
    Slow(SlowArgs),
    /// Members leave and join at a steady rate.
    Churn(ChurnArgs),
    /// All members connect, drop their connections, and reconnect at once.
    Storm(StormArgs),
    /// Run idle, fanout and ingest against several servers, and compare them in one table.
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
    /// Kind of the reactions to send and follow
    #[arg(long, default_value = "swarm")]
    pub(super) kind: String,
    /// Worker threads [default: 1, or as many as RLIMIT_NOFILE requires]
    #[arg(long, value_parser = value_parser!(u16).range(1..=4096))]
    pub(super) threads: Option<u16>,
    /// Which threads share a table of file descriptors [default: shared if one table suffices]
    #[arg(long, value_parser = fd_tables())]
    pub(super) fd_tables: Option<FdTables>,
    /// Whether to spread source addresses over 127.0.0.0/8, with 10,000 connections each
    #[arg(long, value_enum, default_value_t = SourceSpread::Auto)]
    pub(super) source_spread: SourceSpread,
    /// Handshakes in flight per thread [default: 512 divided by threads, at least 8]
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub(super) connect_window: Option<u32>,
    /// New connections per second over all threads [default: as many as the server accepts]
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub(super) connect_rate: Option<u32>,
    /// Give up a phase after this time without progress
    #[arg(long, value_name = "SECONDS", default_value_t = 15,
          value_parser = value_parser!(u32).range(1..))]
    pub(super) stall: u32,
    /// Maximum time of the whole run
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
          value_parser = value_parser!(u32).range(1..))]
    pub(super) timeout: u32,
    /// Allow a target that is not loopback
    #[arg(long)]
    pub(super) i_own_this_server: bool,
}

/// Parses `--fd-tables`. The server's flag of this name says `per-reactor` instead of `per-thread`.
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
    /// Spread if the target is IPv4 loopback.
    Auto,
    /// The system's choice, which allows about 28,000 connections to one destination.
    Off,
}

#[derive(Debug, Clone, Args)]
pub(super) struct CrowdArgs {
    /// Number of connections to open
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=20_000_000))]
    pub(super) members: u32,
    /// Number of rooms that the members are spread over
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..))]
    pub(super) rooms: u16,
}

#[derive(Debug, Clone, Args)]
pub(super) struct PaceArgs {
    /// Reactions per second over all members
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(super) rate: u32,
    /// How long to send reactions, in seconds
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(super) struct IdleArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) crowd: CrowdArgs,
    /// How long to hold the connections, in seconds
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..))]
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
    /// Percentage of the members that stop reading, with a minimal receive buffer
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u8).range(1..=99))]
    pub(super) slow_percent: u8,
}

#[derive(Debug, Clone, Args)]
pub(super) struct IngestArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Connections that pipeline reactions; one more only watches how often the counts change
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(super) senders: u32,
    /// Number of reactions to send, instead of a time
    #[arg(long, conflicts_with = "seconds", value_parser = value_parser!(u64).range(1..))]
    pub(super) reactions: Option<u64>,
    /// How long to send reactions, in seconds
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(super) struct ChurnArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) crowd: CrowdArgs,
    /// Members per second that leave and are replaced by new members
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(super) rate: u32,
    /// How long members leave and join, in seconds
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(super) struct StormArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    pub(super) crowd: CrowdArgs,
}

/// Skips servers that are not built, and names them; --build builds them first.
#[derive(Debug, Clone, Args)]
pub(super) struct SuiteArgs {
    /// Interleaved rounds over all servers; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(1..=100))]
    pub(super) rounds: u16,
    /// Build the bare loop and the other servers first, with cargo and npm
    #[arg(long)]
    pub(super) build: bool,
    /// Names of the servers to run: ovation, bare, tokio-tungstenite, node-ws [default: all built
    /// servers]
    #[arg(long, value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Another server: NAME=COMMAND, run without a shell; {port} stands for the port
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(super) server: Vec<String>,
    /// Directory with the sources of the other servers
    #[arg(long, default_value = "benches/peers")]
    pub(super) peers: PathBuf,
    /// First port that the servers listen on; each trial uses the next one
    #[arg(long, default_value_t = 19_990)]
    pub(super) port: u16,
    /// Number of connections in the idle run
    #[arg(long, default_value_t = 15_000)]
    pub(super) idle_members: u32,
    /// Number of members in the fan-out run
    #[arg(long, default_value_t = 10_000)]
    pub(super) fanout_members: u32,
    /// Reactions per second in the fan-out run
    #[arg(long, default_value_t = 1_000)]
    pub(super) fanout_rate: u32,
    /// Number of senders in the ingest run
    #[arg(long, default_value_t = 4)]
    pub(super) ingest_senders: u32,
    /// Seconds of load in the fan-out run and in the ingest run
    #[arg(long, default_value_t = 5)]
    pub(super) seconds: u32,
    /// Print the medians as one JSON object instead of the table
    #[arg(long)]
    pub(super) json: bool,
}
