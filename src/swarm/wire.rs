//! The protocol without sockets: a server's frames and counts, a client's requests and frames.

use std::fmt;
use std::io::Cursor;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Maximum size of a server's message, in bytes.
pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Maximum size of the head of a handshake's response, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Maximum number of headers in a handshake's response.
const MAX_HEADERS: usize = 64;
/// The key of all connections. It proves that the server computed its response, so it need not be
/// secret.
const KEY: &str = "b3ZhdGlvbi1zd2FybS1rZQ==";

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("the response to the handshake is not HTTP/1.1: {0}")]
    Head(String),
    #[error("the response to the handshake has status {0}")]
    Status(u16),
    #[error("the response to the handshake has a wrong Sec-WebSocket-Accept")]
    Accept,
    #[error("a frame breaks RFC 6455: {0}")]
    Frame(&'static str),
    #[error("a message is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    #[error("a message is not an object of counts: {0}")]
    Counts(String),
    #[error("the server closed with code {0}")]
    Closed(u16),
}

/// Returns the upgrade request for one room.
pub(super) fn request(authority: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// Returns the value of `Sec-WebSocket-Accept` that the server must send.
pub(super) fn accept_key() -> String {
    derive_accept_key(KEY.as_bytes())
}

/// Parses the response to [`request`]. Returns its length in bytes; `None` if it is incomplete.
pub(super) fn response_head(bytes: &[u8], accept: &str) -> Result<Option<usize>, WireError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Err(error) => Err(WireError::Head(error.to_string())),
        Ok(httparse::Status::Partial) if bytes.len() > MAX_HEAD_BYTES => {
            Err(WireError::Head("it is too long".into()))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => match response.code {
            Some(101) => {
                let has_accept = response.headers.iter().any(|header| {
                    header.name.eq_ignore_ascii_case("sec-websocket-accept")
                        && header.value == accept.as_bytes()
                });
                has_accept.then_some(Some(length)).ok_or(WireError::Accept)
            }
            status => Err(WireError::Status(status.unwrap_or(0))),
        },
    }
}

/// One whole frame of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFrame<'a> {
    pub(super) fin: bool,
    pub(super) opcode: OpCode,
    pub(super) payload: &'a [u8],
}

/// Parses one frame at the front of `bytes`. Returns the frame and its length; `None` if the frame
/// is incomplete.
pub(super) fn server_frame(bytes: &[u8]) -> Result<Option<(ServerFrame<'_>, usize)>, WireError> {
    let mut cursor = Cursor::new(bytes);
    let Some((header, length)) =
        FrameHeader::parse(&mut cursor).map_err(|_| WireError::Frame("the header is invalid"))?
    else {
        return Ok(None);
    };
    if header.mask.is_some() {
        return Err(WireError::Frame("a server must not mask"));
    }
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(WireError::Frame("a reserved bit is set"));
    }
    if matches!(
        header.opcode,
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_))
    ) {
        return Err(WireError::Frame("the opcode is reserved"));
    }
    let is_control = matches!(header.opcode, OpCode::Control(_));
    if is_control && (length > 125 || !header.is_final) {
        return Err(WireError::Frame("a control frame is long or fragmented"));
    }
    let length = usize::try_from(length).map_err(|_| WireError::TooLong)?;
    if length > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLong);
    }
    let start = usize::try_from(cursor.position()).map_err(|_| WireError::TooLong)?;
    let end = start + length;
    Ok(bytes.get(start..end).map(|payload| {
        (
            ServerFrame {
                fin: header.is_final,
                opcode: header.opcode,
                payload,
            },
            end,
        )
    }))
}

/// Appends a masked frame of a client. Its payload has at most 125 bytes.
pub(super) fn push_masked(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], mask: [u8; 4]) {
    debug_assert!(payload.len() <= 125);
    out.extend([0x80 | u8::from(opcode), 0x80 | payload.len() as u8]);
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
}

/// Whether a message says how many members are present instead of counts, as in `{"$here":7}`. Only
/// presence subscribers receive such messages.
pub(super) fn is_presence(message: &[u8]) -> bool {
    let members = message
        .strip_prefix(br#"{"$here":"#)
        .and_then(|rest| rest.strip_suffix(b"}"));
    members.is_some_and(|members| !members.is_empty() && members.iter().all(u8::is_ascii_digit))
}

/// The kind of reaction that the swarm sends and follows.
#[derive(Debug)]
pub(super) struct TrackedKind {
    name: String,
    sole_count: Vec<u8>,
    message: Vec<u8>,
}

impl TrackedKind {
    /// Returns `None` if a reaction of this kind doesn't fit into a frame of 125 bytes.
    pub(super) fn new(name: &str) -> Option<Self> {
        let json = serde_json::Value::from(name).to_string();
        let message = format!(r#"{{"kind":{json}}}"#).into_bytes();
        (!name.is_empty() && message.len() <= 125).then(|| Self {
            name: name.to_owned(),
            sole_count: format!("{{{json}:").into_bytes(),
            message,
        })
    }

    /// Returns a masked reaction.
    pub(super) fn reaction(&self, mask: [u8; 4]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.reaction_bytes());
        push_masked(&mut frame, OpCode::Data(Data::Text), &self.message, mask);
        frame
    }

    /// Returns the length of a masked reaction on the wire, in bytes.
    pub(super) fn reaction_bytes(&self) -> usize {
        6 + self.message.len()
    }

    /// Returns as many whole masked reactions as fit into `bytes`, but at least one. Each has
    /// another mask.
    pub(super) fn reactions(&self, bytes: usize) -> Vec<u8> {
        let whole = (bytes / self.reaction_bytes()).max(1);
        let mut frames = Vec::with_capacity(whole * self.reaction_bytes());
        let mut mask = 0x9e37_79b9_u32;
        for _ in 0..whole {
            mask = mask.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let mask = mask.to_be_bytes();
            push_masked(&mut frames, OpCode::Data(Data::Text), &self.message, mask);
        }
        frames
    }

    /// Returns the count of this kind in a message of counts.
    pub(super) fn count(&self, message: &[u8]) -> Result<u64, WireError> {
        match self.sole_count(message) {
            Some(count) => Ok(count),
            None if message == b"{}" => Ok(0),
            None => self.count_among_others(message),
        }
    }

    /// Parses the most frequent case, in which the message is exactly `{"KIND":123}`.
    fn sole_count(&self, message: &[u8]) -> Option<u64> {
        let digits = message
            .strip_prefix(self.sole_count.as_slice())?
            .strip_suffix(b"}")?;
        let canonical = digits == b"0" || digits.first().is_some_and(|&first| first != b'0');
        if !canonical || digits.len() > 19 {
            return None;
        }
        digits.iter().try_fold(0_u64, |sum, &digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + u64::from(digit - b'0'))
        })
    }

    fn count_among_others(&self, message: &[u8]) -> Result<u64, WireError> {
        let refuse = |error: serde_json::Error| WireError::Counts(error.to_string());
        let mut json = serde_json::Deserializer::from_slice(message);
        let count = json.deserialize_map(CountOf(&self.name)).map_err(refuse)?;
        json.end().map_err(refuse)?;
        Ok(count)
    }
}

/// Visits an object of counts and returns the last value of one key.
struct CountOf<'a>(&'a str);

impl<'de> Visitor<'de> for CountOf<'_> {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of counts")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<u64, M::Error> {
        let mut count = 0;
        while let Some(kind) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if kind == self.0 {
                count = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> TrackedKind {
        TrackedKind::new("swarm").unwrap()
    }

    #[test]
    fn a_count_is_found_alone_and_among_others() {
        let kind = kind();
        assert_eq!(kind.count(b"{}"), Ok(0));
        assert_eq!(kind.count(br#"{"swarm":0}"#), Ok(0));
        assert_eq!(kind.count(br#"{"swarm":42}"#), Ok(42));
        assert_eq!(kind.count(br#" { "swarm" : 42 } "#), Ok(42));
        assert_eq!(kind.count(br#"{"love":3,"swarm":7,"x":1}"#), Ok(7));
        assert_eq!(kind.count(br#"{"sw\u0061rm":7}"#), Ok(7));
        assert_eq!(
            kind.count(br#"{"swarm":18446744073709551615}"#),
            Ok(u64::MAX)
        );
        assert_eq!(kind.count(br#"{"love":3}"#), Ok(0));
    }

    #[test]
    fn presence_messages_are_told_from_counts() {
        assert!(is_presence(br#"{"$here":7}"#));
        for counts in [
            "{}",
            r#"{"swarm":7}"#,
            r#"{"$here":}"#,
            r#"{"$here":7,"swarm":1}"#,
            r#"{"$here":7"#,
            r#"{"$herein":7}"#,
        ] {
            assert!(!is_presence(counts.as_bytes()), "{counts}");
        }
    }

    #[test]
    fn messages_other_than_counts_are_refused() {
        let kind = kind();
        for bad in [
            "",
            "[]",
            "3",
            r#"{"swarm":-1}"#,
            r#"{"swarm":1.5}"#,
            r#"{"swarm":01}"#,
            r#"{"swarm":}"#,
            r#"{"swarm":1}x"#,
            r#"{"swarm":"1"}"#,
            r#"{"swarm":1"#,
        ] {
            assert!(kind.count(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn frames_are_parsed_only_when_complete() {
        let bytes = b"\x81\x0c{\"swarm\":12}\x89\x01p";
        for cut in 0..14 {
            assert_eq!(server_frame(&bytes[..cut]), Ok(None), "{cut}");
        }
        let (frame, used) = server_frame(bytes).unwrap().unwrap();
        assert_eq!((frame.payload, used), (&br#"{"swarm":12}"#[..], 14));
        let (frame, used) = server_frame(&bytes[14..]).unwrap().unwrap();
        assert_eq!(frame.opcode, OpCode::Control(Control::Ping));
        assert_eq!((frame.payload, used), (&b"p"[..], 3));
    }

    #[test]
    fn bad_frames_are_refused() {
        for bad in [
            &b"\x81\x81abcdx"[..],
            b"\xc1\x00",
            b"\x83\x00",
            b"\x09\x00",
            b"\x89\x7e\x00\x7f",
            b"\x81\x7f\x00\x00\x00\x00\x00\x10\x00\x01",
        ] {
            assert!(server_frame(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_response_to_the_handshake_is_checked() {
        let accept = accept_key();
        let head = format!("HTTP/1.1 101 x\r\nsec-websocket-accept: {accept}\r\n\r\n");
        assert_eq!(
            response_head(head.as_bytes(), &accept),
            Ok(Some(head.len()))
        );
        assert_eq!(response_head(&head.as_bytes()[..30], &accept), Ok(None));
        let busy = b"HTTP/1.1 503 Busy\r\n\r\n";
        assert_eq!(response_head(busy, &accept), Err(WireError::Status(503)));
        let bare = b"HTTP/1.1 101 x\r\n\r\n";
        assert_eq!(response_head(bare, &accept), Err(WireError::Accept));
        assert!(response_head(b"SSH-2.0-x\r\n", &accept).is_err());
    }

    #[test]
    fn reactions_differ_only_in_their_masks() {
        let kind = kind();
        assert_eq!(kind.reaction_bytes(), 22);
        let frames = kind.reactions(64 << 10);
        assert_eq!(frames.len() % 22, 0);
        assert_ne!(frames[2..6], frames[24..28]);
        for frame in frames.chunks(22) {
            let plain: Vec<u8> = (0..16).map(|i| frame[6 + i] ^ frame[2 + i % 4]).collect();
            assert_eq!(plain, br#"{"kind":"swarm"}"#);
        }
    }

    #[test]
    fn kinds_have_a_length_limit() {
        assert!(TrackedKind::new("").is_none());
        assert!(TrackedKind::new(&"x".repeat(114)).is_some());
        assert!(TrackedKind::new(&"x".repeat(115)).is_none());
    }
}
