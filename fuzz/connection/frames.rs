//! A strict and simple reader of frames (RFC 6455, section 5), which shares nothing with the
//! server's decoder.

/// A frame.
#[derive(Debug)]
pub struct Frame {
    pub is_final: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// Which side sends the frames: a client masks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

/// What is at the start of the bytes.
#[derive(Debug)]
pub enum Read {
    /// A frame, and its length in bytes.
    Frame(Frame, usize),
    /// The start of a frame.
    Unfinished,
    /// Nothing that the sender may send.
    Violation(&'static str),
}

/// Reads the frame at the start of `bytes`.
pub fn read(bytes: &[u8], sender: Sender) -> Read {
    let [first, second, rest @ ..] = bytes else {
        return Read::Unfinished;
    };
    let (is_final, opcode) = (first & 0x80 != 0, first & 0x0f);
    if first & 0x70 != 0 {
        return Read::Violation("a reserved bit");
    }
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Read::Violation("a reserved opcode");
    }
    if (second & 0x80 != 0) != (sender == Sender::Client) {
        return Read::Violation("the wrong masking");
    }
    let short = second & 0x7f;
    if opcode >= 8 && (short > 125 || !is_final) {
        return Read::Violation("a control frame that is large or fragmented");
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((length, rest)) = rest.split_at_checked(extended) else {
        return Read::Unfinished;
    };
    let length = match extended {
        0 => u64::from(short),
        _ => length
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    if (extended == 2 && length < 126) || (extended == 8 && length < 1 << 16) {
        return Read::Violation("a length that isn't in its shortest form");
    }
    let mask_bytes = if sender == Sender::Client { 4 } else { 0 };
    let Some((mask, rest)) = rest.split_at_checked(mask_bytes) else {
        return Read::Unfinished;
    };
    let payload = usize::try_from(length).ok().and_then(|it| rest.get(..it));
    let Some(payload) = payload else {
        return Read::Unfinished;
    };
    let key = mask.iter().copied().cycle().chain(std::iter::repeat(0));
    let frame = Frame {
        is_final,
        opcode,
        payload: payload
            .iter()
            .zip(key)
            .map(|(byte, key)| byte ^ key)
            .collect(),
    };
    Read::Frame(frame, 2 + extended + mask_bytes + payload.len())
}
