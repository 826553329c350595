//! An open connection as the application sees it, and what fan-outs send to it.

use bytes::Bytes;
use mio::Token;
use socket2::Socket;

use super::close_reason::CloseReason;
use super::connection::{Flags, Output};
use super::metrics::ReactorMetrics;
use super::socket::write;

/// What the server speaks on an open connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket frames.
    WebSocket,
    /// Server-sent events.
    EventStream,
}

/// What became of a frame that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The socket took the frame, or its start; the reactor keeps the rest until the socket drains.
    Yes,
    /// The socket is full, and the reactor does not keep the frame. It will call
    /// [`super::App::drained`].
    Full,
    /// The connection has failed; the reactor will close it.
    Failed,
}

/// An open connection and its member.
#[derive(Debug)]
pub struct OpenConnection<'c, M> {
    /// What the application keeps of the connection.
    pub member: &'c mut M,
    /// What the server speaks on the connection.
    pub transport: Transport,
    pub(super) token: Token,
    pub(super) socket: &'c Socket,
    pub(super) output: &'c mut Option<Box<Output>>,
    pub(super) flags: &'c mut Flags,
    pub(super) failed: &'c mut Vec<(Token, CloseReason)>,
    pub(super) metrics: &'c ReactorMetrics,
}

impl<M> OpenConnection<'_, M> {
    /// Sends a frame or event that connections share. If the socket takes a part of it, the
    /// reactor keeps the rest until the socket drains. If the socket takes nothing, the frame is
    /// not kept: the newest state follows when the socket drains.
    #[inline]
    pub fn send(&mut self, frame: &Bytes) -> Sent {
        // A full socket isn't tried again before it reports that it has room.
        if self.output.is_some() || self.flags.has(Flags::LAGGING) {
            return self.full();
        }
        match write(self.socket, frame) {
            Ok(0) => self.full(),
            Ok(sent) => {
                self.flags.set(Flags::ACTIVE);
                self.metrics.frames_sent.add(1);
                if sent < frame.len() {
                    self.output.get_or_insert_default().rest = frame.slice(sent..);
                }
                Sent::Yes
            }
            Err(_) => {
                self.failed.push((self.token, CloseReason::SocketError));
                Sent::Failed
            }
        }
    }

    #[cold]
    fn full(&mut self) -> Sent {
        self.flags.set(Flags::LAGGING);
        self.metrics.frames_conflated.add(1);
        Sent::Full
    }
}
