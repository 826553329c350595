//! The sessions of clients, over a restart in order.

use std::sync::Arc;

use crate::config::ServeArgs;
use crate::rooms::{SessionFile, SessionTable};

/// The sessions of a server, and the file that carries them to the next one.
pub(super) struct Sessions {
    pub(super) table: Arc<SessionTable>,
    file: Option<SessionFile>,
}

impl Sessions {
    /// Takes over the sessions of the last server, if it stopped in order.
    pub(super) fn open(args: &ServeArgs) -> Self {
        let settings = &args.sessions;
        let file = args.snapshot.path().map(|path| SessionFile::of(path));
        let taken = file.as_ref().map(|file| file.take(settings.max_sessions));
        let saved = taken.unwrap_or(Ok(None)).unwrap_or_else(|error| {
            tracing::warn!(%error, "could not take over the sessions of clients");
            None
        });
        let (server, earlier) = match saved {
            Some(saved) => (saved.server, saved.sessions),
            None => (new_number(), Vec::new()),
        };
        let (max_sessions, memory) = (settings.max_sessions, settings.memory());
        let table = SessionTable::new(server, max_sessions, memory, earlier);
        Self {
            table: Arc::new(table),
            file,
        }
    }

    /// Writes the sessions for the next server. Nothing may be counted any more.
    pub(super) fn save(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.save(self.table.server(), &self.table.all())
        {
            tracing::warn!(%error, "could not save the sessions of clients");
        }
    }
}

/// A number that no other server is likely to have.
fn new_number() -> u32 {
    let mut bytes = [0; 4];
    // Without random numbers, a server may be taken for the one before it.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_le_bytes(bytes)
}
