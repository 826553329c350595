//! A member of the room `talk` whom nothing that the client does may disturb.

use std::io::{Error, ErrorKind, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Map, Value};
use tungstenite::client::client_with_config;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::{Message, WebSocket};

use super::output::counts;

/// Maximum number of reactions, fewer than the server allows at once.
const MAX_REACTIONS: u64 = 40;

/// A WebSocket client of another implementation.
pub struct Bystander {
    socket: WebSocket<UnixStream>,
    /// The counts that came last.
    pub seen: Map<String, Value>,
    /// Number of reactions sent.
    pub reactions: u64,
}

/// A bystander whose handshake isn't complete.
pub struct Newcomer(MidHandshake<ClientHandshake<UnixStream>>);

impl Newcomer {
    /// Begins the handshake, after the bytes `first`. The stream must not block.
    pub fn connect(mut stream: UnixStream, first: &[u8]) -> Self {
        stream.write_all(first).unwrap();
        match client_with_config("ws://ovation.test/party/talk", stream, None) {
            Err(HandshakeError::Interrupted(handshake)) => Self(handshake),
            other => panic!("{other:?}"),
        }
    }

    /// Completes the handshake, which the server has answered.
    pub fn complete(self) -> Bystander {
        let (socket, _) = self.0.handshake().expect("an answer");
        let (seen, reactions) = Default::default();
        Bystander {
            socket,
            seen,
            reactions,
        }
    }
}

impl Bystander {
    /// Reacts once, unless that could be over the rate that the server allows.
    pub fn react(&mut self) {
        if self.reactions == MAX_REACTIONS {
            return;
        }
        self.reactions += 1;
        self.socket.send(r#"{"kind":"wave"}"#.into()).unwrap();
    }

    /// Reads what there is, and answers pings.
    pub fn pump(&mut self) {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.seen = counts(text.as_bytes()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Err(tungstenite::Error::Io(error)) if would_block(&error) => break,
                other => panic!("the bystander is disturbed: {other:?}"),
            }
        }
        self.socket.flush().unwrap();
    }
}

fn would_block(error: &Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}
