//! One connection of the swarm, with as little state as following one count requires.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::board::{Board, Figures, RoomTally, RunPhase};
use super::wire::{self, WireError};

/// Longest latency that the histograms distinguish, in microseconds.
const MAX_MICROS: u64 = 600_000_000;
/// The mask of all frames except reactions. The swarm's masks need not be secret.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberState {
    /// There is no connection.
    Closed,
    /// The TCP connection or the upgrade is under way.
    Upgrading,
    /// The connection is upgraded, but the first counts have not arrived.
    Greeting,
    /// The first counts have arrived. The connection counts as open.
    Open,
}

/// A member of a room. An idle member uses no heap.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) stream: Option<TcpStream>,
    pub(super) room: u16,
    pub(super) state: MemberState,
    /// Whether the member stops reading during the load.
    pub(super) slow: bool,
    /// Highest count seen.
    pub(super) seen: u64,
    unfinished: Option<Box<Unfinished>>,
}

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(debug_assertions)
))]
const _: () = assert!(size_of::<Member>() == 24);

/// State that a connection has only while a handshake, a message or a write is unfinished.
#[derive(Debug, Default)]
struct Unfinished {
    began: Option<Instant>,
    partial_input: Vec<u8>,
    partial_message: Option<Vec<u8>>,
    unsent: Vec<u8>,
}

/// The state that all connections of a worker share.
#[derive(Debug)]
pub(super) struct WorkerContext {
    pub(super) board: Arc<Board>,
    pub(super) requests: Vec<Vec<u8>>,
    pub(super) accept: String,
    pub(super) figures: Figures,
    pub(super) phase: RunPhase,
    /// Time from `connect` to the first counts in this wave of connections, in microseconds.
    pub(super) handshake: Histogram<u32>,
    /// Time from send to seen, in microseconds.
    pub(super) latency: Histogram<u32>,
}

/// Returns a histogram of microseconds. Times over ten minutes count as ten minutes.
pub(super) fn micros_histogram() -> Histogram<u32> {
    match Histogram::new_with_bounds(1, MAX_MICROS, 3) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("1 to {MAX_MICROS} with three digits is a valid range"),
    }
}

impl WorkerContext {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self {
            requests: board.plan.target.requests(board.plan.rooms),
            accept: wire::accept_key(),
            figures: Figures::default(),
            phase: RunPhase::Connect,
            handshake: micros_histogram(),
            latency: micros_histogram(),
            board,
        }
    }

    fn room(&self, room: u16) -> &RoomTally {
        &self.board.rooms[usize::from(room)]
    }
}

impl Member {
    pub(super) fn new(room: u16, slow: bool) -> Self {
        Self {
            stream: None,
            room,
            state: MemberState::Closed,
            slow,
            seen: 0,
            unfinished: None,
        }
    }

    /// Takes over a new connection, and sends the upgrade request as soon as the socket accepts it.
    pub(super) fn begin(&mut self, stream: TcpStream, context: &WorkerContext) -> io::Result<()> {
        self.stream = Some(stream);
        self.state = MemberState::Upgrading;
        self.seen = 0;
        self.unfinished = Some(Box::new(Unfinished {
            began: Some(Instant::now()),
            ..Unfinished::default()
        }));
        self.send(&context.requests[usize::from(self.room)])
    }

    /// Drops the connection.
    pub(super) fn close(&mut self) {
        self.stream = None;
        self.unfinished = None;
        self.state = MemberState::Closed;
    }

    /// Sends a close frame, if the socket accepts it, and drops the connection.
    pub(super) fn leave(&mut self) {
        self.send_control(Control::Close, &1000_u16.to_be_bytes());
        self.close();
    }

    fn send_control(&mut self, control: Control, payload: &[u8]) {
        let mut frame = Vec::new();
        wire::push_masked(&mut frame, OpCode::Control(control), payload, MASK);
        // If the write fails, the next read fails too.
        let _ = self.send(&frame);
    }

    /// Whether the member can send a reaction at once.
    pub(super) fn is_ready(&self) -> bool {
        self.state == MemberState::Open && self.unfinished.is_none()
    }

    /// Sends bytes, and keeps those that the socket does not accept.
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let has_unsent = self
            .unfinished
            .as_ref()
            .is_some_and(|unfinished| !unfinished.unsent.is_empty());
        if !has_unsent && let Some(stream) = &mut self.stream {
            let written = write_some(stream, bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        if !bytes.is_empty() {
            self.unfinished().unsent.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Writes unsent bytes, now that the socket may accept more.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let (Some(stream), Some(unfinished)) = (&mut self.stream, &mut self.unfinished) else {
            return Ok(());
        };
        if !unfinished.unsent.is_empty() {
            let written = write_some(stream, &unfinished.unsent)?;
            unfinished.unsent.drain(..written);
        }
        self.drop_finished();
        Ok(())
    }

    fn unfinished(&mut self) -> &mut Unfinished {
        self.unfinished.get_or_insert_default()
    }

    /// Frees the unfinished state once everything is finished.
    fn drop_finished(&mut self) {
        let is_finished = self.unfinished.as_ref().is_some_and(|unfinished| {
            unfinished.began.is_none()
                && unfinished.partial_input.is_empty()
                && unfinished.partial_message.is_none()
                && unfinished.unsent.is_empty()
        });
        if is_finished {
            self.unfinished = None;
        }
    }

    /// Processes bytes that have just been read.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        context: &mut WorkerContext,
    ) -> Result<(), WireError> {
        context.figures.bytes += bytes.len() as u64;
        let earlier = match &mut self.unfinished {
            Some(unfinished) if !unfinished.partial_input.is_empty() => {
                unfinished.partial_input.extend_from_slice(bytes);
                Some(std::mem::take(&mut unfinished.partial_input))
            }
            _ => None,
        };
        let bytes = earlier.as_deref().unwrap_or(bytes);
        let used = self.consume(bytes, context)?;
        let rest = bytes.get(used..).unwrap_or_default();
        if !rest.is_empty() {
            self.unfinished().partial_input = rest.to_vec();
        }
        self.drop_finished();
        Ok(())
    }

    /// Processes all whole heads and frames at the front of `bytes`. Returns their length.
    fn consume(&mut self, bytes: &[u8], context: &mut WorkerContext) -> Result<usize, WireError> {
        let mut used = 0;
        if self.state == MemberState::Upgrading {
            match wire::response_head(bytes, &context.accept)? {
                Some(length) => used = length,
                None => return Ok(0),
            }
            self.state = MemberState::Greeting;
        }
        while let Some((frame, length)) = wire::server_frame(bytes.get(used..).unwrap_or_default())?
        {
            used += length;
            match frame.opcode {
                OpCode::Data(Data::Text) if frame.fin => {
                    self.receive_counts(frame.payload, context)?
                }
                OpCode::Data(_) => self.receive_fragment(&frame, context)?,
                OpCode::Control(Control::Ping) => {
                    context.figures.pings += 1;
                    self.send_control(Control::Pong, frame.payload);
                }
                OpCode::Control(Control::Close) => {
                    let code = match frame.payload {
                        [high, low, ..] => u16::from_be_bytes([*high, *low]),
                        _ => 1005,
                    };
                    let answer = frame.payload.get(..2).unwrap_or_default();
                    self.send_control(Control::Close, answer);
                    return Err(WireError::Closed(code));
                }
                OpCode::Control(_) => {}
            }
        }
        Ok(used)
    }

    fn receive_fragment(
        &mut self,
        frame: &wire::ServerFrame<'_>,
        context: &mut WorkerContext,
    ) -> Result<(), WireError> {
        let earlier = self.unfinished().partial_message.take();
        let mut message = match (frame.opcode, earlier) {
            (OpCode::Data(Data::Text), None) => Vec::new(),
            (OpCode::Data(Data::Continue), Some(message)) => message,
            _ => return Err(WireError::Frame("not a message of counts, or out of order")),
        };
        if message.len() + frame.payload.len() > wire::MAX_MESSAGE_BYTES {
            return Err(WireError::TooLong);
        }
        message.extend_from_slice(frame.payload);
        if frame.fin {
            self.receive_counts(&message, context)
        } else {
            self.unfinished().partial_message = Some(message);
            Ok(())
        }
    }

    /// Processes a message of counts. Skips a message that says how many members are present.
    fn receive_counts(
        &mut self,
        message: &[u8],
        context: &mut WorkerContext,
    ) -> Result<(), WireError> {
        if wire::is_presence(message) {
            return Ok(());
        }
        let count = context.board.plan.kind.count(message)?;
        context.figures.frames += 1;
        match self.state {
            MemberState::Open if count > self.seen => {
                if context.phase >= RunPhase::Load && !self.slow {
                    record_latency(self.room, self.seen, context);
                }
                self.move_to(count, context);
            }
            MemberState::Open if count < self.seen => context.figures.decreased += 1,
            MemberState::Open => {}
            _ => {
                context.room(self.room).begin_at(count);
                self.seen = count;
                self.state = MemberState::Open;
                context.figures.opened += 1;
                let began = self
                    .unfinished
                    .as_mut()
                    .and_then(|unfinished| unfinished.began.take());
                if let Some(began) = began {
                    context
                        .handshake
                        .saturating_record(as_micros(began.elapsed()));
                }
            }
        }
        if self.slow && context.phase >= RunPhase::Resume {
            context.figures.slow_frames += 1;
        }
        Ok(())
    }

    fn move_to(&mut self, count: u64, context: &mut WorkerContext) {
        if context.phase >= RunPhase::Judge {
            *self.judged_figure(context) -= 1;
            self.seen = count;
            *self.judged_figure(context) += 1;
        } else {
            self.seen = count;
        }
    }

    /// Returns the figure that counts this member once the members are compared with their rooms.
    pub(super) fn judged_figure<'a>(&self, context: &'a mut WorkerContext) -> &'a mut u64 {
        let order = self.seen.cmp(&context.room(self.room).expected());
        let figures = &mut context.figures;
        match (order, self.slow) {
            (std::cmp::Ordering::Equal, false) => &mut figures.exact,
            (std::cmp::Ordering::Less, false) => &mut figures.short,
            (std::cmp::Ordering::Greater, false) => &mut figures.over,
            (std::cmp::Ordering::Equal, true) => &mut figures.slow_exact,
            (_, true) => &mut figures.slow_wrong,
        }
    }
}

/// Records the time since the oldest reaction was sent that the member had not seen yet.
fn record_latency(room: u16, seen: u64, context: &mut WorkerContext) {
    if let Some(sent) = context.room(room).sent_after(seen) {
        let micros = context.board.micros(Instant::now()).saturating_sub(sent);
        context.latency.saturating_record(micros.into());
    }
}

pub(super) fn as_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Writes once. Returns how many bytes the socket accepted; 0 if it would block or is not connected
/// yet.
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
