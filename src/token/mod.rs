//! `ovation token`: the operator's tools for access tokens.
//!
//! - `make`: a new token. `check`: whether a server would accept a token, and what it allows.
//! - `error`: why a tool fails.

mod check;
mod error;
mod make;

use std::io::Write;

use clap::{Args, Subcommand};

pub(crate) use error::TokenError;

/// Make and check access tokens
///
/// Exits with 0 on success, 1 for a token that is refused, 2 for wrong usage or keys.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    New(make::NewArgs),
    Check(check::CheckArgs),
}

/// Runs the tool that the arguments name, and writes its report to `output`. Returns whether the
/// token is accepted.
///
/// # Errors
/// [`TokenError`] if the tool fails.
pub(crate) fn run(args: &TokenArgs, output: &mut impl Write) -> Result<bool, TokenError> {
    match &args.action {
        Action::New(args) => make::run(args, output).map(|()| true),
        Action::Check(args) => check::run(args, output),
    }
}

/// The time in seconds since 1970.
fn now() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed();
    now.unwrap_or_default().as_secs()
}
