//! What rarely needs to be set.

use std::time::Duration;

use clap::{Args, value_parser};

use super::parse::{optional_bytes, optional_ms, ranged};
use crate::reactor::{
    DEFAULT_BACKLOG, DEFAULT_RECEIVE_BUFFER_BYTES, DEFAULT_SEND_BUFFER_BYTES, SocketOptions,
};
use crate::rooms::{DEFAULT_GRACE, DEFAULT_IN_FLIGHT_PERCENT, DEFAULT_MAX_IDLE_ROOMS};

/// Default time that data may stay unacknowledged, in milliseconds.
const DEFAULT_USER_TIMEOUT_MS: u64 = 60_000;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tuning")]
pub(crate) struct TuningArgs {
    /// Time that a room without members stays in memory, in milliseconds
    #[arg(long, value_name = "MS", env = "OVATION_ROOM_GRACE_MS",
          default_value_t = DEFAULT_GRACE.as_millis() as u64,
          value_parser = value_parser!(u64).range(0..=3_600_000))]
    room_grace_ms: u64,

    /// Maximum number of idle rooms kept in memory
    #[arg(long, alias = "max-resting-rooms", value_name = "N", env = "OVATION_MAX_IDLE_ROOMS",
          default_value_t = DEFAULT_MAX_IDLE_ROOMS)]
    pub(crate) max_idle_rooms: usize,

    /// Share of the kernel's TCP memory (the pressure mark of tcp_mem) that may be in use before
    /// broadcasts pause, in percent; 0 for no limit
    #[arg(long, value_name = "PERCENT", env = "OVATION_IN_FLIGHT_PERCENT",
          default_value_t = DEFAULT_IN_FLIGHT_PERCENT,
          value_parser = value_parser!(u8).range(0..=100))]
    pub(crate) in_flight_percent: u8,

    /// Time that data may stay unacknowledged before a connection is closed, in milliseconds; 0 for
    /// the system's default
    #[arg(long, value_name = "MS", env = "OVATION_TCP_USER_TIMEOUT_MS",
          default_value_t = DEFAULT_USER_TIMEOUT_MS,
          value_parser = value_parser!(u64).range(0..=86_400_000))]
    tcp_user_timeout_ms: u64,

    /// Send buffer of a connection, in bytes; 0 for the system's default
    #[arg(long, value_name = "BYTES", env = "OVATION_SEND_BUFFER_BYTES",
          default_value_t = DEFAULT_SEND_BUFFER_BYTES, value_parser = ranged(0, 64 << 20))]
    send_buffer_bytes: usize,

    /// Receive buffer of a connection, in bytes; 0 for the system's default
    #[arg(long, value_name = "BYTES", env = "OVATION_RECEIVE_BUFFER_BYTES",
          default_value_t = DEFAULT_RECEIVE_BUFFER_BYTES, value_parser = ranged(0, 64 << 20))]
    receive_buffer_bytes: usize,

    /// Number of connections that the kernel queues for each listener
    #[arg(long, value_name = "N", env = "OVATION_BACKLOG", default_value_t = DEFAULT_BACKLOG,
          value_parser = value_parser!(i32).range(1..))]
    backlog: i32,
}

impl TuningArgs {
    /// Time that an idle room stays in memory.
    pub(crate) fn room_grace(&self) -> Duration {
        Duration::from_millis(self.room_grace_ms)
    }

    /// The options of accepted sockets.
    pub(crate) fn socket_options(&self) -> SocketOptions {
        SocketOptions {
            send_buffer_bytes: optional_bytes(self.send_buffer_bytes),
            receive_buffer_bytes: optional_bytes(self.receive_buffer_bytes),
            user_timeout: optional_ms(self.tcp_user_timeout_ms),
            backlog: self.backlog,
            unix_mode: None,
        }
    }
}
