//! The client of a connection, as an application may ask for it.

use std::net::IpAddr;

use socket2::Socket;

use super::gate::Gate;

/// The client of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Client<'c> {
    pub(super) key: u32,
    pub(super) socket: &'c Socket,
    pub(super) gate: &'c Gate,
}

impl Client<'_> {
    /// The client's address, if limits by address apply to it: behind a trusted proxy, the address
    /// that the proxy names. A client on this machine that no proxy names has no limits. This may
    /// take a system call, so ask only when a limit depends on it.
    #[cold]
    pub fn limited_address(&self) -> Option<IpAddr> {
        self.gate.client(self.key, self.socket)
    }
}
