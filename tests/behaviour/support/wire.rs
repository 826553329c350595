//! Exact WebSocket frames, including those that no client library would send.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::{Http, Server, reaction, upgrade_head};

/// The bit that ends a message. The first byte of a frame is this, the reserved bits and the
/// opcode.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
/// The bit of a frame's second byte that says that the payload is masked.
const MASKED: u8 = 0x80;
/// Values of the 7-bit length that announce a length of 2 or 8 bytes.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, reserved bits and opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// Encodes a masked frame whose length has the shortest form. `first` is FIN, reserved bits and
/// opcode.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let bytes = match length {
        0..126 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    frame_with_length(first, bytes, length as u64, payload)
}

/// Encodes a reaction of `kind` as a masked frame.
pub(crate) fn reaction_frame(kind: &str) -> Vec<u8> {
    masked(FIN | TEXT, reaction(kind).as_bytes())
}

/// Encodes a masked frame that announces `length` bytes, whatever its payload is. The extended
/// length has `bytes` bytes: 0, 2 or 8.
pub(crate) fn frame_with_length(first: u8, bytes: usize, length: u64, payload: &[u8]) -> Vec<u8> {
    let short = match bytes {
        0 => u8::try_from(length).expect("it fits"),
        2 => LENGTH_16,
        _ => LENGTH_64,
    };
    let mut frame = vec![first, MASKED | short];
    frame.extend_from_slice(&length.to_be_bytes()[8 - bytes..]);
    frame.extend_from_slice(&MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// Encodes the payload of a close frame.
pub(crate) fn close_payload(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_ref()].concat()
}

/// An open WebSocket whose frames the test reads and writes itself.
#[derive(Debug)]
pub(crate) struct RawSocket {
    stream: BufReader<TcpStream>,
}

impl RawSocket {
    /// Joins a room and reads its counts.
    pub(crate) fn enter(server: &Server, room: &str) -> Self {
        let mut http = Http::connect(server);
        http.send(upgrade_head(&format!("/party/{room}"), ""));
        assert_eq!(http.response().status, 101);
        let mut socket = Self::after(http);
        assert_eq!(socket.frame().first, FIN | TEXT, "the counts come first");
        socket
    }

    /// Takes over an upgraded connection.
    pub(crate) fn after(http: Http) -> Self {
        Self {
            stream: http.into_inner(),
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let sent = self.stream.get_mut().write_all(bytes);
        sent.unwrap_or_else(|error| panic!("can't send: {error}"));
    }

    /// Reads the next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        self.try_frame()
            .expect("a frame, not the end of the connection")
    }

    /// Reads the next frame. Returns `None` if the connection ends between two frames.
    pub(crate) fn try_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("expected a frame or the end, got {error}"),
        }
        assert_eq!(head[1] & MASKED, 0, "a server must not mask its frames");
        let length = match head[1] {
            LENGTH_16 => u64::from(u16::from_be_bytes(self.bytes())),
            LENGTH_64 => u64::from_be_bytes(self.bytes()),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).expect("a sane length")];
        self.stream
            .read_exact(&mut payload)
            .expect("the announced payload");
        Some(Frame {
            first: head[0],
            payload,
        })
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream
            .read_exact(&mut bytes)
            .expect("the announced length");
        bytes
    }

    /// Reads the next frame, which must be text.
    pub(crate) fn text(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.first, FIN | TEXT, "expected text, got {frame:?}");
        String::from_utf8(frame.payload).expect("UTF-8")
    }
}
