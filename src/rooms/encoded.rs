//! A JSON message in the forms of both transports, encoded once and shared by all members.

use bytes::Bytes;

use crate::protocol::http::sse;
use crate::protocol::websocket::frame;

/// A message in the forms of both transports, which share one allocation.
#[derive(Debug, Clone)]
pub struct Encoded {
    frame: Bytes,
    event: Bytes,
}

impl Encoded {
    /// Encodes the JSON that `write` appends. The JSON must have no line ends. `size_hint`
    /// estimates the length of both forms, in bytes.
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

    /// The message as a WebSocket text frame.
    #[inline]
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The message as a server-sent event.
    #[inline]
    pub fn event(&self) -> &Bytes {
        &self.event
    }

    /// The message's JSON.
    pub fn json(&self) -> &[u8] {
        &self.event[sse::START.len()..self.event.len() - sse::END.len()]
    }

    /// The length of both forms, in bytes.
    pub(super) fn len(&self) -> usize {
        self.frame.len() + self.event.len()
    }
}
