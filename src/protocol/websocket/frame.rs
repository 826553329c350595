//! The incremental frame decoder (RFC 6455, section 5) and the frames that the server sends.
//!
//! [`Decoder`] works in place on the caller's read buffer: a frame that lies whole in it is
//! unmasked and handed out where it lies, and the decoder holds nothing. Only what a read cut
//! in two, and messages in fragments, go into a boxed `Partial`, which is freed as soon as the
//! message is complete; so an idle connection's decoder is one null pointer.
//!
//! Text is validated as it arrives: invalid UTF-8 is refused at its first bad byte, even in the
//! middle of a frame.

use std::io::Cursor;
use std::ops::ControlFlow;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::close::{CloseCode, Violation, parse_close};
use super::mask::{advance, unmask};

/// The longest header that a frame can have: two bytes, eight of length, four of mask.
const MAX_HEADER_BYTES: usize = 14;
/// The longest payload of a control frame (section 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;
/// The default of the largest message that a client may send.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 4096;

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message, valid UTF-8.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping and what its pong must carry.
    Ping(&'a [u8]),
    /// A pong; what it carries is of no interest here.
    Pong,
    /// The peer closes, with this code if it gave one. Nothing after it counts.
    Close(Option<CloseCode>),
}

/// Decodes the frames that one client sends.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// What is known of a frame or message whose end has not arrived.
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
    /// Bytes of payload that are still to come.
    remaining: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Continuation,
    Control(Control),
}

/// A message that is being put together.
#[derive(Debug)]
struct Message {
    is_text: bool,
    bytes: Vec<u8>,
    /// How many of `bytes` are known to be valid UTF-8.
    validated: usize,
}

impl Decoder {
    /// Whether nothing is held: the last byte fed ended a message, and no fragments wait.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Decodes `buffer`, calling `sink` for each event, until the buffer is used up or `sink`
    /// breaks off. Returns how many bytes were used. The buffer is unmasked in place.
    ///
    /// # Errors
    /// The first [`Violation`]; the connection must be failed with its code (section 7.1.7), and
    /// the decoder must not be fed again.
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
/// the start of `bytes`. Nearly all frames are of this shape; all others are parsed by
/// [`FrameHeader`], which would find the same here.
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
/// In the second byte, with the length.
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
        // `Frame::parse` lets a continuation pass only where a message is in progress.
        Kind::Continuation => Err(Violation::UnexpectedContinuation),
    }
}

impl Frame {
    fn is_whole_in(&self, payload: &[u8]) -> bool {
        self.is_final && payload.len() >= self.remaining
    }

    /// Parses and checks the header at the start of `bytes`, given the size of the message in
    /// progress, if any. Returns the frame and the length of its header, or `None` if it isn't
    /// complete.
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
            // Reading from memory can't fail: a bad opcode is all that is left.
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
    /// Whether everything that was begun has been handed out.
    fn is_spent(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Takes one header or one piece of payload from the start of `bytes`, which is not empty.
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

    /// Hands out what is complete once the current frame has all its payload.
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
        // A character that the message's end cuts off is the one thing `push` lets pass.
        match simdutf8::basic::from_utf8(&self.bytes) {
            Ok(text) => Ok(Event::Text(text)),
            Err(_) => Err(Violation::InvalidUtf8),
        }
    }
}

/// Appends an unmasked, unfragmented frame to `output`, as a server sends it.
pub fn encode(opcode: OpCode, payload: &[u8], output: &mut Vec<u8>) {
    encode_header(opcode, payload.len(), output);
    output.extend_from_slice(payload);
}

/// Appends the header of such a frame, after which the payload must follow.
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

/// A ping without payload, as it is sent.
pub const EMPTY_PING: [u8; 2] = [0x89, 0];

/// Appends a close frame with `code` and `reason`, which is cut to what fits.
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
