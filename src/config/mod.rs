//! Settings of `ovation serve`: the only place that reads flags and environment. Every limit of
//! the server is here, with its default and its bounds; each default is a constant of the module
//! whose limit it is.

pub(crate) mod advice;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum, value_parser};
use serde::Serialize;

use crate::admin::{AdminSettings, DEFAULT_ADMIN, DEFAULT_ADMIN_MAX_CONNECTIONS};
use crate::protocol::http::request::DEFAULT_MAX_HEAD_BYTES;
use crate::protocol::messages::DEFAULT_MAX_KIND_BYTES;
use crate::protocol::websocket::frame::DEFAULT_MAX_MESSAGE_BYTES;
use crate::reactor::{
    DEFAULT_BACKLOG, DEFAULT_CLOSE_TIMEOUT, DEFAULT_HEAD_TIMEOUT, DEFAULT_MAX_CONNECTIONS,
    DEFAULT_MAX_INVALID_MESSAGES, DEFAULT_MIN_FREE_MEMORY_PERCENT, DEFAULT_PING_INTERVAL,
    DEFAULT_SEND_BUFFER_BYTES, ListenAddress,
};
use crate::rooms::{
    DEFAULT_GRACE, DEFAULT_IN_FLIGHT_PERCENT, DEFAULT_MAX_KINDS, DEFAULT_MAX_RESTING_ROOMS,
    DEFAULT_MAX_ROOM_NAME_BYTES, DEFAULT_PRESENCE_INTERVAL, DEFAULT_TICK, MAX_KINDS, MAX_REACTORS,
    MAX_ROOM_NAME_BYTES,
};
use crate::store::format::MAX_KIND_BYTES;
use crate::store::{
    DEFAULT_MAX_FILE_BYTES, DEFAULT_MAX_OVERFLOW_BYTES, DEFAULT_MAX_ROOMS, MAX_FILE_BYTES,
    MIN_FILE_BYTES,
};

/// The default address: PartyKit's own development port.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:1999";
/// The default snapshot file.
pub const DEFAULT_SNAPSHOT: &str = "ovation.snapshot";
/// The default of the time between two syncs of the snapshot, in milliseconds.
pub const DEFAULT_FLUSH_INTERVAL_MS: u64 = 1000;
/// The default of how long data may stay unacknowledged, in milliseconds.
pub const DEFAULT_USER_TIMEOUT_MS: u64 = 60_000;

/// The most that the limit on connections can be set to.
pub const MAX_CONNECTIONS: usize = u32::MAX as usize / 2;

/// Who has a table of file descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FdTables {
    /// Each reactor its own.
    PerReactor,
    /// All threads together one.
    Shared,
}

/// What `ovation serve` is told.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where to listen: ADDRESS:PORT or unix:PATH; may be given several times
    #[arg(long, value_name = "ADDRESS", env = "OVATION_LISTEN", value_delimiter = ',', default_value = DEFAULT_LISTEN)]
    pub listen: Vec<ListenAddress>,

    /// Where the admin side is; at the default address, if that can be had, if not given
    #[arg(long, value_name = "ADDRESS", env = "OVATION_ADMIN", conflicts_with = "no_admin",
          help = format!("Where health, metrics and the dashboard are: ADDRESS:PORT or unix:PATH [default: {DEFAULT_ADMIN}, or nowhere if that is in use]"))]
    pub admin: Option<ListenAddress>,

    /// No health, metrics or dashboard
    #[arg(long, env = "OVATION_NO_ADMIN")]
    pub no_admin: bool,

    /// A file with the token that the admin side then wants: as a bearer token, or as a password
    /// with any user name. Needed for an address that is not of this machine alone
    #[arg(long, value_name = "FILE", env = "OVATION_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// The most connections to the admin side
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ADMIN_MAX_CONNECTIONS,
          value_parser = ranged(1, MAX_CONNECTIONS))]
    pub admin_max_connections: usize,

    /// Reactor threads; one for each core if not given
    #[arg(long, value_name = "N", env = "OVATION_REACTORS", value_parser = ranged(1, MAX_REACTORS))]
    pub reactors: Option<usize>,

    /// One table of file descriptors for each reactor, so that RLIMIT_NOFILE bounds a reactor and
    /// not the process (Linux), or one for all
    #[arg(
        long,
        value_name = "WHICH",
        env = "OVATION_FD_TABLES",
        default_value = "per-reactor"
    )]
    pub fd_tables: FdTables,

    /// The file that keeps the counts
    #[arg(long, value_name = "PATH", env = "OVATION_SNAPSHOT", default_value = DEFAULT_SNAPSHOT)]
    pub snapshot: PathBuf,

    /// Keep the counts in memory only
    #[arg(long)]
    pub no_snapshot: bool,

    /// The most that the snapshot may grow to, in bytes (address space is reserved for it)
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_FILE_BYTES,
          value_parser = value_parser!(u64).range(MIN_FILE_BYTES..=MAX_FILE_BYTES))]
    pub snapshot_max_bytes: u64,

    /// Start with what is provably whole of a damaged snapshot; the original is kept beside it
    #[arg(long)]
    pub salvage: bool,

    /// The most memory for rooms and kinds that the snapshot has no place for while it can't
    /// grow, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_OVERFLOW_BYTES,
          value_parser = value_parser!(u64).range(0..=MAX_FILE_BYTES / 2))]
    pub max_spare_bytes: u64,

    /// Remove rooms that nobody is in and that have counted nothing for so long, such as 30d or
    /// 12h; never if not given
    #[arg(long, value_name = "TIME", env = "OVATION_ROOM_TTL", value_parser = room_ttl)]
    pub room_ttl: Option<Duration>,

    /// How long a room that nobody is in stays in memory, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_GRACE.as_millis() as u64,
          value_parser = value_parser!(u64).range(0..=3_600_000))]
    pub room_grace_ms: u64,

    /// The most rooms that stay in memory so
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_RESTING_ROOMS)]
    pub max_resting_rooms: usize,

    /// How long the machine's death may undo at most, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_FLUSH_INTERVAL_MS,
          value_parser = value_parser!(u64).range(1..=3_600_000))]
    pub flush_interval_ms: u64,

    /// The least time between two broadcasts of a room, in milliseconds
    #[arg(long, value_name = "MS", env = "OVATION_TICK_MS", default_value_t = DEFAULT_TICK.as_millis() as u64,
          value_parser = value_parser!(u64).range(1..=60_000))]
    pub tick_ms: u64,

    /// How long it takes at most until those who ask with ?presence=1 are told that others have come
    /// or left, in milliseconds; 0 to tell nobody
    #[arg(long, value_name = "MS", env = "OVATION_PRESENCE_INTERVAL_MS",
          default_value_t = DEFAULT_PRESENCE_INTERVAL.as_millis() as u64,
          value_parser = value_parser!(u64).range(0..=3_600_000))]
    pub presence_interval_ms: u64,

    /// A party to serve; may be given several times
    #[arg(
        long = "party",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "main"
    )]
    pub parties: Vec<String>,

    /// The kinds that may be used, such as love,clap, and the buttons of the page; any if not given
    #[arg(
        long,
        value_name = "KINDS",
        env = "OVATION_KINDS",
        value_delimiter = ','
    )]
    pub kinds: Option<Vec<String>>,

    /// Serve no pages: neither `/` and `/r/ROOM` nor `/ovation.js`
    #[arg(long, env = "OVATION_NO_PAGES")]
    pub no_pages: bool,

    /// An origin whose pages may use this server, such as `https://talks.example`; any if not given
    #[arg(
        long = "allow-origin",
        value_name = "ORIGIN",
        env = "OVATION_ALLOW_ORIGIN",
        value_delimiter = ','
    )]
    pub allow_origins: Vec<String>,

    /// The most connections; the server's own default if not given, and then no warning either
    /// where the machine can't hold so many
    #[arg(long, value_name = "N", env = "OVATION_MAX_CONNECTIONS", value_parser = ranged(1, MAX_CONNECTIONS),
          help = format!("The most connections [default: {DEFAULT_MAX_CONNECTIONS}]"))]
    pub max_connections: Option<usize>,

    /// The most connections from one IPv4 address or IPv6 network of 64 bits; any if not given.
    /// Behind a proxy all come from its address
    #[arg(long, value_name = "N", env = "OVATION_MAX_CONNECTIONS_PER_IP", value_parser = value_parser!(u32).range(1..))]
    pub max_connections_per_ip: Option<u32>,

    /// New connections are turned away while less than this much of the machine's memory is
    /// available, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = DEFAULT_MIN_FREE_MEMORY_PERCENT, value_parser = value_parser!(u8).range(0..=100))]
    pub min_free_memory_percent: u8,

    /// How much may be in flight to clients, in percent of the memory at which the kernel sees
    /// pressure (tcp_mem); fan-outs pause above it. 0 for no bound
    #[arg(long, value_name = "PERCENT", default_value_t = DEFAULT_IN_FLIGHT_PERCENT, value_parser = value_parser!(u8).range(0..=100))]
    pub in_flight_percent: u8,

    /// The most rooms that have counts
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_ROOMS,
          value_parser = ranged(1, u32::MAX as usize / 2))]
    pub max_rooms: usize,

    /// The longest name of a room, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_ROOM_NAME_BYTES,
          value_parser = ranged(1, MAX_ROOM_NAME_BYTES))]
    pub max_room_name_bytes: usize,

    /// The longest kind, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_KIND_BYTES,
          value_parser = ranged(1, MAX_KIND_BYTES))]
    pub max_kind_bytes: usize,

    /// The most kinds in a room
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_KINDS, value_parser = ranged(1, MAX_KINDS))]
    pub max_kinds: usize,

    /// The largest message or request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_MESSAGE_BYTES,
          value_parser = ranged(125, 16 << 20))]
    pub max_message_bytes: usize,

    /// The largest request head, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_HEAD_BYTES,
          value_parser = ranged(256, 1 << 20))]
    pub max_head_bytes: usize,

    /// How many messages that are no reactions a client may send
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_INVALID_MESSAGES)]
    pub max_invalid_messages: u8,

    /// How long a request may take to arrive, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_HEAD_TIMEOUT.as_millis() as u64,
          value_parser = value_parser!(u64).range(1..=3_600_000))]
    pub head_timeout_ms: u64,

    /// How long a client may take to finish closing, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_CLOSE_TIMEOUT.as_millis() as u64,
          value_parser = value_parser!(u64).range(1..=3_600_000))]
    pub close_timeout_ms: u64,

    /// How often a silent connection is pinged, in milliseconds; 0 for never
    #[arg(long, value_name = "MS", env = "OVATION_PING_INTERVAL_MS", default_value_t = DEFAULT_PING_INTERVAL.as_millis() as u64,
          value_parser = value_parser!(u64).range(0..=86_400_000))]
    pub ping_interval_ms: u64,

    /// How long data may stay unacknowledged before a connection is given up, in milliseconds;
    /// 0 for the system's own choice
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_USER_TIMEOUT_MS,
          value_parser = value_parser!(u64).range(0..=86_400_000))]
    pub tcp_user_timeout_ms: u64,

    /// The send buffer of a connection, in bytes; 0 for the system's own choice
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SEND_BUFFER_BYTES,
          value_parser = ranged(0, 64 << 20))]
    pub send_buffer_bytes: usize,

    /// Connections that the kernel may hold until they are accepted
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BACKLOG, value_parser = value_parser!(i32).range(1..))]
    pub backlog: i32,
}

impl ServeArgs {
    /// How many reactors to run.
    pub fn reactor_count(&self) -> usize {
        reactor_count(self.reactors)
    }

    /// Where and for whom the admin side listens, unless there is to be none.
    pub fn admin_settings(&self) -> Option<AdminSettings> {
        let default = || DEFAULT_ADMIN.parse().ok();
        let address = self.admin.clone().or_else(default)?;
        (!self.no_admin).then(|| AdminSettings {
            address,
            is_explicit: self.admin.is_some(),
            token_file: self.admin_token_file.clone(),
            max_connections: self.admin_max_connections,
        })
    }

    /// The snapshot file, unless there is to be none.
    pub fn snapshot_path(&self) -> Option<&PathBuf> {
        (!self.no_snapshot).then_some(&self.snapshot)
    }
}

/// How many reactors to run where `asked` are asked for.
pub(crate) fn reactor_count(asked: Option<usize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if cfg!(target_os = "linux") {
        asked.unwrap_or_else(cores).min(MAX_REACTORS)
    } else {
        // Elsewhere SO_REUSEPORT doesn't spread connections.
        1
    }
}

/// Milliseconds of which 0 means none.
pub(crate) fn optional_ms(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

/// The shortest time after which a room may be removed. A room's last reaction is written down
/// to the minute.
const MIN_ROOM_TTL: Duration = Duration::from_secs(120);

pub(crate) fn room_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl < MIN_ROOM_TTL {
        return Err(format!("it must be at least {MIN_ROOM_TTL:?}"));
    }
    Ok(ttl)
}

/// Accepts whole numbers from `least` to `most`.
pub(crate) fn ranged(
    least: usize,
    most: usize,
) -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser;
    RangedU64ValueParser::<u64>::new()
        .range(least as u64..=most as u64)
        .map(|value| value as usize)
}
