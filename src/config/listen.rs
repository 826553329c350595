//! Where the rooms listen, and with how many reactors.

use clap::Args;
use clap::builder::BoolishValueParser;

use super::parse::{host_name, ranged};
use crate::os::descriptors::FdTables;
use crate::reactor::{ListenAddress, Naming, TrustedProxies, TrustedProxy};
use crate::rooms::MAX_REACTORS;

/// Default address: PartyKit's own development port.
const DEFAULT_LISTEN: &str = "127.0.0.1:1999";

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct ListenArgs {
    /// Address to listen on: ADDRESS:PORT or unix:PATH; may be given several times
    #[arg(long, value_name = "ADDRESS", env = "OVATION_LISTEN", value_delimiter = ',',
          default_value = DEFAULT_LISTEN)]
    pub(crate) listen: Vec<ListenAddress>,

    /// Name by which clients may address this server, without port, such as talks.example; may be
    /// given several times. Requests with another name in Host get 421 [default: any]
    #[arg(long = "host", value_name = "NAME", env = "OVATION_HOST", value_delimiter = ',',
          value_parser = host_name)]
    pub(crate) hosts: Vec<String>,

    /// Number of reactor threads [default: one per core]
    #[arg(long, value_name = "N", env = "OVATION_REACTORS", value_parser = ranged(1, MAX_REACTORS))]
    pub(crate) reactors: Option<usize>,

    /// Tables of file descriptors: per-reactor lets each reactor have as many connections as
    /// RLIMIT_NOFILE allows (Linux)
    #[arg(
        long,
        value_name = "WHICH",
        env = "OVATION_FD_TABLES",
        default_value = "per-reactor"
    )]
    pub(crate) fd_tables: FdTables,

    /// Proxy that may name its clients: an address, a network such as 10.0.0.0/8, or unix for
    /// every peer on a Unix socket; may be given several times. Limits by address then apply to the
    /// client that the proxy names in Forwarded or X-Forwarded-For [default: none]
    #[arg(
        long = "trusted-proxy",
        value_name = "NETWORK",
        env = "OVATION_TRUSTED_PROXY",
        value_delimiter = ','
    )]
    trusted_proxies: Vec<TrustedProxy>,

    /// Trusted proxies name their clients by the PROXY protocol, version 1 or 2, and every
    /// connection from them must begin with its header
    #[arg(long, env = "OVATION_PROXY_PROTOCOL", value_parser = BoolishValueParser::new())]
    proxy_protocol: bool,
}

impl ListenArgs {
    /// The number of reactors to run.
    pub(crate) fn reactor_count(&self) -> usize {
        reactor_count(self.reactors)
    }

    /// Whether proxies must name their clients by a protocol, but no proxy may. Clap's own check
    /// knows only one of the forms of a true value in the environment.
    pub(crate) fn lacks_proxies(&self) -> bool {
        self.proxy_protocol && self.trusted_proxies.is_empty()
    }

    /// The proxies that may name their clients.
    pub(crate) fn trusted_proxies(&self) -> TrustedProxies {
        TrustedProxies {
            proxies: self.trusted_proxies.clone(),
            naming: if self.proxy_protocol {
                Naming::ProxyHeader
            } else {
                Naming::Fields
            },
        }
    }
}

/// The number of reactors to run if the operator asks for `asked`.
pub(crate) fn reactor_count(asked: Option<usize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if cfg!(target_os = "linux") {
        asked.unwrap_or_else(cores).min(MAX_REACTORS)
    } else {
        // Elsewhere SO_REUSEPORT doesn't spread connections over sockets.
        1
    }
}
