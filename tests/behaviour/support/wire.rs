//! WebSocket frames to the byte, also such as no client library would send.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::{Http, Server, upgrade_head};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, RSV and opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// A masked frame with its length in the shortest form. `first` is FIN, RSV and opcode.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let bytes = match length {
        0..126 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    frame_with_length(first, bytes, length as u64, payload)
}

/// A masked frame that says that it has `length` bytes, in a length field of 0, 2 or 8 bytes
/// besides the first, whatever its payload.
pub(crate) fn frame_with_length(first: u8, bytes: usize, length: u64, payload: &[u8]) -> Vec<u8> {
    let short = match bytes {
        0 => u8::try_from(length).expect("it fits"),
        2 => 126,
        _ => 127,
    };
    let mut frame = vec![first, 0x80 | short];
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

/// The payload of a close frame.
pub(crate) fn close_payload(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_ref()].concat()
}

/// An open WebSocket on which the test does everything by hand.
#[derive(Debug)]
pub(crate) struct RawSocket {
    stream: BufReader<TcpStream>,
}

impl RawSocket {
    /// Enters a room and reads its counts.
    pub(crate) fn enter(server: &Server, room: &str) -> Self {
        let mut http = Http::connect(server);
        http.send(upgrade_head(&format!("/party/{room}"), ""));
        assert_eq!(http.response().status, 101);
        let mut socket = Self::after(http);
        assert_eq!(socket.frame().first, 0x81, "the counts come first");
        socket
    }

    /// Takes over a connection that was upgraded.
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

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        self.try_frame()
            .expect("a frame, not the end of the connection")
    }

    /// The next frame; `None` if the connection ends in order before it.
    pub(crate) fn try_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("expected a frame or the end, got {error}"),
        }
        assert_eq!(head[1] & 0x80, 0, "a server's frame is not masked");
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.bytes())),
            127 => u64::from_be_bytes(self.bytes()),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).expect("a sane length")];
        self.stream
            .read_exact(&mut payload)
            .expect("the payload that was announced");
        Some(Frame {
            first: head[0],
            payload,
        })
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream
            .read_exact(&mut bytes)
            .expect("the length that was announced");
        bytes
    }

    /// The next frame, which must be text.
    pub(crate) fn text(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.first, 0x81, "expected text, got {frame:?}");
        String::from_utf8(frame.payload).expect("UTF-8")
    }
}
