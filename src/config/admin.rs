//! The admin side.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::advice;
use super::limits::MAX_CONNECTIONS;
use super::parse::ranged;
use crate::admin::{
    AdminSettings, DEFAULT_ADMIN, DEFAULT_ADMIN_MAX_CONNECTIONS, DEFAULT_ADMIN_MAX_PER_ADDRESS,
};
use crate::reactor::ListenAddress;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Admin side")]
pub(crate) struct AdminArgs {
    /// Address of health, metrics and the dashboard
    #[arg(long, value_name = "ADDRESS", env = "OVATION_ADMIN",
          help = format!("Address of health, metrics and the dashboard: ADDRESS:PORT or unix:PATH \
                          [default: {DEFAULT_ADMIN}, or none if it is in use]"))]
    admin: Option<ListenAddress>,

    /// Serve no health, metrics or dashboard
    #[arg(long, env = "OVATION_NO_ADMIN", value_parser = BoolishValueParser::new())]
    no_admin: bool,

    /// File with a token that the admin side then requires, as a bearer token or as the password of
    /// any user. Required if other machines can reach the address
    #[arg(long, value_name = "FILE", env = "OVATION_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,

    /// Maximum number of connections to the admin side
    #[arg(long, value_name = "N", env = "OVATION_ADMIN_MAX_CONNECTIONS",
          default_value_t = DEFAULT_ADMIN_MAX_CONNECTIONS,
          value_parser = ranged(1, MAX_CONNECTIONS))]
    admin_max_connections: usize,

    /// Maximum number of connections to the admin side from one IPv4 address or IPv6 /64 network;
    /// not for this machine; 0 for no limit
    #[arg(long, value_name = "N", env = "OVATION_ADMIN_MAX_CONNECTIONS_PER_IP",
          default_value_t = DEFAULT_ADMIN_MAX_PER_ADDRESS)]
    admin_max_connections_per_ip: u32,

    /// Without --admin-token-file, let every program on this machine change rooms. On a Unix
    /// socket, the permissions of its file decide, and this flag does nothing
    #[arg(long, env = "OVATION_ADMIN_CHANGES_WITHOUT_TOKEN", value_parser = BoolishValueParser::new())]
    admin_changes_without_token: bool,
}

impl AdminArgs {
    /// Whether the operator asks for an admin side and for none. Clap's own check would also refuse
    /// `OVATION_NO_ADMIN=false`.
    pub(crate) fn is_contradictory(&self) -> bool {
        self.no_admin && self.admin.is_some()
    }

    /// The settings of the admin side; `None` if there is to be none.
    pub(crate) fn settings(&self) -> Option<AdminSettings> {
        let default = || DEFAULT_ADMIN.parse().ok();
        let address = self.admin.clone().or_else(default)?;
        (!self.no_admin).then(|| AdminSettings {
            address,
            is_explicit: self.admin.is_some(),
            token_file: self.admin_token_file.clone(),
            max_connections: self.admin_max_connections,
            max_per_address: Some(self.admin_max_connections_per_ip).filter(|limit| *limit > 0),
            has_free_changes: self.admin_changes_without_token,
            how_to_allow_changes: advice::ADMIN_CHANGES,
            explain: advice::admin_turn_away,
        })
    }
}
