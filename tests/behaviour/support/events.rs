//! An exact reader of event streams.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use super::{Counts, Http, Server};

/// An item of an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A message.
    Data(String),
    /// The last event, with its close code.
    Close(u16),
    /// A comment, which keeps the connection alive.
    KeepAlive,
}

/// An open event stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    stream: BufReader<TcpStream>,
}

/// Encodes a request for an event stream.
pub(crate) fn stream_request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
}

impl EventStream {
    /// Opens `target`. The first event is not read yet.
    pub(crate) fn open(server: &Server, target: &str) -> Self {
        Self::over(Http::connect(server), target)
    }

    /// Opens `target` on an existing connection.
    pub(crate) fn over(mut http: Http, target: &str) -> Self {
        http.send(stream_request(target));
        let response = http.response();
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.field("Content-Type"), Some("text/event-stream"));
        Self {
            stream: http.into_inner(),
        }
    }

    /// Joins a room of the party `main` and reads its counts.
    pub(crate) fn join(server: &Server, room: &str) -> (Self, Counts) {
        let mut stream = Self::open(server, &format!("/party/{room}"));
        let counts = stream.next_counts();
        (stream, counts)
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Reads the next item. Returns `None` if the stream ends between two items.
    pub(crate) fn try_next(&mut self) -> Option<Item> {
        let mut text = String::new();
        while !text.ends_with("\n\n") {
            let read = self
                .stream
                .read_line(&mut text)
                .expect("an event or the end");
            if read == 0 {
                assert!(text.is_empty(), "the stream ended within an event: {text}");
                return None;
            }
        }
        let text = text.trim_end();
        if text == ":" {
            return Some(Item::KeepAlive);
        }
        if let Some(code) = text.strip_prefix("event: close\ndata: ") {
            return Some(Item::Close(code.parse().expect("a close code")));
        }
        let data = text.strip_prefix("data: ");
        let data = data.unwrap_or_else(|| panic!("unexpected event: {text}"));
        assert!(!data.contains('\n'), "more than one line: {data}");
        Some(Item::Data(data.to_owned()))
    }

    /// Reads until the next message. Skips keep-alives.
    pub(crate) fn next_data(&mut self) -> String {
        loop {
            match self.try_next() {
                Some(Item::Data(data)) => return data,
                Some(Item::KeepAlive) => {}
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    pub(crate) fn next_counts(&mut self) -> Counts {
        Counts::parse(&self.next_data())
    }

    /// Reads until the counts are wanted. No count may go down before that.
    pub(crate) fn wait_for(&mut self, is_wanted: impl Fn(&Counts) -> bool) -> Counts {
        Counts::wait_for(|| self.next_counts(), is_wanted)
    }

    /// Reads until the close event and returns its code. Nothing may follow it.
    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            match self.try_next() {
                Some(Item::Close(code)) => {
                    assert_eq!(self.try_next(), None, "something follows the close event");
                    return code;
                }
                Some(_) => {}
                None => panic!("the stream ended without a close event"),
            }
        }
    }
}
