//! One connection of the swarm: as little state as it takes to follow one count.

use super::board::{Board, Figures, Phase, Room};
use super::wire::{self, WireError};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Longest latency that is told apart, in microseconds.
const MAX_MICROS: u64 = 600_000_000;
/// The swarm's frames need no secret masks.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No connection, or none any more.
    Closed,
    /// The TCP connection or the upgrade is under way.
    Upgrading,
    /// Upgraded; the first counts have not come yet.
    Greeting,
    /// Counted among the open ones.
    Open,
}

/// A member of a room. An idle one has no heap.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) stream: Option<TcpStream>,
    pub(super) room: u16,
    pub(super) state: State,
    /// Does not read while the load lasts.
    pub(super) slow: bool,
    /// Highest count seen.
    pub(super) seen: u64,
    spill: Option<Box<Spill>>,
}

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(debug_assertions)
))]
const _: () = assert!(size_of::<Member>() == 24);

/// What a connection keeps only while something is unfinished.
#[derive(Debug, Default)]
struct Spill {
    began: Option<Instant>,
    partial_input: Vec<u8>,
    partial_message: Option<Vec<u8>>,
    unsent: Vec<u8>,
}

/// What all connections of a worker work with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) board: Arc<Board>,
    pub(super) requests: Vec<Vec<u8>>,
    pub(super) accept: String,
    pub(super) figures: Figures,
    pub(super) phase: Phase,
    /// From `connect` to the first counts, in microseconds, of this wave of connections.
    pub(super) handshake: Histogram<u32>,
    /// From send to seen, in microseconds.
    pub(super) latency: Histogram<u32>,
}

/// A histogram of microseconds; what is longer than ten minutes counts as ten minutes.
pub(super) fn micros_histogram() -> Histogram<u32> {
    match Histogram::new_with_bounds(1, MAX_MICROS, 3) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("1 to {MAX_MICROS} with three digits is a valid range"),
    }
}

impl Desk {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self {
            requests: board.plan.target.requests(board.plan.rooms),
            accept: wire::accept_key(),
            figures: Figures::default(),
            phase: Phase::Connect,
            handshake: micros_histogram(),
            latency: micros_histogram(),
            board,
        }
    }

    fn room(&self, room: u16) -> &Room {
        &self.board.rooms[usize::from(room)]
    }
}

impl Member {
    pub(super) fn new(room: u16, slow: bool) -> Self {
        Self {
            stream: None,
            room,
            state: State::Closed,
            slow,
            seen: 0,
            spill: None,
        }
    }

    /// Takes over a connection that has just been begun, and sends the upgrade request as soon as
    /// the socket takes it.
    pub(super) fn begin(&mut self, stream: TcpStream, desk: &Desk) -> io::Result<()> {
        self.stream = Some(stream);
        self.state = State::Upgrading;
        self.seen = 0;
        self.spill = Some(Box::new(Spill {
            began: Some(Instant::now()),
            ..Spill::default()
        }));
        self.send(&desk.requests[usize::from(self.room)])
    }

    /// Drops the connection.
    pub(super) fn close(&mut self) {
        self.stream = None;
        self.spill = None;
        self.state = State::Closed;
    }

    /// Says goodbye, as far as the socket takes it, and drops the connection.
    pub(super) fn leave(&mut self) {
        self.say(Control::Close, &1000_u16.to_be_bytes());
        self.close();
    }

    fn say(&mut self, control: Control, payload: &[u8]) {
        let mut frame = Vec::new();
        wire::push_masked(&mut frame, OpCode::Control(control), payload, MASK);
        // A write that fails shows at the next read as well.
        let _ = self.send(&frame);
    }

    /// Whether a reaction could be sent at once.
    pub(super) fn is_ready(&self) -> bool {
        self.state == State::Open && self.spill.is_none()
    }

    /// Sends bytes, keeping what the socket does not take.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let behind = self
            .spill
            .as_ref()
            .is_some_and(|spill| !spill.unsent.is_empty());
        if !behind && let Some(stream) = &mut self.stream {
            let written = write_some(stream, bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        if !bytes.is_empty() {
            self.spill().unsent.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// The socket may take more now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let (Some(stream), Some(spill)) = (&mut self.stream, &mut self.spill) else {
            return Ok(());
        };
        if !spill.unsent.is_empty() {
            let written = write_some(stream, &spill.unsent)?;
            spill.unsent.drain(..written);
        }
        self.tidy();
        Ok(())
    }

    fn spill(&mut self) -> &mut Spill {
        self.spill.get_or_insert_default()
    }

    /// Gives the spill back once nothing is unfinished.
    fn tidy(&mut self) {
        let idle = self.spill.as_ref().is_some_and(|spill| {
            spill.began.is_none()
                && spill.partial_input.is_empty()
                && spill.partial_message.is_none()
                && spill.unsent.is_empty()
        });
        if idle {
            self.spill = None;
        }
    }

    /// Takes in what has just been read.
    pub(super) fn take_in(&mut self, bytes: &[u8], desk: &mut Desk) -> Result<(), WireError> {
        desk.figures.bytes += bytes.len() as u64;
        let earlier = match &mut self.spill {
            Some(spill) if !spill.partial_input.is_empty() => {
                spill.partial_input.extend_from_slice(bytes);
                Some(std::mem::take(&mut spill.partial_input))
            }
            _ => None,
        };
        let bytes = earlier.as_deref().unwrap_or(bytes);
        let used = self.consume(bytes, desk)?;
        let rest = bytes.get(used..).unwrap_or_default();
        if !rest.is_empty() {
            self.spill().partial_input = rest.to_vec();
        }
        self.tidy();
        Ok(())
    }

    /// Takes whole heads and frames from the front; returns how many bytes that were.
    fn consume(&mut self, bytes: &[u8], desk: &mut Desk) -> Result<usize, WireError> {
        let mut used = 0;
        if self.state == State::Upgrading {
            match wire::response_head(bytes, &desk.accept)? {
                Some(length) => used = length,
                None => return Ok(0),
            }
            self.state = State::Greeting;
        }
        while let Some((frame, length)) = wire::server_frame(bytes.get(used..).unwrap_or_default())?
        {
            used += length;
            match frame.opcode {
                OpCode::Data(Data::Text) if frame.fin => self.counts(frame.payload, desk)?,
                OpCode::Data(_) => self.fragment(&frame, desk)?,
                OpCode::Control(Control::Ping) => {
                    desk.figures.pings += 1;
                    self.say(Control::Pong, frame.payload);
                }
                OpCode::Control(Control::Close) => {
                    let code = match frame.payload {
                        [high, low, ..] => u16::from_be_bytes([*high, *low]),
                        _ => 1005,
                    };
                    let answer = frame.payload.get(..2).unwrap_or_default();
                    self.say(Control::Close, answer);
                    return Err(WireError::Closed(code));
                }
                OpCode::Control(_) => {}
            }
        }
        Ok(used)
    }

    fn fragment(
        &mut self,
        frame: &wire::ServerFrame<'_>,
        desk: &mut Desk,
    ) -> Result<(), WireError> {
        let earlier = self.spill().partial_message.take();
        let mut message = match (frame.opcode, earlier) {
            (OpCode::Data(Data::Text), None) => Vec::new(),
            (OpCode::Data(Data::Continue), Some(message)) => message,
            _ => return Err(WireError::Frame("no message of counts, or out of turn")),
        };
        if message.len() + frame.payload.len() > wire::MAX_MESSAGE_BYTES {
            return Err(WireError::TooLong);
        }
        message.extend_from_slice(frame.payload);
        if frame.fin {
            self.counts(&message, desk)
        } else {
            self.spill().partial_message = Some(message);
            Ok(())
        }
    }

    /// New counts of the room; how many are here is passed over.
    fn counts(&mut self, message: &[u8], desk: &mut Desk) -> Result<(), WireError> {
        if wire::is_presence(message) {
            return Ok(());
        }
        let count = desk.board.plan.kind.count(message)?;
        desk.figures.frames += 1;
        match self.state {
            State::Open if count > self.seen => {
                if desk.phase >= Phase::Load && !self.slow {
                    record_latency(self.room, self.seen, desk);
                }
                self.move_to(count, desk);
            }
            State::Open if count < self.seen => desk.figures.decreased += 1,
            State::Open => {}
            _ => {
                desk.room(self.room).begin_at(count);
                self.seen = count;
                self.state = State::Open;
                desk.figures.opened += 1;
                let began = self.spill.as_mut().and_then(|spill| spill.began.take());
                if let Some(began) = began {
                    desk.handshake.saturating_record(as_micros(began.elapsed()));
                }
            }
        }
        if self.slow && desk.phase >= Phase::Resume {
            desk.figures.slow_frames += 1;
        }
        Ok(())
    }

    fn move_to(&mut self, count: u64, desk: &mut Desk) {
        if desk.phase >= Phase::Judge {
            *self.verdict(desk) -= 1;
            self.seen = count;
            *self.verdict(desk) += 1;
        } else {
            self.seen = count;
        }
    }

    /// The figure that this member counts in, once the swarm is judged.
    pub(super) fn verdict<'a>(&self, desk: &'a mut Desk) -> &'a mut u64 {
        let order = self.seen.cmp(&desk.room(self.room).expected());
        let figures = &mut desk.figures;
        match (order, self.slow) {
            (std::cmp::Ordering::Equal, false) => &mut figures.exact,
            (std::cmp::Ordering::Less, false) => &mut figures.short,
            (std::cmp::Ordering::Greater, false) => &mut figures.over,
            (std::cmp::Ordering::Equal, true) => &mut figures.slow_exact,
            (_, true) => &mut figures.slow_wrong,
        }
    }
}

/// Records how long the oldest reaction that this member had not seen yet was on its way.
fn record_latency(room: u16, seen: u64, desk: &mut Desk) {
    if let Some(sent) = desk.room(room).sent_after(seen) {
        let micros = desk.board.micros(Instant::now()).saturating_sub(sent);
        desk.latency.saturating_record(micros.into());
    }
}

pub(super) fn as_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Writes once: how many bytes the socket took, none if it would block or is not connected yet.
pub(super) fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
