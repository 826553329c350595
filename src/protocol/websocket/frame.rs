//! The incremental frame decoder (RFC 6455, section 5) and the frames that the server sends.
//!
//! [`Decoder`] works in place on the caller's read buffer. A frame that lies whole in the buffer is
//! unmasked and handed out where it lies, and the decoder keeps nothing. A boxed `Partial` keeps a
//! frame that a read cut in two, or a message in fragments, until the message is complete. So the
//! decoder of an idle connection is one null pointer.
//!
//! The decoder validates text as it arrives: it refuses invalid UTF-8 at the first bad byte, even
//! in the middle of a frame.
//!
//! ```
//! use std::ops::ControlFlow;
//! use ovation::protocol::websocket::frame::{Decoder, Event};
//!
//! // The masked frame "Hello" of RFC 6455, section 5.7.
//! let mut bytes = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
//! let mut texts = Vec::new();
//! let used = Decoder::default().feed(&mut bytes, 4096, |event| {
//!     if let Event::Text(text) = event {
//!         texts.push(text.to_owned());
//!     }
//!     ControlFlow::Continue(())
//! });
//! assert_eq!((used, &texts[..]), (Ok(11), &["Hello".to_owned()][..]));
//! ```

use std::io::Cursor;
use std::ops::ControlFlow;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::close::{CloseCode, Violation, parse_close};
use super::mask::{advance, unmask};

/// Maximum length of a frame's header, in bytes: two bytes, eight of length, four of mask.
const MAX_HEADER_BYTES: usize = 14;
/// Maximum length of a control frame's payload, in bytes (section 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;
/// Default maximum size of a client's message, in bytes.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 4096;

/// What the decoder found in the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message, valid UTF-8.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping, with the payload that its pong must carry.
    Ping(&'a [u8]),
    /// A pong. The decoder ignores its payload.
    Pong,
    /// A close frame, with its code if it has one. Nothing may follow it.
    Close(Option<CloseCode>),
}

/// The decoder of one client's frames.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// A frame or message whose end has not arrived.
#[derive(Debug, Default)]
struct Partial {
    header: [u8; MAX_HEADER_BYTES],
    header_length: usize,
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Message>,
}

/// A frame whose header has been read and checked.
#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: Kind,
    is_final: bool,
    mask: [u8; 4],
    /// Number of payload bytes that have not arrived yet.
    remaining: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Continuation,
    Control(Control),
}

/// A message that is being assembled.
#[derive(Debug)]
struct Message {
    is_text: bool,
    bytes: Vec<u8>,
    /// Number of leading `bytes` that are known to be valid UTF-8.
    validated: usize,
}

impl Decoder {
    /// Whether the decoder keeps nothing: the last byte fed ended a message, and no fragments wait.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Decodes `buffer`, calling `sink` for each event, until the buffer is used up or `sink`
    /// breaks. Returns the number of bytes used. Unmasks the buffer in place.
    ///
    /// # Errors
    /// The first [`Violation`]. The caller must fail the connection with its code (section 7.1.7)
    /// and must not feed the decoder again.
    pub fn feed(
        &mut self,
        buffer: &mut [u8],
        max_message_bytes: usize,
        mut sink: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while used < buffer.len() {
            let rest = &mut buffer[used..];
            let (step, flow) = if let Some(partial) = &mut self.partial {
                let step = partial.step(rest, max_message_bytes, &mut sink)?;
                if partial.is_spent() {
                    self.partial = None;
                }
                step
            } else if let Some((payload, mask)) = short_text(rest, max_message_bytes) {
                unmask(payload, mask);
                let end = SHORT_HEADER_BYTES + payload.len();
                (end, sink(whole(Kind::Text, payload)?))
            } else {
                match Frame::parse(rest, None, max_message_bytes)? {
                    Some((frame, start)) if frame.is_whole_in(&rest[start..]) => {
                        let end = start + frame.remaining;
                        let payload = &mut rest[start..end];
                        unmask(payload, frame.mask);
                        (end, sink(whole(frame.kind, payload)?))
                    }
                    _ => {
                        self.partial = Some(Box::default());
                        continue;
                    }
                }
            };
            used += step;
            if flow.is_break() {
                break;
            }
        }
        Ok(used)
    }
}

/// The header of a masked frame of less than 126 bytes.
const SHORT_HEADER_BYTES: usize = 6;

/// The payload and mask of an unfragmented text frame of less than 126 bytes that lies whole at
/// the start of `bytes`. Nearly all frames have this shape. [`FrameHeader`] parses the others, and
/// would find the same payload here.
#[inline]
fn short_text(bytes: &mut [u8], max_message_bytes: usize) -> Option<(&mut [u8], [u8; 4])> {
    let (header, rest) = bytes.split_first_chunk_mut::<SHORT_HEADER_BYTES>()?;
    let [first, second, mask @ ..] = *header;
    let length = usize::from(second ^ MASK_BIT);
    if first != FINAL_TEXT || length > MAX_CONTROL_BYTES || length > max_message_bytes {
        return None;
    }
    Some((rest.get_mut(..length)?, mask))
}

/// The first byte of an unfragmented text frame: FIN and the opcode 1 (section 5.2).
const FINAL_TEXT: u8 = 0x81;
/// The mask bit, in the second byte beside the length (section 5.2).
const MASK_BIT: u8 = 0x80;

/// The event of a payload that arrived whole and unfragmented.
#[inline]
fn whole(kind: Kind, payload: &[u8]) -> Result<Event<'_>, Violation> {
    match kind {
        Kind::Text => match simdutf8::basic::from_utf8(payload) {
            Ok(text) => Ok(Event::Text(text)),
            Err(_) => Err(Violation::InvalidUtf8),
        },
        Kind::Binary => Ok(Event::Binary(payload)),
        Kind::Control(Control::Ping) => Ok(Event::Ping(payload)),
        Kind::Control(Control::Pong) => Ok(Event::Pong),
        Kind::Control(_) => Ok(Event::Close(parse_close(payload)?)),
        // `Frame::parse` accepts a continuation only while a message is in progress.
        Kind::Continuation => Err(Violation::UnexpectedContinuation),
    }
}

impl Frame {
    fn is_whole_in(&self, payload: &[u8]) -> bool {
        self.is_final && payload.len() >= self.remaining
    }

    /// Parses and checks the header at the start of `bytes`, given the size of the message in
    /// progress, if any. Returns the frame and the length of its header, or `None` if the header
    /// isn't complete.
    #[inline]
    fn parse(
        bytes: &[u8],
        in_progress: Option<usize>,
        max_message_bytes: usize,
    ) -> Result<Option<(Self, usize)>, Violation> {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            // Reading from memory can't fail, so the error is a bad opcode.
            Err(_) => return Err(Violation::ReservedOpcode),
        };
        let header_length = cursor.position() as usize;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::ReservedBit);
        }
        let mask = header.mask.ok_or(Violation::Unmasked)?;
        if header.len(length) != header_length || length > i64::MAX as u64 {
            return Err(Violation::MalformedLength);
        }
        let kind = match header.opcode {
            OpCode::Data(Data::Text) => Kind::Text,
            OpCode::Data(Data::Binary) => Kind::Binary,
            OpCode::Data(Data::Continue) => Kind::Continuation,
            OpCode::Control(control) => Kind::Control(control),
            OpCode::Data(Data::Reserved(_)) => return Err(Violation::ReservedOpcode),
        };
        match kind {
            Kind::Control(_) if !header.is_final => return Err(Violation::FragmentedControl),
            Kind::Control(_) if length > MAX_CONTROL_BYTES as u64 => {
                return Err(Violation::OversizedControl);
            }
            Kind::Control(_) => {}
            Kind::Continuation if in_progress.is_none() => {
                return Err(Violation::UnexpectedContinuation);
            }
            Kind::Text | Kind::Binary if in_progress.is_some() => {
                return Err(Violation::UnfinishedMessage);
            }
            _ => {
                let room = max_message_bytes.saturating_sub(in_progress.unwrap_or(0));
                if length > room as u64 {
                    return Err(Violation::MessageTooBig);
                }
            }
        }
        let frame = Self {
            kind,
            is_final: header.is_final,
            mask,
            remaining: length as usize,
        };
        Ok(Some((frame, header_length)))
    }
}

impl Partial {
    /// Whether everything that arrived has been handed out.
    fn is_spent(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Takes one header or one piece of payload from the start of `bytes`, which must not be empty.
    fn step(
        &mut self,
        bytes: &mut [u8],
        max_message_bytes: usize,
        sink: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Violation> {
        let Some(frame) = self.frame else {
            return self.step_header(bytes, max_message_bytes, sink);
        };
        let length = frame.remaining.min(bytes.len());
        let piece = &mut bytes[..length];
        unmask(piece, frame.mask);
        let rest = Frame {
            mask: advance(frame.mask, length),
            remaining: frame.remaining - length,
            ..frame
        };
        self.frame = Some(rest);
        match &mut self.message {
            Some(message) if !matches!(frame.kind, Kind::Control(_)) => message.push(piece)?,
            _ => self.control.extend_from_slice(piece),
        }
        Ok((length, self.finish_frame(sink)?))
    }

    fn step_header(
        &mut self,
        bytes: &[u8],
        max_message_bytes: usize,
        sink: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Violation> {
        let held = self.header_length;
        let taken = bytes.len().min(MAX_HEADER_BYTES - held);
        self.header[held..held + taken].copy_from_slice(&bytes[..taken]);
        let in_progress = self.message.as_ref().map(|message| message.bytes.len());
        let header = &self.header[..held + taken];
        let Some((frame, length)) = Frame::parse(header, in_progress, max_message_bytes)? else {
            self.header_length = held + taken;
            return Ok((taken, ControlFlow::Continue(())));
        };
        self.header_length = 0;
        self.frame = Some(frame);
        if matches!(frame.kind, Kind::Text | Kind::Binary) {
            self.message = Some(Message {
                is_text: frame.kind == Kind::Text,
                bytes: Vec::new(),
                validated: 0,
            });
        }
        Ok((length - held, self.finish_frame(sink)?))
    }

    /// Hands out what is complete after the current frame has all its payload.
    fn finish_frame(
        &mut self,
        sink: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let Some(frame) = self.frame.filter(|frame| frame.remaining == 0) else {
            return Ok(ControlFlow::Continue(()));
        };
        self.frame = None;
        if let Kind::Control(_) = frame.kind {
            let payload = std::mem::take(&mut self.control);
            return Ok(sink(whole(frame.kind, &payload)?));
        }
        if !frame.is_final {
            return Ok(ControlFlow::Continue(()));
        }
        match self.message.take() {
            Some(message) => Ok(sink(message.event()?)),
            None => Err(Violation::UnexpectedContinuation),
        }
    }
}

impl Message {
    fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        self.bytes.extend_from_slice(piece);
        if self.is_text {
            match simdutf8::compat::from_utf8(&self.bytes[self.validated..]) {
                Ok(_) => self.validated = self.bytes.len(),
                Err(error) if error.error_len().is_none() => {
                    self.validated += error.valid_up_to();
                }
                Err(_) => return Err(Violation::InvalidUtf8),
            }
        }
        Ok(())
    }

    fn event(&self) -> Result<Event<'_>, Violation> {
        if !self.is_text {
            return Ok(Event::Binary(&self.bytes));
        }
        // `push` accepts a character that isn't complete yet; the end of the message must not.
        match simdutf8::basic::from_utf8(&self.bytes) {
            Ok(text) => Ok(Event::Text(text)),
            Err(_) => Err(Violation::InvalidUtf8),
        }
    }
}

/// Appends an unmasked, unfragmented frame to `output`, as servers send it.
pub fn encode(opcode: OpCode, payload: &[u8], output: &mut Vec<u8>) {
    encode_header(opcode, payload.len(), output);
    output.extend_from_slice(payload);
}

/// Appends the header of an unmasked, unfragmented frame. The caller must then append the payload.
pub fn encode_header(opcode: OpCode, payload_length: usize, output: &mut Vec<u8>) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    // Writing to memory can't fail.
    let _ = header.format(payload_length as u64, output);
}

/// The opcode of a text frame.
pub const TEXT: OpCode = OpCode::Data(Data::Text);
/// The opcode of a binary frame.
pub const BINARY: OpCode = OpCode::Data(Data::Binary);
/// The opcode of a ping.
pub const PING: OpCode = OpCode::Control(Control::Ping);
/// The opcode of a pong.
pub const PONG: OpCode = OpCode::Control(Control::Pong);

/// A ping frame without payload.
pub const EMPTY_PING: [u8; 2] = [0x89, 0];

/// Appends a close frame with `code` and `reason`. A reason that is too long is cut.
pub fn encode_close(code: Option<CloseCode>, reason: &str, output: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(MAX_CONTROL_BYTES);
    if let Some(code) = code {
        payload.extend_from_slice(&u16::from(code).to_be_bytes());
        let end = reason.floor_char_boundary(MAX_CONTROL_BYTES - payload.len());
        payload.extend_from_slice(&reason.as_bytes()[..end]);
    }
    encode(OpCode::Control(Control::Close), &payload, output);
}

#[cfg(test)]
mod tests;
