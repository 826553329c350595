//! Timeouts at O(1) and without heap per connection.
//!
//! - [`Deadlines`]: one queue per timeout. All entries wait equally long, so the queue is in
//!   order by itself. An entry is not removed when its connection moves on; it is found stale.
//! - [`Sweep`]: pings. The slab is visited in slices, so that each place is visited once in an
//!   interval and the pings of a million connections are spread over it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mio::Token;

use super::connections::{parts, token};

/// The milliseconds of a reactor, since it started.
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

    /// Wraps after 49 days: only differences of nearby times mean something.
    pub(super) fn ms(self, now: Instant) -> u32 {
        now.duration_since(self.start).as_millis() as u32
    }
}

/// Connections that must have moved on a fixed time after they were put here.
#[derive(Debug)]
pub(super) struct Deadlines {
    timeout_ms: u32,
    queue: VecDeque<Deadline>,
}

/// A connection and its time, in 12 bytes: while many connect, there are many.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at_ms: u32,
    key: u32,
    generation: u16,
}

impl Deadlines {
    /// The timeout is at most an hour, so that wrapped times compare.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout_ms: timeout.as_millis() as u32,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, token: Token, now_ms: u32) {
        let (key, generation) = parts(token);
        self.queue.push_back(Deadline {
            at_ms: now_ms.wrapping_add(self.timeout_ms),
            key,
            generation,
        });
    }

    /// The connection whose time comes next.
    pub(super) fn front(&self) -> Option<Token> {
        let deadline = self.queue.front()?;
        Some(token(deadline.key, deadline.generation))
    }

    /// Forgets the connection whose time comes next.
    pub(super) fn pop(&mut self) {
        self.queue.pop_front();
        if self.queue.is_empty() {
            // After a storm the queue is as long as the storm was.
            self.queue = VecDeque::new();
        }
    }

    /// The next connection whose time has come.
    pub(super) fn pop_due(&mut self, now_ms: u32) -> Option<Token> {
        let token = self.front().filter(|_| self.left_ms(now_ms) == Some(0))?;
        self.pop();
        Some(token)
    }

    /// How long until the next time comes, in milliseconds.
    pub(super) fn left_ms(&self, now_ms: u32) -> Option<u32> {
        let left = self.queue.front()?.at_ms.wrapping_sub(now_ms) as i32;
        Some(left.max(0) as u32)
    }

    pub(super) fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }
}

/// The most slices in an interval, so that an idle reactor wakes seldom.
const MAX_SLICES: u32 = 64;
/// Places in a slice while there are few.
const MIN_SLICE: u32 = 64;
/// The most places visited in one turn of the loop.
const MAX_PLACES_PER_TURN: u32 = 512;

/// Where the visiting of the slab stands.
#[derive(Debug)]
pub(super) struct Sweep {
    interval: Duration,
    cursor: u32,
    /// Places of the present slice that are still to be visited.
    left: u32,
    due: Option<Instant>,
}

impl Sweep {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            cursor: 0,
            left: 0,
            due: None,
        }
    }

    /// The places to visit now, if the time has come, with `end` a bound on the places in use.
    pub(super) fn step(&mut self, now: Instant, end: u32) -> std::ops::Range<u32> {
        if self.cursor >= end {
            // The slab has shrunk, or the round is over; either ends the slice.
            self.cursor = 0;
            self.left = 0;
        }
        if end == 0 {
            self.due = None;
            return 0..0;
        }
        if self.left == 0 {
            let slices = (end / MIN_SLICE).clamp(1, MAX_SLICES);
            let due = *self.due.get_or_insert(now + self.interval / slices);
            if due > now {
                return 0..0;
            }
            self.left = end.div_ceil(slices).min(end - self.cursor);
            self.due = Some(now + self.interval / slices);
        }
        let length = self.left.min(MAX_PLACES_PER_TURN).min(end - self.cursor);
        let places = self.cursor..self.cursor + length;
        self.cursor += length;
        self.left -= length;
        places
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// When the next slice is due; now, if this one isn't done.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        if self.left > 0 { Some(now) } else { self.due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_in_time_also_when_the_clock_wraps() {
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

    /// Visits of each place, and turns that did anything, in `intervals` intervals.
    fn visits(end: u32, intervals: u32) -> (Vec<u32>, u32) {
        let interval = Duration::from_secs(30);
        let mut sweep = Sweep::new(interval);
        let mut now = Instant::now();
        let finish = now + interval * intervals + Duration::from_millis(1);
        let mut visits = vec![0; end as usize];
        let mut turns = 0;
        loop {
            let places = sweep.step(now, end);
            turns += u32::from(!places.is_empty());
            places.for_each(|place| visits[place as usize] += 1);
            match sweep.next(now) {
                Some(due) if due <= finish => now = due.max(now),
                _ => return (visits, turns),
            }
        }
    }

    #[test]
    fn every_place_is_visited_once_in_an_interval() {
        for end in [1, 63, 64, 1000, 4096, 100_000] {
            let (visits, _) = visits(end, 4);
            let (least, most) = (visits.iter().min(), visits.iter().max());
            assert!(
                least >= Some(&3) && most <= Some(&5),
                "{end}: {least:?} {most:?}"
            );
        }
    }

    #[test]
    fn few_connections_cause_few_turns() {
        assert_eq!(visits(64, 4).1, 4);
        assert!(visits(1024, 4).1 <= 64);
    }

    #[test]
    fn without_connections_nothing_is_due() {
        let mut sweep = Sweep::new(Duration::from_secs(1));
        let now = Instant::now();
        assert!(sweep.step(now, 64).is_empty());
        assert!(sweep.next(now).is_some());
        assert!(sweep.step(now, 0).is_empty());
        assert_eq!(sweep.next(now), None);
    }

    #[test]
    fn a_slab_that_shrinks_within_a_slice_ends_it() {
        let mut sweep = Sweep::new(Duration::from_secs(64));
        let mut now = Instant::now();
        assert!(sweep.step(now, 1 << 20).is_empty());
        now += Duration::from_secs(1);
        assert!(!sweep.step(now, 1 << 20).is_empty());
        assert_eq!(sweep.next(now), Some(now), "the slice goes on");
        assert!(sweep.step(now, 64).is_empty());
        assert!(sweep.next(now) > Some(now), "it does not go on");

        now += Duration::from_secs(64);
        assert!(!sweep.step(now, 1 << 20).is_empty());
        assert!(sweep.step(now, 0).is_empty());
        assert_eq!(sweep.next(now), None);
    }
}
