//! From settings to a running admin thread.

use std::convert::Infallible;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use super::app::AdminApp;
use super::guard::{Changes, Guard, MIN_TOKEN_BYTES};
use super::sources::Sources;
use crate::os::secret_file::{self, Content, SecretFileError};
use crate::protocol::http::without_port;
use crate::reactor::{
    self, Admission, AdmissionLimits, BindError, ConnectionLimits, ListenAddress, Mailbox, Reactor,
    ReactorParts, SocketOptions, TurnAway,
};

/// Permission bits of a Unix socket's file: only the server's user may connect.
const UNIX_MODE: u32 = 0o600;
/// Default maximum number of connections to the admin side from one address.
pub(crate) const DEFAULT_ADMIN_MAX_PER_ADDRESS: u32 = 16;
/// Default maximum number of connections to the admin side.
pub(crate) const DEFAULT_ADMIN_MAX_CONNECTIONS: usize = 64;
/// Maximum size of a request body, in bytes. The admin side reads no bodies.
const MAX_BODY_BYTES: usize = 1024;
/// Interval at which a silent event stream gets a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Where the admin side listens, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct AdminSettings {
    /// The address.
    pub(crate) address: ListenAddress,
    /// Whether the operator asked for this address. The server doesn't start without an address
    /// that the operator asked for.
    pub(crate) is_explicit: bool,
    /// The file with the token.
    pub(crate) token_file: Option<PathBuf>,
    /// Maximum number of connections.
    pub(crate) max_connections: usize,
    /// Maximum number of connections from one address; not for this machine.
    pub(crate) max_per_address: Option<u32>,
    /// Whether changes need no token where there is none.
    pub(crate) has_free_changes: bool,
    /// How the operator can allow changes, for the response to one that is refused.
    pub(crate) how_to_allow_changes: &'static str,
    /// Words for the log line about a connection that is turned away.
    pub(crate) explain: fn(&TurnAway) -> String,
}

/// Why the admin side can't start.
#[derive(Debug, Error)]
pub(crate) enum AdminError {
    /// Other machines can reach the address, and there is no token to keep them out.
    #[error("the admin address {0} can be reached from other machines, so it needs a token")]
    TokenNeeded(ListenAddress),
    /// The file with the token can't be read.
    #[error("can't read the admin token file {path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SecretFileError,
    },
    /// The file with the token isn't text.
    #[error("the admin token in {0} is not text")]
    NotText(PathBuf),
    /// The token is so short that it can be guessed.
    #[error("the admin token in {0} must have at least {MIN_TOKEN_BYTES} characters")]
    ShortToken(PathBuf),
    /// The address can't be listened on.
    #[error("admin side: {0}")]
    Bind(#[from] BindError),
}

/// The admin side, bound, before its thread runs.
#[derive(Debug)]
pub(crate) struct BoundAdmin {
    parts: ReactorParts<Infallible>,
    guard: Guard,
    admission: Admission,
    /// Maximum number of event streams.
    max_subscribers: usize,
    /// The addresses on which it listens.
    pub(crate) addresses: Vec<ListenAddress>,
}

/// Binds the address of the settings.
///
/// # Errors
/// [`AdminError`] if the address or the token can't be used.
pub(crate) fn bind(settings: &AdminSettings) -> Result<BoundAdmin, AdminError> {
    let token = settings.token_file.as_deref().map(read_token).transpose()?;
    let address = &settings.address;
    if token.is_none() && !address.is_local() {
        return Err(AdminError::TokenNeeded(address.clone()));
    }
    let options = SocketOptions {
        send_buffer_bytes: None,
        unix_mode: Some(UNIX_MODE),
        ..SocketOptions::default()
    };
    let (mut listeners, addresses) = reactor::bind(slice::from_ref(address), 1, &options)?;
    let parts = ReactorParts::new(listeners.pop().unwrap_or_default());
    let parts = parts.map_err(|source| BindError::Io {
        address: address.clone(),
        source,
    })?;
    let (name, is_unix) = match address {
        ListenAddress::Tcp(text) => (Some(without_port(text).to_owned()), false),
        ListenAddress::Unix(_) => (None, true),
    };
    let changes = if is_unix || settings.has_free_changes {
        Changes::Allowed
    } else {
        Changes::Refused(settings.how_to_allow_changes)
    };
    let limits = AdmissionLimits {
        max_connections: settings.max_connections,
        max_per_address: settings.max_per_address,
        min_free_memory_percent: 0,
        // Health is answered however many connections say nothing.
        makes_room: true,
    };
    Ok(BoundAdmin {
        parts,
        guard: Guard::new(token, name, changes),
        admission: Admission::new(limits, settings.explain),
        // The others are left for requests, which give way to newcomers.
        max_subscribers: settings.max_connections / 2,
        addresses,
    })
}

fn read_token(path: &Path) -> Result<String, AdminError> {
    let read = secret_file::read(path, Content::Secret);
    let bytes = read.map_err(|source| AdminError::TokenFile {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8(bytes).map_err(|_| AdminError::NotText(path.to_owned()))?;
    let token = text.trim();
    if token.len() < MIN_TOKEN_BYTES {
        return Err(AdminError::ShortToken(path.to_owned()));
    }
    Ok(token.to_owned())
}

impl BoundAdmin {
    /// The descriptors of the admin side. No reactor may keep copies of them.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.parts.descriptors()
    }

    /// Starts the thread of the admin side, once the reactors run.
    ///
    /// # Errors
    /// The operating system's error if it refuses a thread.
    pub(crate) fn spawn(self, sources: Sources) -> io::Result<AdminThread> {
        let mailbox = Arc::clone(&self.parts.mailbox);
        let metrics = Arc::clone(&self.parts.metrics);
        let limits = ConnectionLimits {
            max_message_bytes: MAX_BODY_BYTES,
            ping_interval: Some(PING_INTERVAL),
            ..ConnectionLimits::default()
        };
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                let app = AdminApp::new(self.guard, sources, metrics, self.max_subscribers);
                let reactor = Reactor::new(self.parts, app, limits, Arc::new(self.admission));
                if let Err(error) = reactor.and_then(Reactor::run) {
                    tracing::error!(%error, "the admin side has stopped; the rooms go on");
                }
            })?;
        Ok(AdminThread { mailbox, thread })
    }
}

/// The thread of the admin side.
#[derive(Debug)]
pub(crate) struct AdminThread {
    mailbox: Arc<Mailbox<Infallible>>,
    thread: JoinHandle<()>,
}

impl AdminThread {
    /// Stops the admin side and waits for its thread.
    pub(crate) fn stop(self) {
        self.mailbox.stop();
        // A thread that panicked has logged it.
        let _ = self.thread.join();
    }
}
