//! RFC 6455 over a real socket, rule by rule: which frames are refused, with which close code, and
//! which are not.

use crate::support::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, Http, PING, PONG, RawSocket, Server, TEXT,
    close_payload, eventually, frame_with_length, masked, reaction, reaction_frame, upgrade_head,
};

const RESERVED_OPCODES: [u8; 10] = [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf];
const OPCODE_BITS: u8 = 0xf;
const MAX_MESSAGE_BYTES: usize = 4096;

/// A name, the bytes, and the close code that the server must answer with.
type Bad = (String, Vec<u8>, u16);

fn bad_headers() -> Vec<Bad> {
    let mut bad = vec![
        (
            "unmasked text".into(),
            vec![FIN | TEXT, 2, b'h', b'i'],
            1002,
        ),
        ("unmasked ping".into(), vec![FIN | PING, 0], 1002),
    ];
    for bit in [0x40, 0x20, 0x10, 0x70] {
        let frame = masked(FIN | bit | TEXT, b"hi");
        bad.push((format!("reserved bits {bit:#x}"), frame, 1002));
        let frame = masked(FIN | bit | PING, b"");
        bad.push((format!("reserved bits {bit:#x} of a ping"), frame, 1002));
    }
    for opcode in RESERVED_OPCODES {
        let frame = masked(FIN | opcode, b"");
        bad.push((format!("reserved opcode {opcode:#x}"), frame, 1002));
    }
    for (bytes, length, form) in [
        (2, 5, "16 bits for 5"),
        (2, 125, "16 bits for 125"),
        (8, 5, "64 bits for 5"),
        (8, 0xffff, "64 bits for 65535"),
        (8, 1 << 63 | 5, "the top bit"),
        (8, u64::MAX, "all bits"),
    ] {
        let frame = frame_with_length(FIN | TEXT, bytes, length, b"hello");
        bad.push((format!("a length with {form}"), frame, 1002));
    }
    bad
}

fn bad_sequences() -> Vec<Bad> {
    let start = masked(TEXT, b"a");
    let mut bad = vec![
        (
            "continuation of nothing".into(),
            masked(FIN | CONTINUATION, b"a"),
            1002,
        ),
        (
            "first fragment of nothing".into(),
            masked(CONTINUATION, b"a"),
            1002,
        ),
        (
            "continuation after the end".into(),
            [
                masked(TEXT, b"a"),
                masked(FIN | CONTINUATION, b"b"),
                masked(FIN, b"c"),
            ]
            .concat(),
            1002,
        ),
    ];
    for (name, first) in [
        ("text", FIN | TEXT),
        ("binary", FIN | BINARY),
        ("the start of a text", TEXT),
        ("the start of a binary", BINARY),
    ] {
        let frames = [start.clone(), masked(first, b"b")].concat();
        bad.push((format!("{name} inside fragments"), frames, 1002));
    }
    for (name, opcode) in [("close", CLOSE), ("ping", PING), ("pong", PONG)] {
        bad.push((format!("fragmented {name}"), masked(opcode, b""), 1002));
        let frame = masked(FIN | opcode, &[b'a'; 126]);
        bad.push((format!("{name} of 126 bytes"), frame, 1002));
    }
    bad
}

fn bad_text() -> Vec<Bad> {
    let mut bad: Vec<Bad> = [
        ("a stray continuation byte", &b"a\x80b"[..]),
        ("an overlong slash", b"\xc0\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("above U+10FFFF", b"\xf4\x90\x80\x80"),
        ("0xff", b"hello \xff"),
        ("a character cut off by the end", b"love \xe2\x9d"),
    ]
    .into_iter()
    .map(|(name, payload)| (name.into(), masked(FIN | TEXT, payload), 1007))
    .collect();
    let across = [
        masked(TEXT, b"a\xe2\x9d"),
        masked(FIN | CONTINUATION, b"\x28"),
    ]
    .concat();
    bad.push(("invalid across fragments".into(), across, 1007));
    let cut = [masked(TEXT, b"a\xe2\x9d"), masked(FIN | CONTINUATION, b"")].concat();
    bad.push(("cut off by the end of the fragments".into(), cut, 1007));
    bad.push(("invalid first fragment".into(), masked(TEXT, b"\xc0"), 1007));
    // Only 10 of 100 bytes are sent, and the server must not wait for the others.
    let started = frame_with_length(FIN | TEXT, 0, 100, b"0123\xff56789");
    bad.push(("invalid in the middle of a frame".into(), started, 1007));
    let reason = masked(FIN | CLOSE, &close_payload(1000, b"bye \xff"));
    bad.push(("invalid reason of a close".into(), reason, 1007));
    bad
}

fn bad_closes() -> Vec<Bad> {
    let mut bad = vec![(
        "close of one byte".into(),
        masked(FIN | CLOSE, b"\x03"),
        1002,
    )];
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        let frame = masked(FIN | CLOSE, &close_payload(code, "bye"));
        bad.push((format!("close with {code}"), frame, 1002));
    }
    bad
}

fn too_big() -> Vec<Bad> {
    let fragment = [b' '; MAX_MESSAGE_BYTES / 2];
    let fragments = [
        masked(TEXT, &fragment),
        masked(CONTINUATION, &fragment),
        masked(FIN | CONTINUATION, b" "),
    ];
    vec![
        (
            "a text over the limit".into(),
            masked(FIN | TEXT, &[b' '; MAX_MESSAGE_BYTES + 1]),
            1009,
        ),
        (
            "a binary over the limit".into(),
            masked(FIN | BINARY, &[0; MAX_MESSAGE_BYTES + 1]),
            1009,
        ),
        (
            "a header of a terabyte".into(),
            frame_with_length(FIN | TEXT, 8, 1 << 40, b""),
            1009,
        ),
        ("fragments over the limit".into(), fragments.concat(), 1009),
    ]
}

/// Asserts that the server answers with a close frame and its code, and then closes the connection.
fn assert_refused(server: &Server, (name, bytes, code): &Bad) {
    let mut socket = RawSocket::enter(server, "bad");
    socket.send(bytes);
    let frame = socket.frame();
    assert_eq!(frame.first, FIN | CLOSE, "{name}: {frame:?}");
    let (answered, reason) = frame.payload.split_first_chunk().expect("a close code");
    assert_eq!(u16::from_be_bytes(*answered), *code, "{name}");
    assert!(
        std::str::from_utf8(reason).is_ok_and(|reason| !reason.is_empty()),
        "{name}"
    );
    assert_eq!(socket.try_frame(), None, "{name}: the connection must end");
}

fn assert_all_refused(bad: &[Bad]) {
    let server = Server::start(&["--reactors", "1"]);
    let mut bystander = Client::enter(&server, "bad");
    for case in bad {
        assert_refused(&server, case);
    }
    bystander.react("love");
    assert_eq!(bystander.next_text(), r#"{"love":1}"#);
}

#[test]
fn bad_frame_headers_are_refused_with_1002() {
    assert_all_refused(&bad_headers());
}

#[test]
fn frames_out_of_order_are_refused_with_1002() {
    assert_all_refused(&bad_sequences());
}

#[test]
fn invalid_utf_8_is_refused_with_1007_at_once() {
    assert_all_refused(&bad_text());
}

#[test]
fn malformed_close_frames_are_refused_with_1002() {
    assert_all_refused(&bad_closes());
}

#[test]
fn oversized_messages_are_refused_with_1009() {
    assert_all_refused(&too_big());
}

#[test]
fn frames_before_a_bad_one_count_and_later_ones_do_not() {
    let server = Server::start(&[]);
    let mut socket = RawSocket::enter(&server, "talk");
    let frames = [
        reaction_frame("before"),
        masked(FIN | PING, b"p"),
        masked(FIN | RESERVED_OPCODES[0], b""),
        reaction_frame("after"),
    ];
    socket.send(&frames.concat());
    let pong = socket.frame();
    assert_eq!((pong.first, &pong.payload[..]), (FIN | PONG, &b"p"[..]));
    assert_eq!(socket.frame().first, FIN | CLOSE);
    assert_eq!(socket.try_frame(), None);
    // The server may send the close before it adds what it has counted.
    let counts = || Http::connect(&server).get("/party/talk").body;
    eventually("the reaction is counted", || counts() != "{}");
    assert_eq!(counts(), r#"{"before":1}"#);
}

#[test]
fn a_pong_repeats_the_payload_of_the_ping() {
    let server = Server::start(&[]);
    let mut socket = RawSocket::enter(&server, "talk");
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        socket.send(&masked(FIN | PING, payload));
        let pong = socket.frame();
        assert_eq!((pong.first, &pong.payload[..]), (FIN | PONG, payload));
    }
    // An unsolicited pong is not an error.
    socket.send(&masked(FIN | PONG, b"unasked"));
    socket.send(&reaction_frame("love"));
    assert_eq!(socket.text(), r#"{"love":1}"#);
}

#[test]
fn control_frames_may_come_between_fragments() {
    let server = Server::start(&[]);
    let mut socket = RawSocket::enter(&server, "talk");
    // A character is split between fragments.
    socket.send(&masked(TEXT, b"{\"kind\":\"\xe2"));
    socket.send(&masked(FIN | PING, b"in between"));
    let pong = socket.frame();
    assert_eq!(
        (pong.first, &pong.payload[..]),
        (FIN | PONG, &b"in between"[..])
    );
    socket.send(&masked(CONTINUATION, b""));
    socket.send(&masked(CONTINUATION, b"\x9d\xa4"));
    socket.send(&masked(FIN | PONG, b""));
    socket.send(&masked(FIN | CONTINUATION, b"\"}"));
    assert_eq!(socket.text(), r#"{"❤":1}"#);
}

#[test]
fn frames_may_arrive_in_pieces_of_any_size() {
    let server = Server::start(&["--tick-ms", "1"]);
    let mut socket = RawSocket::enter(&server, "talk");
    let long = reaction("love") + &" ".repeat(200);
    let frames = [
        reaction_frame("love"),
        masked(FIN | TEXT, long.as_bytes()),
        masked(TEXT, br#"{"kind":"#),
        masked(FIN | CONTINUATION, br#""love"}"#),
        masked(FIN | PING, b"done"),
    ]
    .concat();
    let mut love = 0;
    for size in [1, 2, 3, 7, 64, frames.len()] {
        for piece in frames.chunks(size) {
            socket.send(piece);
        }
        love += 3;
        let expected = format!(r#"{{"love":{love}}}"#);
        let (mut has_pong, mut has_counts) = (false, false);
        while !has_pong || !has_counts {
            let frame = socket.frame();
            match frame.first & OPCODE_BITS {
                PONG => has_pong = true,
                TEXT => has_counts = frame.payload == expected.as_bytes(),
                _ => panic!("in pieces of {size}: {frame:?}"),
            }
        }
    }
}

#[test]
fn frames_may_follow_the_handshake_at_once() {
    let server = Server::start(&[]);
    let mut http = Http::connect(&server);
    let frames = [reaction_frame("love"), masked(FIN | PING, b"")];
    http.send([upgrade_head("/party/talk", "").as_bytes(), &frames.concat()].concat());
    let response = http.response();
    assert_eq!(response.status, 101);
    assert_eq!(
        response.field("Sec-WebSocket-Accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    let mut socket = RawSocket::after(http);
    assert_eq!(socket.text(), "{}");
    assert_eq!(socket.frame().first, FIN | PONG);
    assert_eq!(socket.text(), r#"{"love":1}"#);
}

#[test]
fn the_close_handshake_echoes_the_code() {
    let server = Server::start(&[]);
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999] {
        let mut socket = RawSocket::enter(&server, "talk");
        socket.send(&masked(FIN | CLOSE, &close_payload(code, "bye")));
        // The server reads nothing after a close.
        socket.send(&reaction_frame("late"));
        let frame = socket.frame();
        assert_eq!(
            (frame.first, frame.payload),
            (FIN | CLOSE, close_payload(code, ""))
        );
        assert_eq!(socket.try_frame(), None);
    }
    let mut socket = RawSocket::enter(&server, "talk");
    socket.send(&masked(FIN | CLOSE, b""));
    let frame = socket.frame();
    assert_eq!((frame.first, &frame.payload[..]), (FIN | CLOSE, &b""[..]));
    assert_eq!(socket.try_frame(), None);
    assert_eq!(Http::connect(&server).get("/party/talk").body, "{}");
}

#[test]
fn a_client_that_never_finishes_closing_is_dropped() {
    let server = Server::start(&["--close-timeout-ms", "200", "--max-connections", "1"]);
    let mut socket = RawSocket::enter(&server, "talk");
    socket.send(&masked(FIN | CLOSE, b""));
    assert_eq!(socket.frame().first, FIN | CLOSE);
    assert_eq!(socket.try_frame(), None);
    // The client keeps its side open, but its permit is free again.
    eventually("another connection is admitted", || {
        Http::connect(&server)
            .try_get("/party/talk")
            .is_some_and(|it| it.status == 200)
    });
}
