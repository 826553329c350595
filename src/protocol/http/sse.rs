//! Server-sent events (WHATWG HTML, section 9.2).

use std::io::Write;

use crate::protocol::websocket::close::CloseCode;

/// A comment, which clients ignore. It keeps proxies from closing an idle stream.
pub const KEEP_ALIVE: &[u8] = b":\n\n";
/// The media type of an event stream.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// The bytes before the data of an event.
pub const START: &[u8] = b"data: ";
/// The bytes after the data of an event.
pub const END: &[u8] = b"\n\n";

/// Appends an event with the data `text`, which must have no line ends.
pub fn encode(text: &[u8], output: &mut Vec<u8>) {
    for part in [START, text, END] {
        output.extend_from_slice(part);
    }
}

/// Appends the last event of a stream: an event `close` with the code of a close frame as its data.
pub fn encode_close(code: CloseCode, output: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = write!(output, "event: close\ndata: {}\n\n", u16::from(code));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_follow_the_specification() {
        let mut output = Vec::new();
        encode(br#"{"love":1}"#, &mut output);
        output.extend_from_slice(KEEP_ALIVE);
        encode_close(CloseCode::Away, &mut output);
        let expected = "data: {\"love\":1}\n\n:\n\nevent: close\ndata: 1001\n\n";
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }
}
