//! tungstenite's codec as an oracle for the frame decoder, used by the fuzz target and the property
//! tests. The module that includes this file must have the decoder's names in scope.

use std::io::Read;
use std::ops::ControlFlow;

use tungstenite::Message as Peer;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

use super::{Decoder, Event, Violation};

/// Panics unless the decoder and tungstenite read the same events from `bytes`, in one read and
/// byte by byte. Returns whether both ended at the same place: tungstenite judges only whole
/// frames, so the decoder may find a violation in a frame that is cut off.
pub(super) fn agree(bytes: &[u8], limit: usize) -> bool {
    let (events, violation) = decode([bytes], limit);
    let (mut peer_events, peer_fails) = decode_by_peer(bytes, limit);
    assert_eq!(decode(bytes.chunks(1), limit), (events.clone(), violation));
    let mut is_same_end = violation.is_some() == peer_fails;
    match violation {
        // tungstenite accepts lengths that are not in their shortest form, which the RFC forbids.
        Some(Violation::MalformedLength) => {
            peer_events.truncate(events.len());
            is_same_end = true;
        }
        // tungstenite turns a close frame with a forbidden code into a close event with code 1002.
        Some(Violation::MalformedClose) if !peer_fails => {
            peer_events.truncate(events.len());
            is_same_end = true;
        }
        Some(_) => {}
        None => assert!(!peer_fails || ends_with_1014(&events)),
    }
    if !ends_with_1014(&events) {
        assert_eq!(events, peer_events);
    }
    is_same_end
}

/// tungstenite treats close code 1014 as reserved; IANA registers it as "bad gateway".
fn ends_with_1014(events: &[Owned]) -> bool {
    events.last() == Some(&Owned::Close(Some(1014)))
}

/// An owned event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

impl From<Event<'_>> for Owned {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong => Self::Pong,
            Event::Close(code) => Self::Close(code.map(u16::from)),
        }
    }
}

/// Feeds `pieces` one after another. Returns the events up to the first violation or close.
pub(super) fn decode<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> (Vec<Owned>, Option<Violation>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let fed = decoder.feed(&mut piece, limit, |event| {
            events.push(event.into());
            match events.last() {
                Some(Owned::Close(_)) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        if let Err(violation) = fed {
            return (events, Some(violation));
        }
        if let Some(Owned::Close(_)) = events.last() {
            break;
        }
    }
    (events, None)
}

/// Decodes the same bytes with tungstenite. Returns the events and whether it failed.
fn decode_by_peer(bytes: &[u8], limit: usize) -> (Vec<Owned>, bool) {
    struct Input<'a>(&'a [u8]);
    impl Read for Input<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl std::io::Write for Input<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let config = WebSocketConfig::default().max_message_size(Some(limit));
    let mut socket = WebSocket::from_raw_socket(Input(bytes), Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        match socket.read() {
            Ok(Peer::Text(text)) => events.push(Owned::Text(text.to_string())),
            Ok(Peer::Binary(bytes)) => events.push(Owned::Binary(bytes.to_vec())),
            Ok(Peer::Ping(bytes)) => events.push(Owned::Ping(bytes.to_vec())),
            Ok(Peer::Pong(_)) => events.push(Owned::Pong),
            Ok(Peer::Close(frame)) => {
                events.push(Owned::Close(frame.map(|frame| frame.code.into())));
                return (events, false);
            }
            Ok(Peer::Frame(_)) => unreachable!("read gives no raw frames"),
            Err(tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => return (events, false),
            Err(_) => return (events, true),
        }
    }
}
