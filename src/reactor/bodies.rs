//! Bodies of requests that have arrived only in part. The table holds only these, so that a
//! connection's entry stays small. Each byte of a body is processed once, however it is cut.

use std::collections::HashMap;

use crate::protocol::http::Request;
use crate::protocol::http::chunked::{ChunkedError, Decoder};

/// A body of which a part has arrived, and the head of its request.
#[derive(Debug)]
pub(super) struct PartialBody {
    head: Box<[u8]>,
    framing: Framing,
    content: Vec<u8>,
}

/// How the end of a body is found.
#[derive(Debug)]
enum Framing {
    /// By its length, in bytes.
    Length(usize),
    /// By its last chunk.
    Chunks(Decoder),
}

impl PartialBody {
    /// The body of `request`, whose head is `head`, before its first byte.
    pub(super) fn new(request: &Request<'_>, head: &[u8]) -> Self {
        Self {
            head: head.into(),
            framing: if request.is_chunked {
                Framing::Chunks(Decoder::default())
            } else {
                Framing::Length(request.content_length as usize)
            },
            content: Vec::new(),
        }
    }

    /// Takes the next bytes of the connection, as far as they belong to the body; returns their
    /// number.
    ///
    /// # Errors
    /// [`ChunkedError`] if the body breaks the coding, or is longer than `max_body_bytes`.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        max_body_bytes: usize,
    ) -> Result<usize, ChunkedError> {
        match &mut self.framing {
            Framing::Length(length) => {
                let taken = bytes.len().min(*length - self.content.len());
                self.content.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }
            Framing::Chunks(decoder) => decoder.feed(bytes, max_body_bytes, &mut self.content),
        }
    }

    /// Whether the whole body has arrived.
    pub(super) fn is_complete(&self) -> bool {
        match &self.framing {
            Framing::Length(length) => self.content.len() == *length,
            Framing::Chunks(decoder) => decoder.is_done(),
        }
    }

    /// The head of the request, and the content of the body.
    pub(super) fn into_parts(self) -> (Box<[u8]>, Vec<u8>) {
        (self.head, self.content)
    }
}

/// The partial bodies, by the keys of their connections.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    by_key: HashMap<u32, PartialBody>,
}

impl Bodies {
    /// Keeps the body of the connection at `key`.
    pub(super) fn keep(&mut self, key: u32, body: PartialBody) {
        self.by_key.insert(key, body);
    }

    /// Whether the connection at `key` has a partial body.
    pub(super) fn has(&self, key: u32) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Removes and returns the body of the connection at `key`, if it has one.
    pub(super) fn take(&mut self, key: u32) -> Option<PartialBody> {
        if self.by_key.is_empty() {
            return None;
        }
        let body = self.by_key.remove(&key);
        if self.by_key.is_empty() {
            self.by_key = HashMap::new();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::request;

    fn fed(fields: &str, pieces: &[&str]) -> (usize, Option<Vec<u8>>) {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let (request, _) = request::parse(head.as_bytes(), 8192).unwrap().unwrap();
        let mut body = PartialBody::new(&request, head.as_bytes());
        let taken = pieces
            .iter()
            .map(|it| body.feed(it.as_bytes(), 100).unwrap());
        let taken = taken.sum();
        (taken, body.is_complete().then(|| body.into_parts().1))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let length = "Content-Length: 5";
        assert_eq!(fed(length, &["abc"]), (3, None));
        assert_eq!(fed(length, &["abc", "deGET"]), (5, Some(b"abcde".to_vec())));
        let chunked = "Transfer-Encoding: chunked";
        assert_eq!(fed(chunked, &["3\r\nab"]), (5, None));
        let pieces = ["3\r\nab", "c\r\n0\r\n\r\nGET"];
        assert_eq!(fed(chunked, &pieces), (13, Some(b"abc".to_vec())));
    }

    #[test]
    fn an_empty_table_has_no_memory() {
        let mut bodies = Bodies::default();
        assert!(bodies.take(1).is_none());
        let request = Request::default();
        bodies.keep(1, PartialBody::new(&request, b""));
        assert!(bodies.has(1) && !bodies.has(2));
        assert!(bodies.take(1).is_some());
        assert_eq!(bodies.by_key.capacity(), 0);
    }
}
