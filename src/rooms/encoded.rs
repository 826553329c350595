//! A JSON message in the two forms in which members get it, encoded once and shared by all.

use bytes::Bytes;

use crate::protocol::http::sse;
use crate::protocol::websocket::frame;

/// A message, encoded.
#[derive(Debug, Clone)]
pub struct Encoded {
    frame: Bytes,
    event: Bytes,
}

impl Encoded {
    /// Encodes the JSON that `write` appends, which has no line ends, in one piece of memory, of
    /// which `size_hint` guesses the length.
    pub(super) fn new(size_hint: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::with_capacity(size_hint);
        bytes.extend_from_slice(sse::START);
        write(&mut bytes);
        let json = sse::START.len()..bytes.len();
        bytes.extend_from_slice(sse::END);
        let event_length = bytes.len();
        frame::encode_header(frame::TEXT, json.len(), &mut bytes);
        bytes.extend_from_within(json);
        let mut event = Bytes::from(bytes);
        let frame = event.split_off(event_length);
        Self { frame, event }
    }

    /// A WebSocket text frame.
    #[inline]
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// An event of an event stream.
    #[inline]
    pub fn event(&self) -> &Bytes {
        &self.event
    }

    /// The JSON.
    pub fn json(&self) -> &[u8] {
        &self.event[sse::START.len()..self.event.len() - sse::END.len()]
    }

    /// The size of both forms, in bytes.
    pub(super) fn len(&self) -> usize {
        self.frame.len() + self.event.len()
    }
}
