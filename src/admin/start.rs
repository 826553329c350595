//! From settings to a running admin thread.

use std::fs;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use super::guard::{Guard, MIN_TOKEN_BYTES, without_port};
use super::{Admin, Sources};
use crate::reactor::{
    Admission, Bell, BindError, Limits, ListenAddress, Reactor, Seed, SocketOptions, bind,
};

/// The default of the most connections that the admin side has at once.
pub const DEFAULT_ADMIN_MAX_CONNECTIONS: usize = 64;
/// The largest body of a request to it, in bytes: it reads none.
const MAX_BODY_BYTES: usize = 1024;
/// How often a listener that gets nothing is told that the server is there.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Where and for whom to listen.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// The address.
    pub address: ListenAddress,
    /// Whether the operator asked for this address: then the server does not go on without.
    pub is_explicit: bool,
    /// The file that has the token.
    pub token_file: Option<PathBuf>,
    /// The most connections at once.
    pub max_connections: usize,
}

/// Why the admin side can't start.
#[derive(Debug, Error)]
pub enum AdminError {
    /// An address that others can reach, and nothing that keeps them out.
    #[error(
        "--admin {0}: an address that is not of this machine alone needs --admin-token-file FILE"
    )]
    TokenNeeded(ListenAddress),
    /// A token that can't be read.
    #[error("--admin-token-file {path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A token that can be guessed.
    #[error(
        "--admin-token-file {0}: the token must have at least {MIN_TOKEN_BYTES} characters, such as openssl rand -hex 16 gives"
    )]
    ShortToken(PathBuf),
    /// An address that can't be listened on.
    #[error("--admin {address}: {source}; choose another address, or --no-admin")]
    Bind {
        /// The address.
        address: ListenAddress,
        /// What the operating system said.
        source: io::Error,
    },
}

impl AdminError {
    /// Whether it is the address that can't be had, and not what the operator said that is wrong.
    pub fn is_of_address(&self) -> bool {
        matches!(self, Self::Bind { .. })
    }
}

/// The admin side before its thread runs.
#[derive(Debug)]
pub struct Listening {
    seed: Seed,
    guard: Guard,
    max_connections: usize,
    /// Where it listens.
    pub addresses: Vec<ListenAddress>,
}

/// Listens as the settings say. `None` if the default address is taken: a second server on this
/// machine is no reason to stop.
///
/// # Errors
/// [`AdminError`].
pub fn listen(settings: &AdminSettings) -> Result<Option<Listening>, AdminError> {
    let token = settings.token_file.as_ref().map(read_token).transpose()?;
    if token.is_none() && !is_local(&settings.address) {
        return Err(AdminError::TokenNeeded(settings.address.clone()));
    }
    let options = SocketOptions {
        send_buffer_bytes: None,
        ..SocketOptions::default()
    };
    let name = match &settings.address {
        ListenAddress::Tcp(text) => Some(without_port(text).to_owned()),
        ListenAddress::Unix(_) => None,
    };
    let failed = |source| AdminError::Bind {
        address: settings.address.clone(),
        source,
    };
    let (mut listeners, addresses) = match bind(slice::from_ref(&settings.address), 1, &options) {
        Ok(bound) => bound,
        Err(BindError::InUse(address)) if !settings.is_explicit => {
            tracing::warn!(%address, "no admin: the address is in use; see --admin");
            return Ok(None);
        }
        Err(BindError::InUse(_)) => return Err(failed(io::ErrorKind::AddrInUse.into())),
        Err(BindError::Io { source, .. }) => return Err(failed(source)),
    };
    let seed = Seed::new(listeners.pop().unwrap_or_default()).map_err(failed)?;
    Ok(Some(Listening {
        seed,
        guard: Guard::new(token, name),
        max_connections: settings.max_connections,
        addresses,
    }))
}

fn read_token(path: &PathBuf) -> Result<String, AdminError> {
    let text = fs::read_to_string(path).map_err(|source| AdminError::TokenFile {
        path: path.clone(),
        source,
    })?;
    let token = text.trim();
    if token.len() < MIN_TOKEN_BYTES {
        return Err(AdminError::ShortToken(path.clone()));
    }
    Ok(token.to_owned())
}

/// Whether only this machine can reach the address. One that can't be resolved fails later.
fn is_local(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Unix(_) => true,
        ListenAddress::Tcp(text) => text.to_socket_addrs().map_or(true, |mut addresses| {
            addresses.all(|it| it.ip().to_canonical().is_loopback())
        }),
    }
}

impl Listening {
    /// Its descriptors, of which no reactor is to keep copies.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.seed.descriptors()
    }

    /// Starts its thread, once the reactors run.
    ///
    /// # Errors
    /// What the operating system says where there can't be another thread.
    pub fn spawn(self, sources: Sources) -> io::Result<Running> {
        let bell = Arc::clone(&self.seed.bell);
        let limits = Limits {
            max_message_bytes: MAX_BODY_BYTES,
            ping_interval: Some(PING_INTERVAL),
            ..Limits::default()
        };
        let admission = Admission::new(self.max_connections, None, 0);
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                let app = Admin::new(self.guard, sources);
                let reactor = Reactor::new(self.seed, app, limits, Arc::new(admission));
                if let Err(error) = reactor.and_then(Reactor::run) {
                    tracing::error!(%error, "the admin side has ended; the rooms go on");
                }
            })?;
        Ok(Running { bell, thread })
    }
}

/// The admin side while its thread runs.
#[derive(Debug)]
pub struct Running {
    bell: Arc<Bell>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Stops it and waits for that.
    pub fn stop(self) {
        self.bell.stop();
        // If it panicked, it has said so itself.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_is_not_local() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("localhost:1", true),
            ("unix:/tmp/admin", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(is_local(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
