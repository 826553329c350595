//! What the client receives: whole responses, then whole frames or events, and nothing else.

use serde_json::{Map, Value};

use super::frames::{Frame, Read, Sender, read};
use super::script::KEY;

/// The answer to [`KEY`] (RFC 6455, section 1.3).
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What the client has received.
#[derive(Debug, Default)]
pub struct Received {
    /// The counts that came last, over WebSocket.
    pub last_counts: Option<Map<String, Value>>,
    /// Whether the last thing received has an end that didn't come.
    pub is_cut: bool,
    /// Whether the connection is a WebSocket that the server has not closed.
    pub is_open: bool,
}

/// Checks all bytes that the client has received. `sent` are those that it has sent.
///
/// # Panics
/// If the server has sent something that it must not send.
pub fn check(mut bytes: &[u8], sent: &[u8]) -> Received {
    let mut received = Received::default();
    while !bytes.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(bytes).expect("a valid response") {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => {
                received.is_cut = true;
                return received;
            }
        };
        bytes = &bytes[length..];
        let field = |name: &str| {
            let mut found = response.headers.iter();
            let found = found.find(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| std::str::from_utf8(field.value).unwrap())
        };
        let status = response.code.unwrap();
        assert!(matches!(status, 101 | 200..600), "{status}");
        if status == 101 {
            let is_known = sent.windows(KEY.len()).any(|it| it == KEY.as_bytes());
            assert!(!is_known || field("sec-websocket-accept") == Some(ACCEPT));
            check_frames(bytes, &mut received);
            return received;
        }
        if field("content-type") == Some("text/event-stream") {
            received.is_cut = check_events(bytes);
            return received;
        }
        let length: usize = field("content-length").map_or(0, |it| it.parse().unwrap());
        // A response to HEAD has no body. No body begins like the next response.
        if bytes.starts_with(b"HTTP/1.1 ") || bytes.is_empty() {
            continue;
        }
        let Some(rest) = bytes.get(length..) else {
            received.is_cut = true;
            return received;
        };
        if field("content-type") == Some("application/json") {
            message(&bytes[..length]);
        }
        let is_last = field("connection").is_some_and(|it| it.contains("close"));
        assert!(
            !is_last || rest.is_empty(),
            "bytes follow the last response"
        );
        bytes = rest;
    }
    received
}

fn check_frames(mut bytes: &[u8], received: &mut Received) {
    let mut is_first = true;
    received.is_open = true;
    while !bytes.is_empty() {
        let Frame {
            is_final,
            opcode,
            payload,
        } = match read(bytes, Sender::Server) {
            Read::Frame(frame, length) => {
                bytes = &bytes[length..];
                frame
            }
            Read::Unfinished => {
                received.is_cut = true;
                return;
            }
            Read::Violation(violation) => panic!("the server sends {violation}"),
        };
        assert!(is_final, "the server sends a fragment");
        assert!(received.is_open, "a frame follows the close frame");
        assert!(
            !is_first || opcode == 1 || opcode == 8,
            "a message comes first"
        );
        match opcode {
            1 => {
                if let Message::Counts(new) = message(&payload) {
                    assert_risen(received.last_counts.as_ref(), &new);
                    received.last_counts = Some(new);
                }
            }
            8 => {
                assert_ne!(payload.len(), 1);
                if let Some((code, reason)) = payload.split_first_chunk() {
                    let code = u16::from_be_bytes(*code);
                    assert!(matches!(code, 1000..=1014 | 3000..=4999), "{code}");
                    assert!(!matches!(code, 1004..=1006), "{code}");
                    std::str::from_utf8(reason).expect("a reason in UTF-8");
                }
                received.is_open = false;
            }
            9 | 10 => {}
            other => panic!("the server sends the opcode {other}"),
        }
        is_first = false;
    }
}

/// Checks an event stream. Returns whether its last event isn't whole.
fn check_events(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).expect("a stream in UTF-8");
    let mut events: Vec<&str> = text.split("\n\n").collect();
    let rest = events.pop().unwrap_or_default();
    let last = events.len().saturating_sub(1);
    for (index, event) in events.into_iter().enumerate() {
        match event.split_once('\n') {
            None if event == ":" => {}
            None => {
                let data = event.strip_prefix("data: ").expect("data or a comment");
                message(data.as_bytes());
            }
            Some((name, data)) => {
                assert_eq!((name, index), ("event: close", last));
                let code = data.strip_prefix("data: ").unwrap();
                code.parse::<u16>().unwrap();
            }
        }
    }
    !rest.is_empty()
}

/// A message of the server.
#[derive(Debug)]
pub enum Message {
    Counts(Map<String, Value>),
    /// Anything else, whose keys begin with a dollar sign.
    Other,
}

/// Parses a message of the server.
pub fn message(text: &[u8]) -> Message {
    let object: Map<String, Value> = serde_json::from_slice(text).expect("a JSON object");
    if object.keys().any(|key| key.starts_with('$')) {
        return Message::Other;
    }
    assert!(object.values().all(Value::is_u64), "{object:?}");
    Message::Counts(object)
}

/// Parses counts.
pub fn counts(text: &[u8]) -> Map<String, Value> {
    match message(text) {
        Message::Counts(counts) => counts,
        Message::Other => panic!("no counts"),
    }
}

fn assert_risen(old: Option<&Map<String, Value>>, new: &Map<String, Value>) {
    for (kind, count) in old.into_iter().flatten() {
        let now = new.get(kind).and_then(Value::as_u64);
        assert!(now >= count.as_u64(), "{kind} fell from {count} to {now:?}");
    }
}
