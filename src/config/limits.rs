//! The limits on clients.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};

use super::advice;
use super::parse::{optional_ms, ranged};
use crate::protocol::http::Hosts;
use crate::protocol::http::request::DEFAULT_MAX_HEAD_BYTES;
use crate::protocol::messages::DEFAULT_MAX_KIND_BYTES;
use crate::protocol::websocket::frame::DEFAULT_MAX_MESSAGE_BYTES;
use crate::reactor::{
    AddressRate, Admission, AdmissionLimits, ConnectionLimits, DEFAULT_CLOSE_TIMEOUT,
    DEFAULT_HEAD_TIMEOUT, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_INVALID_MESSAGES,
    DEFAULT_MESSAGE_BURST, DEFAULT_MESSAGE_RATE, DEFAULT_MIN_FREE_MEMORY_PERCENT,
    DEFAULT_PING_INTERVAL, Enforcement, MAX_MESSAGE_BURST, MAX_MESSAGE_RATE, MessageRate,
    TrustedProxies,
};
use crate::rooms::{
    DEFAULT_MAX_KINDS, DEFAULT_MAX_ROOM_NAME_BYTES, DEFAULT_ROOM_CREATE_RATE, MAX_KINDS,
    MAX_ROOM_NAME_BYTES,
};
use crate::store::format::MAX_KIND_BYTES;

/// Maximum value of the limit on connections.
pub(crate) const MAX_CONNECTIONS: usize = u32::MAX as usize / 2;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Maximum number of connections; if given, the server warns at its start of what stands in the
    /// way on this machine
    #[arg(long, value_name = "N", env = "OVATION_MAX_CONNECTIONS",
          value_parser = ranged(1, MAX_CONNECTIONS),
          help = format!("Maximum number of connections [default: {DEFAULT_MAX_CONNECTIONS}]"))]
    pub(crate) max_connections: Option<usize>,

    /// Maximum number of connections from one IPv4 address or IPv6 /64 network, and 16 times as
    /// many from one IPv6 /48 network; not for this machine [default: no limit]. Behind a proxy,
    /// give --trusted-proxy too
    #[arg(long, value_name = "N", env = "OVATION_MAX_CONNECTIONS_PER_IP",
          value_parser = value_parser!(u32).range(1..))]
    max_connections_per_ip: Option<u32>,

    /// Maximum number of HTTP requests a minute, handshakes included, from one IPv4 address or IPv6
    /// /64 network, and 16 times as many from one IPv6 /48 network; not for this machine; 0 for no
    /// limit. Behind a proxy, give --trusted-proxy too
    #[arg(
        long,
        value_name = "N",
        env = "OVATION_MAX_REQUESTS_PER_IP",
        default_value_t = 0
    )]
    max_requests_per_ip: u32,

    /// Turn new connections away while less than this share of the machine's memory is available,
    /// in percent
    #[arg(long, value_name = "PERCENT", env = "OVATION_MIN_FREE_MEMORY_PERCENT",
          default_value_t = DEFAULT_MIN_FREE_MEMORY_PERCENT,
          value_parser = value_parser!(u8).range(0..=100))]
    min_free_memory_percent: u8,

    /// Maximum length of a room's name, in bytes
    #[arg(long, value_name = "BYTES", env = "OVATION_MAX_ROOM_NAME_BYTES",
          default_value_t = DEFAULT_MAX_ROOM_NAME_BYTES,
          value_parser = ranged(1, MAX_ROOM_NAME_BYTES))]
    pub(crate) max_room_name_bytes: usize,

    /// Maximum length of a kind, in bytes
    #[arg(long, value_name = "BYTES", env = "OVATION_MAX_KIND_BYTES",
          default_value_t = DEFAULT_MAX_KIND_BYTES, value_parser = ranged(1, MAX_KIND_BYTES))]
    pub(crate) max_kind_bytes: usize,

    /// Maximum number of kinds in a room
    #[arg(long, value_name = "N", env = "OVATION_MAX_KINDS", default_value_t = DEFAULT_MAX_KINDS,
          value_parser = ranged(1, MAX_KINDS))]
    pub(crate) max_kinds: usize,

    /// Maximum size of a message or request body, in bytes
    #[arg(long, value_name = "BYTES", env = "OVATION_MAX_MESSAGE_BYTES",
          default_value_t = DEFAULT_MAX_MESSAGE_BYTES, value_parser = ranged(125, 16 << 20))]
    max_message_bytes: usize,

    /// Maximum size of a request head, in bytes
    #[arg(long, value_name = "BYTES", env = "OVATION_MAX_HEAD_BYTES",
          default_value_t = DEFAULT_MAX_HEAD_BYTES, value_parser = ranged(256, 1 << 20))]
    max_head_bytes: usize,

    /// Maximum number of messages that are not reactions; one more disconnects the client
    #[arg(long, value_name = "N", env = "OVATION_MAX_INVALID_MESSAGES",
          default_value_t = DEFAULT_MAX_INVALID_MESSAGES)]
    max_invalid_messages: u8,

    /// Reactions per second from one connection; 0 for no limit. Reactions over the limit are
    /// dropped, and a connection at twenty times the limit is closed
    #[arg(long, value_name = "N", env = "OVATION_REACTION_RATE",
          default_value_t = DEFAULT_MESSAGE_RATE,
          value_parser = value_parser!(u32).range(0..=i64::from(MAX_MESSAGE_RATE)))]
    reaction_rate: u32,

    /// Reactions at once from one connection, beyond --reaction-rate
    #[arg(long, value_name = "N", env = "OVATION_REACTION_BURST",
          default_value_t = DEFAULT_MESSAGE_BURST,
          value_parser = value_parser!(u32).range(1..=i64::from(MAX_MESSAGE_BURST)))]
    reaction_burst: u32,

    /// Rooms that the clients of one IPv4 address or IPv6 /64 network may create in a minute, and
    /// 16 times as many for one IPv6 /48 network; not for this machine; 0 for no limit. The first
    /// reaction creates a room
    #[arg(long, value_name = "N", env = "OVATION_ROOM_CREATE_RATE",
          default_value_t = DEFAULT_ROOM_CREATE_RATE)]
    room_create_rate: u32,

    /// Count what --reaction-rate and --room-create-rate would drop, and drop nothing
    #[arg(long, env = "OVATION_LIMITS_DRY_RUN", value_parser = BoolishValueParser::new())]
    limits_dry_run: bool,

    /// Time that a request may take to arrive, in milliseconds
    #[arg(long, value_name = "MS", env = "OVATION_HEAD_TIMEOUT_MS",
          default_value_t = DEFAULT_HEAD_TIMEOUT.as_millis() as u64,
          value_parser = value_parser!(u64).range(1..=3_600_000))]
    head_timeout_ms: u64,

    /// Time that a client may take to finish closing, in milliseconds
    #[arg(long, value_name = "MS", env = "OVATION_CLOSE_TIMEOUT_MS",
          default_value_t = DEFAULT_CLOSE_TIMEOUT.as_millis() as u64,
          value_parser = value_parser!(u64).range(1..=3_600_000))]
    close_timeout_ms: u64,

    /// Interval at which silent connections are pinged, in milliseconds; 0 for never
    #[arg(long, value_name = "MS", env = "OVATION_PING_INTERVAL_MS",
          default_value_t = DEFAULT_PING_INTERVAL.as_millis() as u64,
          value_parser = value_parser!(u64).range(0..=86_400_000))]
    ping_interval_ms: u64,
}

impl LimitArgs {
    /// Admission to the rooms, for connections from `proxies` and from clients.
    pub(crate) fn admission(&self, proxies: TrustedProxies) -> Admission {
        let limits = AdmissionLimits {
            max_connections: self.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS),
            max_per_address: self.max_connections_per_ip,
            min_free_memory_percent: self.min_free_memory_percent,
            makes_room: false,
        };
        let requests = AddressRate::new(self.max_requests_per_ip, self.enforcement());
        Admission::new(limits, advice::turn_away)
            .trusting(proxies)
            .limiting_requests(requests)
    }

    /// The limit on new rooms.
    pub(crate) fn room_creation(&self) -> AddressRate {
        AddressRate::new(self.room_create_rate, self.enforcement())
    }

    fn enforcement(&self) -> Enforcement {
        if self.limits_dry_run {
            Enforcement::CountOnly
        } else {
            Enforcement::Refuse
        }
    }

    /// The limits of connections to the rooms, whose clients may use the names `hosts`.
    pub(crate) fn connection_limits(&self, hosts: Hosts) -> ConnectionLimits {
        ConnectionLimits {
            hosts,
            max_message_bytes: self.max_message_bytes,
            max_head_bytes: self.max_head_bytes,
            max_invalid_messages: self.max_invalid_messages,
            message_rate: MessageRate::new(self.reaction_rate, self.reaction_burst),
            is_dry_run: self.limits_dry_run,
            head_timeout: Duration::from_millis(self.head_timeout_ms),
            close_timeout: Duration::from_millis(self.close_timeout_ms),
            ping_interval: optional_ms(self.ping_interval_ms),
        }
    }
}
