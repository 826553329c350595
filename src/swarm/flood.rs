//! Pipelining senders: the same buffer of masked reactions, written again and again.

use super::client::{Member, write_some};
use super::plan::Goal;
use super::wire::Kind;
use std::io;
use std::time::{Duration, Instant};

/// Size of the buffer that is written over and over: large enough that the system call is a small
/// part of its cost, small enough to stay in a cache.
const BUFFER_BYTES: usize = 256 << 10;
/// Writes of one sender before it is the next one's turn.
const WRITES_PER_TURN: usize = 2;

/// The senders of one worker.
#[derive(Debug)]
pub(super) struct Flood {
    frames: Vec<u8>,
    frame_bytes: u64,
    flows: Vec<Flow>,
}

#[derive(Debug)]
struct Flow {
    member: usize,
    written: u64,
    /// Stop after so many bytes; a whole number of frames.
    until: u64,
    blocked: bool,
}

impl Flood {
    /// `members` are indices of senders, each with the number of reactions that it owes.
    pub(super) fn new(kind: &Kind, members: impl Iterator<Item = (usize, u64)>) -> Self {
        let frame_bytes = kind.reaction_bytes() as u64;
        Self {
            frames: kind.reactions(BUFFER_BYTES),
            frame_bytes,
            flows: members
                .map(|(member, reactions)| Flow {
                    member,
                    written: 0,
                    until: reactions.saturating_mul(frame_bytes),
                    blocked: false,
                })
                .collect(),
        }
    }

    /// What the `index`-th of `senders` owes.
    pub(super) fn share(goal: Goal, index: u64, senders: u64) -> u64 {
        match goal {
            Goal::Reactions(total) => (total + senders - 1 - index) / senders,
            Goal::Time(_) => u64::MAX,
        }
    }

    /// The socket of a member takes bytes again.
    pub(super) fn unblock(&mut self, member: usize) {
        if let Some(flow) = self.flows.iter_mut().find(|flow| flow.member == member) {
            flow.blocked = false;
        }
    }

    /// Sends for one turn. Once `goal` is a time and it is over, only frames begun are finished.
    pub(super) fn turn(
        &mut self,
        goal: Goal,
        began: Instant,
        members: &mut [Member],
        mut broken: impl FnMut(usize, io::Error),
    ) {
        let over = matches!(goal, Goal::Time(time) if began.elapsed() >= time);
        for flow in &mut self.flows {
            if over {
                flow.until = flow
                    .until
                    .min(flow.written.next_multiple_of(self.frame_bytes));
            }
            let stream = members
                .get_mut(flow.member)
                .and_then(|member| member.stream.as_mut());
            let Some(stream) = stream else {
                flow.until = flow.written;
                continue;
            };
            for _ in 0..WRITES_PER_TURN {
                let left = flow.until - flow.written;
                if left == 0 || flow.blocked {
                    break;
                }
                let start = (flow.written % self.frames.len() as u64) as usize;
                let end = self
                    .frames
                    .len()
                    .min(start.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)));
                match write_some(stream, &self.frames[start..end]) {
                    Ok(0) => flow.blocked = true,
                    Ok(written) => flow.written += written as u64,
                    Err(error) => {
                        flow.until = flow.written;
                        broken(flow.member, error);
                        break;
                    }
                }
            }
        }
    }

    /// Whole reactions that the kernel took.
    pub(super) fn reactions(&self) -> u64 {
        self.flows
            .iter()
            .map(|flow| flow.written / self.frame_bytes)
            .sum()
    }

    pub(super) fn is_over(&self) -> bool {
        self.flows.iter().all(|flow| flow.written == flow.until)
    }

    /// How long the worker may sleep.
    pub(super) fn pause(&self) -> Duration {
        let waiting = self
            .flows
            .iter()
            .all(|flow| flow.blocked || flow.written == flow.until);
        if waiting {
            Duration::from_millis(5)
        } else {
            Duration::ZERO
        }
    }
}
