//! Timeouts at O(1): one queue per timeout. All entries of a queue wait equally long, so the queue
//! is in order by itself. An entry stays when its connection moves on, and is then found stale.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mio::Token;

use super::token::{parts, token};

/// A reactor's clock: milliseconds since it started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The time in milliseconds. It wraps after 49 days, so only compare times that are close.
    pub(super) fn ms(self, now: Instant) -> u32 {
        now.duration_since(self.start).as_millis() as u32
    }
}

/// Connections that must move on within a fixed time.
#[derive(Debug)]
pub(super) struct Deadlines {
    timeout_ms: u32,
    queue: VecDeque<Deadline>,
}

/// A connection and its deadline, in 12 bytes: a storm of newcomers makes many.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at_ms: u32,
    key: u32,
    generation: u16,
}

impl Deadlines {
    /// Creates an empty queue. `timeout` is at most an hour, so that wrapped times compare.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout_ms: timeout.as_millis() as u32,
            queue: VecDeque::new(),
        }
    }

    /// Gives the connection the full timeout from now on.
    pub(super) fn push(&mut self, token: Token, now_ms: u32) {
        let (key, generation) = parts(token);
        self.queue.push_back(Deadline {
            at_ms: now_ms.wrapping_add(self.timeout_ms),
            key,
            generation,
        });
    }

    /// The connection with the next deadline.
    pub(super) fn front(&self) -> Option<Token> {
        let deadline = self.queue.front()?;
        Some(token(deadline.key, deadline.generation))
    }

    /// Removes the entry with the next deadline.
    pub(super) fn pop(&mut self) {
        self.queue.pop_front();
        if self.queue.is_empty() {
            // A storm of newcomers leaves a large queue behind.
            self.queue = VecDeque::new();
        }
    }

    /// Removes and returns the next connection whose deadline has passed.
    pub(super) fn pop_due(&mut self, now_ms: u32) -> Option<Token> {
        let token = self.front().filter(|_| self.left_ms(now_ms) == Some(0))?;
        self.pop();
        Some(token)
    }

    /// The time until the next deadline, in milliseconds.
    pub(super) fn left_ms(&self, now_ms: u32) -> Option<u32> {
        let left = self.queue.front()?.at_ms.wrapping_sub(now_ms) as i32;
        Some(left.max(0) as u32)
    }

    /// The timeout, in milliseconds.
    pub(super) fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_even_when_the_clock_wraps() {
        let start = u32::MAX - 2000;
        let mut deadlines = Deadlines::new(Duration::from_secs(5));
        deadlines.push(token(1, 7), start);
        deadlines.push(token(2, 8), start.wrapping_add(1000));
        assert_eq!(deadlines.left_ms(start), Some(5000));
        assert_eq!(deadlines.pop_due(start.wrapping_add(4999)), None);
        let first = deadlines.pop_due(start.wrapping_add(5000));
        assert_eq!(first, Some(token(1, 7)));
        assert_eq!(deadlines.pop_due(start.wrapping_add(5000)), None);
        assert_eq!(deadlines.left_ms(start.wrapping_add(9000)), Some(0));
        let second = deadlines.pop_due(start.wrapping_add(9000));
        assert_eq!(second, Some(token(2, 8)));
        assert_eq!(deadlines.left_ms(start), None);
    }
}
