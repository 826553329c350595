//! Request heads: an incomplete head stays incomplete until more arrives, a complete head doesn't
//! depend on what follows it, and any request can be routed and answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovation::protocol::http::{Origins, Response, request, upgrade};
use ovation::rooms::Router;

const MAX_HEAD_BYTES: usize = 2048;

fuzz_target!(|bytes: &[u8]| {
    let parsed = request::parse(bytes, MAX_HEAD_BYTES);
    let Ok(Some((request, length))) = parsed else {
        if parsed == Ok(None) {
            assert!(bytes.len() < MAX_HEAD_BYTES);
        }
        return;
    };
    assert!(length <= bytes.len().min(MAX_HEAD_BYTES));
    let whole = request::parse(&bytes[..length], MAX_HEAD_BYTES);
    assert_eq!(
        whole,
        Ok(Some((
            request::parse(bytes, MAX_HEAD_BYTES).unwrap().unwrap().0,
            length
        )))
    );
    assert_eq!(
        request::parse(&bytes[..length - 1], MAX_HEAD_BYTES),
        Ok(None)
    );

    let router = Router::default();
    match router.route(request.target) {
        Ok(name) => {
            assert_eq!(name.party, "main");
            assert!(!name.room.is_empty() && name.room.len() <= router.max_room_name_bytes);
        }
        Err(error) => assert!(Response::from(error).status >= 400),
    }
    let mut output = Vec::new();
    match upgrade::accept_key(&request) {
        Ok(accept) => upgrade::encode_switching_protocols(&accept, &mut output),
        Err(error) => Response::from(error).encode(&request, &Origins::default(), &mut output),
    }
    assert!(output.starts_with(b"HTTP/1.1 "));
    // Nothing from the client may end a line of the response.
    let head_end = output
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .unwrap();
    for line in output[..head_end].split(|byte| *byte == b'\n') {
        assert!(line.iter().filter(|byte| **byte == b'\r').count() <= 1);
    }
});
