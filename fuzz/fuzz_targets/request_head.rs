//! Request heads: an incomplete head stays incomplete until more arrives, a complete head doesn't
//! depend on what follows it, any request can be routed and answered, and a request passes the
//! lists of hosts and origins only by a name on them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovation::protocol::http::{Hosts, Origins, Request, Response, request, upgrade};
use ovation::rooms::Router;

const MAX_HEAD_BYTES: usize = 2048;
const NAME: &str = "talks.example";
const ORIGIN: &str = "https://talks.example";
/// The statuses that the server sends.
const STATUSES: [u16; 24] = [
    200, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 413, 414, 417, 421, 422, 426, 429, 431,
    500, 501, 503, 507, 599,
];

fuzz_target!(|bytes: &[u8]| {
    let parsed = request::parse(bytes, MAX_HEAD_BYTES);
    let (request, length) = match parsed {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return assert!(bytes.len() < MAX_HEAD_BYTES),
        Err(error) => {
            let mut output = Vec::new();
            Response::from(error).encode_final(&mut output);
            return check_head(&output);
        }
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
    route(&request);
    answer(&request, length);
    check_lists(&request);
});

fn route(request: &Request<'_>) {
    let router = Router::default();
    match router.route(request.target) {
        Ok(name) => {
            assert_eq!(name.party, "main");
            assert!(!name.room.is_empty() && name.room.len() <= router.max_room_name_bytes);
        }
        Err(error) => assert!(Response::from(error).status >= 400),
    }
}

fn answer(request: &Request<'_>, length: usize) {
    let origins = Origins::only(vec![ORIGIN.to_owned()]);
    let mut output = Vec::new();
    match upgrade::accept_key(request) {
        Ok(accept) => upgrade::encode_switching_protocols(request, &accept, &mut output),
        Err(error) => Response::from(error).encode(request, &origins, &mut output),
    }
    check_head(&output);
    let response = Response::of_type(STATUSES[length % STATUSES.len()], "text/css", &b"body"[..]);
    for origins in [origins, Origins::none(), Origins::default()] {
        output.clear();
        response.encode(request, &origins, &mut output);
        check_head(&output);
    }
    output.clear();
    response.encode_private(request, &[("ETag", "1")], &mut output);
    check_head(&output);
}

/// Nothing from the client may end a line of the response.
fn check_head(output: &[u8]) {
    assert!(output.starts_with(b"HTTP/1.1 "));
    let mut ends = output.windows(4);
    let head_end = ends.position(|end| end == b"\r\n\r\n").unwrap();
    for line in output[..head_end].split(|byte| *byte == b'\n') {
        assert!(line.iter().filter(|byte| **byte == b'\r').count() <= 1);
    }
}

fn check_lists(request: &Request<'_>) {
    let host = request.field("host");
    let hosts = Hosts::only(vec![NAME.to_owned()]);
    if hosts.allow(request) {
        let name = host.and_then(|host| host.split(':').next()).unwrap();
        let name = name.strip_suffix('.').unwrap_or(name);
        assert!(name.eq_ignore_ascii_case(NAME), "{name}");
    }
    let origins = Origins::only(vec![ORIGIN.to_owned()]);
    if let Some(origin) = request.origin.filter(|_| origins.allow(request)) {
        let is_listed = origin.eq_ignore_ascii_case(ORIGIN);
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let is_own = authority
            .zip(host)
            .is_some_and(|(one, other)| one.eq_ignore_ascii_case(other));
        assert!(is_listed || is_own, "{origin}");
    }
}
