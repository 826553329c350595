//! A JSON message in the two forms in which members get it, encoded once and shared by all.

use std::ops::Range;

use bytes::Bytes;

use crate::protocol::{events, frame};

/// A message, encoded.
#[derive(Debug, Clone)]
pub struct Encoded {
    frame: Bytes,
    event: Bytes,
    /// Where the JSON is in the frame.
    json: Range<usize>,
}

impl Encoded {
    /// Encodes `json`, which has no line ends.
    pub(super) fn new(json: &[u8]) -> Self {
        const OVERHEAD_BYTES: usize = 32;
        let mut bytes = Vec::with_capacity(2 * json.len() + OVERHEAD_BYTES);
        frame::encode(frame::TEXT, json, &mut bytes);
        let frame_length = bytes.len();
        events::encode(json, &mut bytes);
        let mut frame = Bytes::from(bytes);
        let event = frame.split_off(frame_length);
        Self {
            json: frame_length - json.len()..frame_length,
            frame,
            event,
        }
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
        &self.frame[self.json.clone()]
    }

    /// The size of both forms, in bytes.
    pub(super) fn len(&self) -> usize {
        self.frame.len() + self.event.len()
    }
}
