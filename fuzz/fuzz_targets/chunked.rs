//! Chunked bodies. Where the input is cut doesn't matter, a reader built on httparse agrees with
//! what the decoder accepts, and every body that is encoded is decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovation::protocol::http::chunked::{ChunkedError, Decoder};

const MAX_BODY_BYTES: usize = 4096;

/// The content and the length of a body, or why it has none; `None` if it has no end.
type Outcome = Result<(Vec<u8>, usize), Option<ChunkedError>>;

fuzz_target!(|input: &[u8]| {
    // The first byte chooses how the rest is cut.
    let Some((&cut, bytes)) = input.split_first() else {
        return;
    };
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(decode(bytes, usize::from(cut).max(1)), whole);
    assert_eq!(decode(bytes, 1), whole);
    match &whole {
        Ok((body, length)) => {
            assert!(body.len() <= MAX_BODY_BYTES && body.len() < *length);
            assert_eq!(model(bytes).as_ref(), Some(&(body.clone(), *length)));
            let shorter = decode(&bytes[..length - 1], usize::MAX);
            assert_eq!(shorter, Err(None), "the body has one end");
        }
        Err(Some(error)) => {
            let more = [bytes, b"0\r\n\r\n"].concat();
            assert_eq!(
                decode(&more, usize::MAX),
                Err(Some(*error)),
                "an error is final"
            );
        }
        Err(None) => {}
    }
    round_trip(bytes, usize::from(cut).max(1));
});

fn decode(bytes: &[u8], piece: usize) -> Outcome {
    let (mut decoder, mut body, mut length) = (Decoder::default(), Vec::new(), 0);
    for piece in bytes.chunks(piece) {
        let taken = decoder
            .feed(piece, MAX_BODY_BYTES, &mut body)
            .map_err(Some)?;
        assert!(taken == piece.len() || decoder.is_done());
        length += taken;
    }
    if decoder.is_done() {
        Ok((body, length))
    } else {
        Err(None)
    }
}

/// A lenient reader of a whole body.
fn model(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let parsed = httparse::parse_chunk_size(&bytes[at..]).ok()?;
        let httparse::Status::Complete((line, size)) = parsed else {
            return None;
        };
        at += line;
        if size == 0 {
            break;
        }
        let end = at + usize::try_from(size).ok()?;
        body.extend_from_slice(bytes.get(at..end)?);
        at = end + 2;
        assert_eq!(&bytes[end..at], b"\r\n");
    }
    let mut fields = [httparse::EMPTY_HEADER; 4096];
    match httparse::parse_headers(&bytes[at..], &mut fields).ok()? {
        httparse::Status::Complete((length, _)) => Some((body, at + length)),
        httparse::Status::Partial => None,
    }
}

fn round_trip(content: &[u8], size: usize) {
    let content = &content[..content.len().min(MAX_BODY_BYTES)];
    let mut text = Vec::new();
    for chunk in content.chunks(size) {
        text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        text.extend_from_slice(chunk);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"0\r\n\r\n");
    let length = text.len();
    text.extend_from_slice(content);
    assert_eq!(decode(&text, 7), Ok((content.to_vec(), length)));
}
