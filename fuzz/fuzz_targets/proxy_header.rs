//! PROXY headers and forwarded fields. An incomplete header stays incomplete until more arrives, a
//! complete header doesn't depend on what follows it, and the fields of a request name a client
//! only by an address that is not a trusted proxy's.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use ovation::protocol::http::{Forwarded, forwarded_client, request};
use ovation::protocol::proxy::{self, MAX_HEADER_BYTES, Named};

fuzz_target!(|bytes: &[u8]| {
    header(bytes);
    fields(bytes);
});

fn header(bytes: &[u8]) {
    match proxy::parse(bytes) {
        Ok(Some((named, length))) => {
            assert!(length <= bytes.len().min(MAX_HEADER_BYTES));
            assert_eq!(proxy::parse(&bytes[..length]), Ok(Some((named, length))));
            for shorter in 0..length {
                assert_eq!(proxy::parse(&bytes[..shorter]), Ok(None));
            }
            if let (Named::Client(client), b'P') = (named, bytes[0]) {
                let line = std::str::from_utf8(&bytes[..length]).unwrap();
                let source = line.split(' ').nth(2).unwrap();
                assert_eq!(source.parse(), Ok(client));
            }
        }
        Ok(None) => assert!(bytes.len() < MAX_HEADER_BYTES),
        Err(error) => {
            let more = [bytes, b"\r\n\r\n"].concat();
            assert_eq!(proxy::parse(&more), Err(error), "an error is final");
        }
    }
}

fn fields(bytes: &[u8]) {
    let head = [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], bytes, b"\r\n\r\n"].concat();
    let Ok(Some((request, _))) = request::parse(&head, head.len()) else {
        return;
    };
    let is_trusted = |address: IpAddr| address.is_loopback();
    match forwarded_client(&request, is_trusted) {
        Forwarded::Client(client) => assert!(!is_trusted(client)),
        Forwarded::NoClient | Forwarded::Unclear => {}
    }
    // With no proxy trusted, a list that names no client is absent or empty.
    if forwarded_client(&request, |_| false) == Forwarded::NoClient {
        let fields = ["x-forwarded-for", "forwarded"].map(|name| request.field(name));
        let is_empty = |value: &str| value.bytes().all(|byte| b", \t".contains(&byte));
        assert!(fields.into_iter().flatten().all(is_empty));
    }
}
