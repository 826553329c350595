//! Event streams as the server sends them (WHATWG HTML, section 9.2, "server-sent events").

use std::io::Write;

use crate::protocol::websocket::close::CloseCode;

/// A comment, which clients pass over: it keeps proxies and idle timeouts content.
pub const KEEP_ALIVE: &[u8] = b":\n\n";
/// The media type of an event stream.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// What stands before the data of an event.
pub const START: &[u8] = b"data: ";
/// What stands behind it.
pub const END: &[u8] = b"\n\n";

/// Appends an event whose data is `text`, which has no line ends, as JSON has none.
pub fn encode(text: &[u8], output: &mut Vec<u8>) {
    for part in [START, text, END] {
        output.extend_from_slice(part);
    }
}

/// Appends the last event of a stream. It tells what a close frame would.
pub fn encode_close(code: CloseCode, output: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = write!(output, "event: close\ndata: {}\n\n", u16::from(code));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_the_specification_has_them() {
        let mut output = Vec::new();
        encode(br#"{"love":1}"#, &mut output);
        output.extend_from_slice(KEEP_ALIVE);
        encode_close(CloseCode::Away, &mut output);
        let expected = "data: {\"love\":1}\n\n:\n\nevent: close\ndata: 1001\n\n";
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }
}
