//! Sessions: clients whose taps are numbered and acknowledged.

use std::time::Duration;

use clap::{Args, value_parser};

use super::parse::{optional_ms, ranged};
use crate::rooms::{DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_MAX_SESSIONS, DEFAULT_SESSION_MEMORY};

/// Maximum value of the limit on sessions.
const MAX_SESSIONS: usize = 1 << 26;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sessions")]
pub(crate) struct SessionArgs {
    /// Interval at which a client with a session hears from the server at least, in milliseconds; 0
    /// for no heartbeat
    #[arg(long, value_name = "MS", env = "OVATION_HEARTBEAT_INTERVAL_MS",
          default_value_t = DEFAULT_HEARTBEAT_INTERVAL.as_millis() as u64,
          value_parser = value_parser!(u64).range(0..=3_600_000))]
    heartbeat_interval_ms: u64,

    /// Time for which the server remembers the session of a client that has gone, in milliseconds
    #[arg(long, value_name = "MS", env = "OVATION_SESSION_MEMORY_MS",
          default_value_t = DEFAULT_SESSION_MEMORY.as_millis() as u64,
          value_parser = value_parser!(u64).range(1000..=86_400_000))]
    session_memory_ms: u64,

    /// Maximum number of sessions that the server remembers
    #[arg(long, value_name = "N", env = "OVATION_MAX_SESSIONS",
          default_value_t = DEFAULT_MAX_SESSIONS, value_parser = ranged(0, MAX_SESSIONS))]
    pub(crate) max_sessions: usize,
}

impl SessionArgs {
    /// Interval at which a client with a session hears from the server at least; `None` for no
    /// heartbeat.
    pub(crate) fn heartbeat_interval(&self) -> Option<Duration> {
        optional_ms(self.heartbeat_interval_ms)
    }

    /// Time for which the server remembers the session of a client that has gone.
    pub(crate) fn memory(&self) -> Duration {
        Duration::from_millis(self.session_memory_ms)
    }
}
