//! Advice: what an operator can do about an error or a limit, in terms of flags. Lower layers
//! report facts as typed errors; this module is the only place that names a flag for them.

pub(crate) mod snapshot;

use std::path::Path;

use super::access::{KeyFileError, KeyFileProblem};
use crate::access::KeyError;
use crate::admin::AdminError;
use crate::os::secret_file::{Content, SecretFileError};
use crate::reactor::{BindError, ListenAddress, TurnAway};

/// A fact, followed by what the operator can do about it.
fn advise(fact: impl ToString, advice: &str) -> String {
    format!("{}; {advice}", fact.to_string())
}

/// Words for an address of the rooms that can't be listened on.
pub(crate) fn bind_error(error: &BindError) -> String {
    match error {
        BindError::InUse(_) => advise(
            error,
            "if another ovation runs there, stop it, or choose another address with --listen",
        ),
        BindError::Io { .. } => advise(error, "choose another address with --listen"),
    }
}

/// Words for an address that other machines can reach before the operator has chosen.
pub(crate) fn undecided(address: &ListenAddress) -> String {
    advise(
        format!("other machines can reach {address}, so choose what they may do"),
        "give --kinds LIST or --any-kind, and --allow-origin ORIGIN or --allow-origin '*'",
    )
}

/// Words for an admin side that can't start.
pub(crate) fn admin_error(error: &AdminError) -> String {
    match error {
        AdminError::TokenNeeded(_) => advise(error, "give it one with --admin-token-file FILE"),
        AdminError::TokenFile { path, source } => match source {
            SecretFileError::OpenToOthers(_) => advise(error, &close(path, Content::Secret)),
            _ => advise(error, "correct --admin-token-file"),
        },
        AdminError::ShortToken(_) | AdminError::NotText(_) => advise(
            error,
            "openssl rand -hex 16 makes one for --admin-token-file",
        ),
        AdminError::Bind(_) => advise(
            error,
            "choose another address with --admin, or turn the admin side off with --no-admin",
        ),
    }
}

/// How an operator allows changes on an admin side without a token.
pub(crate) const ADMIN_CHANGES: &str =
    "start the server with --admin-token-file FILE, or with --admin-changes-without-token";

/// Words for a file of keys for access tokens that can't be used.
pub(crate) fn key_file_error(error: &KeyFileError) -> String {
    let flag = match error.content {
        Content::Secret => "--token-secret-file",
        Content::Public => "--token-key-file",
    };
    match &error.reason {
        KeyFileProblem::File(SecretFileError::OpenToOthers(_)) => {
            advise(error, &close(&error.path, error.content))
        }
        KeyFileProblem::File(_) => advise(error, &format!("correct {flag}")),
        KeyFileProblem::Key(key) => match key {
            KeyError::ShortSecret(_) => {
                advise(error, &format!("openssl rand -hex 32 makes one for {flag}"))
            }
            KeyError::Private => advise(
                error,
                "keep it where tokens are made, and give its public half, which openssl pkey \
                 -pubout writes",
            ),
            KeyError::SecretInSet => advise(error, "give secrets with --token-secret-file"),
            KeyError::RsaBits(_) => advise(error, "make a new one, or one for ES256 or EdDSA"),
            KeyError::TooManyWithoutKid => advise(error, "give keys in a JWKS, each with a kid"),
            KeyError::TooMany => advise(error, "remove those that no longer sign tokens"),
            KeyError::Unknown | KeyError::EmptySet => advise(error, &format!("correct {flag}")),
        },
    }
}

/// Words for a file with a secret that can't be read, or must not be.
pub(crate) fn secret_file_error(path: &Path, error: &SecretFileError) -> String {
    let fact = format!("{}: {error}", path.display());
    match error {
        SecretFileError::OpenToOthers(_) => advise(fact, &close(path, Content::Secret)),
        _ => fact,
    }
}

/// How to close a file to other users.
fn close(path: &Path, content: Content) -> String {
    let mode = match content {
        Content::Secret => 600,
        Content::Public => 644,
    };
    format!("chmod {mode} {}", path.display())
}

/// Words for an admin side that is left out because its default address is in use.
pub(crate) fn admin_left_out(address: &ListenAddress) -> String {
    format!("no admin side: {address} is in use; choose another address with --admin")
}

/// Words for the rooms turning a connection away.
pub(crate) fn turn_away(reason: &TurnAway) -> String {
    match reason {
        TurnAway::ConnectionLimit(_) => advise(reason, "see --max-connections"),
        TurnAway::AddressLimit(_) => advise(
            reason,
            "see --max-connections-per-ip, and --trusted-proxy if that is a proxy's address",
        ),
        TurnAway::MemoryShort(_) => advise(reason, "see --min-free-memory-percent"),
        TurnAway::Accept(_) | TurnAway::Watch(_) => advise(reason, "see ovation doctor"),
    }
}

/// Words for the admin side turning a connection away.
pub(crate) fn admin_turn_away(reason: &TurnAway) -> String {
    match reason {
        TurnAway::ConnectionLimit(_) => advise(
            format!("admin side: {reason}"),
            "see --admin-max-connections",
        ),
        TurnAway::AddressLimit(_) => advise(
            format!("admin side: {reason}"),
            "see --admin-max-connections-per-ip",
        ),
        _ => format!("admin side: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_advises_its_own_flag_for_its_limit() {
        let full = TurnAway::ConnectionLimit(64);
        assert!(turn_away(&full).ends_with("see --max-connections"));
        assert!(admin_turn_away(&full).ends_with("see --admin-max-connections"));
    }
}
