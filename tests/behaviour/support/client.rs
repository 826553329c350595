//! A WebSocket client made of tungstenite, over a stream with time limits.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{ClientRequestBuilder, Error, Message, WebSocket};

use super::{PATIENCE, Server};

/// The counts of a room, in the order in which the server sent them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts(Vec<(String, u64)>);

impl Counts {
    pub(crate) fn parse(text: &str) -> Self {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("not a JSON object: {error}: {text}"));
        let count = |(kind, count): (String, serde_json::Value)| {
            let count = count.as_u64();
            (kind, count.unwrap_or_else(|| panic!("not a count: {text}")))
        };
        Self(object.into_iter().map(count).collect())
    }

    /// Returns the first counts that are wanted. No count may go down before that.
    pub(super) fn wait_for(
        mut next: impl FnMut() -> Self,
        is_wanted: impl Fn(&Self) -> bool,
    ) -> Self {
        let mut last = Self::default();
        loop {
            let counts = next();
            assert!(counts.covers(&last), "{last} went down to {counts}");
            if is_wanted(&counts) {
                return counts;
            }
            last = counts;
        }
    }

    pub(crate) fn of(&self, kind: &str) -> u64 {
        let found = self.0.iter().find(|(known, _)| known == kind);
        found.map_or(0, |(_, count)| *count)
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(kind, _)| kind.as_str())
    }

    /// Whether no count is lower than in `other`.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(kind, count)| self.of(kind) >= *count)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_map()
            .entries(self.0.iter().map(|(kind, count)| (kind, count)))
            .finish()
    }
}

/// Encodes a reaction of `kind`.
pub(crate) fn reaction(kind: &str) -> String {
    serde_json::json!({ "kind": kind }).to_string()
}

/// Connects with time limits.
pub(crate) fn dial(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address())
        .unwrap_or_else(|error| panic!("can't connect to {}: {error}", server.address()));
    limited(stream)
}

/// Connects with a receive buffer of `bytes`, so that the kernel keeps as little as possible for
/// a client that doesn't read.
pub(crate) fn dial_with_small_buffer(server: &Server, bytes: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(bytes).expect("TCP");
    let address: SocketAddr = server.address().parse().expect("an IP address");
    let connected = socket.connect(&address.into());
    connected.unwrap_or_else(|error| panic!("can't connect to {address}: {error}"));
    limited(socket.into())
}

fn limited(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_nodelay(true).expect("TCP");
    stream
}

/// A member of a room.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: WebSocket<S>,
}

impl Client {
    /// Opens `target`. The first message is not read yet.
    pub(crate) fn open(server: &Server, target: &str) -> Self {
        Self::over(dial(server), target)
    }

    /// Opens `target` as a page of `origin` does, if there is one. Reads no message.
    pub(crate) fn open_from(server: &Server, target: &str, origin: Option<&str>) -> Self {
        Self::upgrade(dial(server), target, origin)
    }

    /// Joins a room of the party `main` and reads its counts.
    pub(crate) fn join(server: &Server, room: &str) -> (Self, Counts) {
        let mut client = Self::open(server, &format!("/party/{room}"));
        let counts = client.next_counts();
        (client, counts)
    }

    /// Joins a room whose counts don't matter.
    pub(crate) fn enter(server: &Server, room: &str) -> Self {
        Self::join(server, room).0
    }

    /// Joins a room through another of the server's addresses.
    pub(crate) fn enter_at(address: &str, room: &str) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("can't connect to {address}: {error}"));
        let mut client = Self::over(limited(stream), &format!("/party/{room}"));
        client.next_text();
        client
    }
}

impl<S: Read + Write> Client<S> {
    /// Opens `target` over a connected stream.
    pub(crate) fn over(stream: S, target: &str) -> Self {
        Self::upgrade(stream, target, None)
    }

    fn upgrade(stream: S, target: &str, origin: Option<&str>) -> Self {
        // The default is 128 KiB per client.
        let config = WebSocketConfig::default().read_buffer_size(8192);
        let uri = format!("ws://ovation.test{target}").parse();
        let mut request = ClientRequestBuilder::new(uri.expect("a URI"));
        if let Some(origin) = origin {
            request = request.with_header("Origin", origin);
        }
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => Self { socket },
            Err(tungstenite::HandshakeError::Failure(error)) => panic!("{target}: {error}"),
            Err(tungstenite::HandshakeError::Interrupted(_)) => {
                panic!("{target}: no answer to the handshake in {PATIENCE:?}")
            }
        }
    }

    pub(crate) fn react(&mut self, kind: &str) {
        self.send(reaction(kind));
    }

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        let sent = self.socket.send(message.into());
        sent.unwrap_or_else(|error| panic!("can't send: {error}"));
    }

    /// Reads until the next text. Answers pings.
    pub(crate) fn next_text(&mut self) -> String {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return text.as_str().to_owned(),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(other) => panic!("expected text, got {other:?}"),
                // The kernel doesn't restart a read with a timeout after a signal.
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("expected text, got the error {error}"),
            }
        }
    }

    pub(crate) fn next_counts(&mut self) -> Counts {
        Counts::parse(&self.next_text())
    }

    /// Reads until the counts are wanted. No count may go down before that.
    pub(crate) fn wait_for(&mut self, is_wanted: impl Fn(&Counts) -> bool) -> Counts {
        Counts::wait_for(|| self.next_counts(), is_wanted)
    }

    /// Reads until the next close frame and returns its code.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(error) => panic!("expected a close frame, got the error {error}"),
            }
        }
    }
}
