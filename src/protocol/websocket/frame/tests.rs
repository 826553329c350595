//! The decoder against a table of the RFC's rules, against itself under every splitting of its
//! input, and against tungstenite's codec.

use proptest::prelude::*;
use tungstenite::Message as Peer;
use tungstenite::protocol::{Role, WebSocket};

use super::*;
use oracle::{Owned, decode};

#[path = "../../../../fuzz/oracle.rs"]
mod oracle;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMIT: usize = 1 << 16;

/// A client's frame with the given first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | length as u8),
        length @ ..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ KEY[i % 4]),
    );
    bytes
}

fn violation(bytes: &[u8]) -> Option<Violation> {
    decode([bytes], 4096).1
}

#[test]
fn each_broken_rule_is_named_and_refused() {
    use Violation::*;
    let unmasked = vec![0x81, 0x02, b'h', b'i'];
    let non_minimal_16 = vec![0x81, 0xfe, 0, 125];
    let non_minimal_64 = vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let top_bit = vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let with_key = |mut bytes: Vec<u8>| {
        bytes.extend(KEY);
        bytes
    };
    let both = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    for (bytes, expected) in [
        (unmasked, Unmasked),
        (frame(0xc1, b"x"), ReservedBit),
        (frame(0xa1, b"x"), ReservedBit),
        (frame(0x91, b"x"), ReservedBit),
        (frame(0x83, b"x"), ReservedOpcode),
        (frame(0x87, b"x"), ReservedOpcode),
        (frame(0x8b, b"x"), ReservedOpcode),
        (frame(0x8f, b"x"), ReservedOpcode),
        (with_key(non_minimal_16), MalformedLength),
        (with_key(non_minimal_64), MalformedLength),
        (with_key(top_bit), MalformedLength),
        (frame(0x09, b"x"), FragmentedControl),
        (frame(0x08, b""), FragmentedControl),
        (frame(0x89, &[0; 126]), OversizedControl),
        (frame(0x80, b"x"), UnexpectedContinuation),
        (frame(0x00, b"x"), UnexpectedContinuation),
        (
            both(frame(0x01, b"a"), frame(0x81, b"b")),
            UnfinishedMessage,
        ),
        (
            both(frame(0x02, b"a"), frame(0x02, b"b")),
            UnfinishedMessage,
        ),
        (frame(0x88, &[3]), MalformedClose),
        (frame(0x88, &1005u16.to_be_bytes()), MalformedClose),
        (frame(0x88, b"\x03\xe8\xff"), InvalidUtf8),
        (
            frame(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"),
            InvalidUtf8,
        ),
        (both(frame(0x01, b"\xce"), frame(0x80, b"a")), InvalidUtf8),
        (frame(0x81, b"\xf4\x8f\xbf"), InvalidUtf8),
        (both(frame(0x01, b"\xce"), frame(0x80, b"")), InvalidUtf8),
        (frame(0x81, &[b'a'; 4097]), MessageTooBig),
        (
            both(frame(0x01, &[b'a'; 4000]), frame(0x80, &[b'a'; 97])),
            MessageTooBig,
        ),
    ] {
        assert_eq!(violation(&bytes), Some(expected), "{bytes:x?}");
        let bytewise = decode(bytes.chunks(1), 4096).1;
        assert_eq!(bytewise, Some(expected), "byte by byte: {bytes:x?}");
    }
}

#[test]
fn invalid_text_is_refused_at_its_first_bad_byte() {
    // Autobahn 6.4.4: F4 can start a character, F4 90 can't.
    let bytes = frame(
        0x81,
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
    );
    let bad = bytes.len() - 9;
    assert_eq!(decode(bytes[..bad].chunks(1), LIMIT).1, None);
    assert_eq!(
        decode(bytes[..=bad].chunks(1), LIMIT).1,
        Some(Violation::InvalidUtf8)
    );
}

#[test]
fn a_control_frame_may_lie_between_fragments() {
    let bytes = [
        frame(0x01, "κό".as_bytes()),
        frame(0x89, b"ping"),
        frame(0x00, b"\xcf"),
        frame(0x8a, b""),
        frame(0x80, b"\x83"),
        frame(0x88, b"\x03\xe8bye"),
        frame(0x81, b"after"),
    ]
    .concat();
    let expected = vec![
        Owned::Ping(b"ping".to_vec()),
        Owned::Pong,
        Owned::Text("κόσ".to_owned()),
        Owned::Close(Some(1000)),
    ];
    assert_eq!(decode([&*bytes], LIMIT), (expected, None));
}

#[test]
fn the_decoder_keeps_little_and_nothing_between_messages() {
    let mut decoder = Decoder::default();
    let mut bytes = [frame(0x81, b"one"), frame(0x01, b"tw"), frame(0x80, b"o")].concat();
    let keep = |_: Event<'_>| ControlFlow::Continue(());
    let (first, second) = bytes.split_at_mut(20);
    decoder.feed(first, LIMIT, keep).unwrap();
    assert!(!decoder.is_idle());
    decoder.feed(second, LIMIT, keep).unwrap();
    assert!(decoder.is_idle());

    // A header that announces a long payload must not reserve memory for it.
    let mut promise = vec![0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0];
    promise.extend(KEY);
    decoder.feed(&mut promise, 1 << 30, keep).unwrap();
    let partial = decoder.partial.as_ref().unwrap();
    assert_eq!(partial.message.as_ref().unwrap().bytes.capacity(), 0);
}

#[test]
fn a_sink_that_breaks_leaves_the_rest_unused() {
    let mut bytes = [frame(0x81, b"one"), frame(0x81, b"two")].concat();
    let used = Decoder::default().feed(&mut bytes, LIMIT, |_| ControlFlow::Break(()));
    assert_eq!(used, Ok(frame(0x81, b"one").len()));
}

/// Frames that are mostly well-formed, in a mostly valid order.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(0x81u8),
        2 => prop_oneof![Just(0x82u8), Just(0x01), Just(0x02), Just(0x80), Just(0x00)],
        2 => prop_oneof![Just(0x89u8), Just(0x8a)],
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        8 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => (120usize..140).prop_map(|length| vec![b'x'; length]),
    ];
    proptest::collection::vec((first, payload), 0..12).prop_map(|frames| {
        frames
            .iter()
            .flat_map(|(first, payload)| frame(*first, payload))
            .collect()
    })
}

proptest! {
    #[test]
    fn any_splitting_gives_the_same_events(
        bytes in frames(),
        cuts in proptest::collection::vec(0usize..600, 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(decode(pieces, LIMIT), decode([&*bytes], LIMIT));
    }

    #[test]
    fn tungstenite_agrees(bytes in frames()) {
        prop_assert!(oracle::agree(&bytes, LIMIT));
    }

    #[test]
    fn any_bytes_decode_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode([&*bytes], 100);
    }

    #[test]
    fn what_the_server_sends_a_client_reads(text in "\\PC{0,300}") {
        let mut bytes = Vec::new();
        encode(TEXT, text.as_bytes(), &mut bytes);
        encode_close(Some(CloseCode::Policy), &text, &mut bytes);
        let mut client = WebSocket::from_raw_socket(
            std::io::Cursor::new(bytes), Role::Client, None);
        prop_assert_eq!(client.read().unwrap(), Peer::text(text));
        let closes = matches!(client.read(), Ok(Peer::Close(Some(frame))) if frame.code == CloseCode::Policy);
        prop_assert!(closes);
    }
}

#[test]
fn the_empty_ping_is_encoded_like_any_ping() {
    let mut output = Vec::new();
    encode(PING, &[], &mut output);
    assert_eq!(output, EMPTY_PING);
}
