//! The client of a connection, as an application may ask for it.

use std::net::IpAddr;

use socket2::Socket;

use super::gate::Gate;

/// The client of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Client<'c> {
    key: u32,
    socket: &'c Socket,
    gate: &'c Gate,
}

impl<'c> Client<'c> {
    /// The client of the connection at `key`.
    pub(super) fn new(key: u32, socket: &'c Socket, gate: &'c Gate) -> Self {
        Self { key, socket, gate }
    }

    /// The key of the connection.
    pub fn key(&self) -> u32 {
        self.key
    }

    /// The client's address, if limits by address apply to it: behind a trusted proxy, the address
    /// that the proxy names. A client on this machine that no proxy names has no limits. This may
    /// take a system call, so ask only when a limit depends on it.
    #[cold]
    pub fn limited_address(&self) -> Option<IpAddr> {
        self.gate.client(self.key, self.socket)
    }
}
