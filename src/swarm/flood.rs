//! Pipelining senders, which write the same buffer of masked reactions repeatedly.

use std::io;
use std::time::{Duration, Instant};

use super::member::{Member, write_some};
use super::plan::Goal;
use super::wire::TrackedKind;

/// Size of the repeatedly written buffer: large enough to make the cost of the system call small,
/// and small enough to stay in a cache.
const BUFFER_BYTES: usize = 256 << 10;
/// Number of writes of a sender before the next sender's turn.
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
    /// Number of bytes after which the sender stops: a whole number of frames.
    until: u64,
    blocked: bool,
}

impl Flood {
    /// `members` has the index of each sender, and the number of reactions that it must send.
    pub(super) fn new(kind: &TrackedKind, members: impl Iterator<Item = (usize, u64)>) -> Self {
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

    /// Returns how many reactions the `index`-th of `senders` must send.
    pub(super) fn share(goal: Goal, index: u64, senders: u64) -> u64 {
        match goal {
            Goal::Reactions(total) => (total + senders - 1 - index) / senders,
            Goal::Time(_) => u64::MAX,
        }
    }

    /// Resumes a member whose socket accepts bytes again.
    pub(super) fn unblock(&mut self, member: usize) {
        if let Some(flow) = self.flows.iter_mut().find(|flow| flow.member == member) {
            flow.blocked = false;
        }
    }

    /// Sends for one turn, and passes members whose connections failed to `broken`. If `goal` is a
    /// time and has passed, senders only finish their last frames.
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

    /// Returns how many whole reactions the kernel has accepted.
    pub(super) fn reactions(&self) -> u64 {
        self.flows
            .iter()
            .map(|flow| flow.written / self.frame_bytes)
            .sum()
    }

    pub(super) fn is_over(&self) -> bool {
        self.flows.iter().all(|flow| flow.written == flow.until)
    }

    /// Returns how long the worker may sleep.
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
