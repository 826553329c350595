//! Which web pages the server serves, and which web pages may use the server.

use clap::Args;
use clap::builder::BoolishValueParser;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Web pages")]
pub(crate) struct PageArgs {
    /// Origin whose pages may use this server, such as `https://talks.example`, or '*' for any; may
    /// be given several times [default: any, on a server that only this machine can reach]
    #[arg(
        long = "allow-origin",
        value_name = "ORIGIN",
        env = "OVATION_ALLOW_ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) allow_origins: Vec<String>,

    /// Serve no pages: neither / and /r/ROOM nor /ovation.js
    #[arg(long, env = "OVATION_NO_PAGES", value_parser = BoolishValueParser::new())]
    pub(crate) no_pages: bool,
}
