//! What rooms count, and when they tell their members.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};

use super::parse::optional_ms;
use crate::rooms::{DEFAULT_PRESENCE_INTERVAL, DEFAULT_TICK};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rooms")]
pub(crate) struct RoomArgs {
    /// Kinds that clients may use, such as love,clap; also the buttons of the page [default: any]
    #[arg(
        long,
        value_name = "KINDS",
        env = "OVATION_KINDS",
        value_delimiter = ','
    )]
    pub(crate) kinds: Option<Vec<String>>,

    /// Count any kind. Without --kinds, a server that other machines can reach needs this
    #[arg(long, env = "OVATION_ANY_KIND", value_parser = BoolishValueParser::new())]
    pub(crate) any_kind: bool,

    /// Party to serve; may be given several times
    #[arg(
        long = "party",
        value_name = "NAME",
        env = "OVATION_PARTY",
        value_delimiter = ',',
        default_value = "main"
    )]
    pub(crate) parties: Vec<String>,

    /// Minimum time between two broadcasts of a room, in milliseconds
    #[arg(long, value_name = "MS", env = "OVATION_TICK_MS",
          default_value_t = DEFAULT_TICK.as_millis() as u64,
          value_parser = value_parser!(u64).range(1..=60_000))]
    tick_ms: u64,

    /// Maximum time until clients with ?presence=1 get a new member count, in milliseconds; 0 turns
    /// presence off
    #[arg(long, value_name = "MS", env = "OVATION_PRESENCE_INTERVAL_MS",
          default_value_t = DEFAULT_PRESENCE_INTERVAL.as_millis() as u64,
          value_parser = value_parser!(u64).range(0..=3_600_000))]
    presence_interval_ms: u64,
}

impl RoomArgs {
    /// Minimum time between two broadcasts of a room.
    pub(crate) fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }

    /// Maximum time until presence subscribers get a new member count; `None` without presence.
    pub(crate) fn presence_interval(&self) -> Option<Duration> {
        optional_ms(self.presence_interval_ms)
    }
}
