//! Exposed means explicit: a server that other machines can reach starts only after the operator
//! has chosen kinds and origins. On this machine alone everything is open, so that the first try is
//! easy.

use super::ServeArgs;
use crate::reactor::ListenAddress;

/// The address that other machines can reach while the operator has not chosen kinds and origins,
/// if there is one.
pub(crate) fn undecided(args: &ServeArgs) -> Option<&ListenAddress> {
    let has_kinds = args.rooms.kinds.is_some() || args.rooms.any_kind;
    if has_kinds && !args.pages.allow_origins.is_empty() {
        return None;
    }
    args.listen
        .listen
        .iter()
        .find(|address| !address.is_local())
}
