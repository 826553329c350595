//! A limit on the rate of a client's messages, in four bytes per connection.
//!
//! It is a token bucket in the form of the generic cell rate algorithm (ITU-T I.371): the state is
//! the time at which the bucket will be full again. A bucket that isn't full is in the future by at
//! most the time that the whole burst and the largest debt take, so a state further away is one that
//! has wrapped, and counts as full.

/// Units of time in a millisecond.
const UNITS_PER_MS: u32 = 16;

/// Maximum rate that a limit can be set to, in messages per second.
pub(crate) const MAX_MESSAGE_RATE: u32 = 1000;
/// Maximum burst that a limit can be set to, in messages.
pub(crate) const MAX_MESSAGE_BURST: u32 = 100_000;
/// Default rate of messages from one client, per second.
pub(crate) const DEFAULT_MESSAGE_RATE: u32 = 20;
/// Default burst of messages from one client: the taps that the element keeps while it is offline.
pub(crate) const DEFAULT_MESSAGE_BURST: u32 = 200;

/// Maximum number of messages that a bucket owes: a little more than one batch.
const MAX_DEBT: u32 = 64;

/// A limit on the rate of a client's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRate {
    /// Time that one message takes, in units.
    interval: u32,
    /// Time that a whole burst takes, in units.
    tolerance: u32,
    per_second: u32,
}

/// What a connection remembers of its messages: when its bucket is full again, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bucket(u32);

impl MessageRate {
    /// Limits a client to `per_second` messages, and `burst` at once. `None` for no limit if
    /// `per_second` is 0. Larger values than the maxima count as these.
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let per_second = per_second.min(MAX_MESSAGE_RATE);
        let interval = (1000 * UNITS_PER_MS).checked_div(per_second)?;
        let burst = burst.clamp(1, MAX_MESSAGE_BURST);
        Some(Self {
            interval,
            tolerance: interval
                .saturating_mul(burst)
                .min(i32::MAX as u32 - MAX_DEBT * interval),
            per_second,
        })
    }

    /// The messages per second.
    pub(super) fn per_second(self) -> u32 {
        self.per_second
    }

    /// The number of messages that the bucket allows at `now_ms`.
    pub(super) fn allowed(self, bucket: Bucket, now_ms: u32) -> u32 {
        let behind = self.behind(bucket, now_ms);
        self.tolerance.saturating_sub(behind) / self.interval
    }

    /// Takes `messages` out of the bucket. A bucket that does not allow all of them owes the rest,
    /// at most [`MAX_DEBT`] messages.
    pub(super) fn take(self, bucket: &mut Bucket, messages: u32, now_ms: u32) {
        let taken = messages.saturating_mul(self.interval);
        let behind = self.behind(*bucket, now_ms).saturating_add(taken);
        bucket.0 = units(now_ms).wrapping_add(behind.min(self.max_behind()));
    }

    /// How far the bucket is from full, in units: more than the tolerance if it owes messages.
    fn behind(self, bucket: Bucket, now_ms: u32) -> u32 {
        let ahead = bucket.0.wrapping_sub(units(now_ms));
        if ahead > self.max_behind() { 0 } else { ahead }
    }

    fn max_behind(self) -> u32 {
        self.tolerance + MAX_DEBT * self.interval
    }
}

fn units(ms: u32) -> u32 {
    ms.wrapping_mul(UNITS_PER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let rate = MessageRate::new(20, 200).unwrap();
        let mut bucket = Bucket::default();
        for start in [0, 1_000_000, u32::MAX - 10] {
            assert_eq!(rate.allowed(bucket, start), 200);
            rate.take(&mut bucket, 200, start);
            assert_eq!(rate.allowed(bucket, start), 0);
            let later = |ms: u32| start.wrapping_add(ms);
            assert_eq!(rate.allowed(bucket, later(49)), 0);
            assert_eq!(rate.allowed(bucket, later(50)), 1);
            assert_eq!(rate.allowed(bucket, later(1000)), 20);
            assert_eq!(rate.allowed(bucket, later(60_000)), 200);
        }
        assert_eq!(MessageRate::new(0, 200), None);
    }

    proptest! {
        #[test]
        fn no_more_messages_pass_than_burst_and_rate(
            per_second in 1..=MAX_MESSAGE_RATE,
            burst in 1..1000u32,
            start in any::<u32>(),
            steps in proptest::collection::vec((0..2000u32, 0..500u32), 1..50),
        ) {
            let rate = MessageRate::new(per_second, burst).unwrap();
            let mut bucket = Bucket::default();
            let (mut now, mut passed, mut elapsed) = (start, 0u64, 0u64);
            // A bucket that is new or has wrapped is full.
            rate.take(&mut bucket, 0, now);
            for (wait_ms, wanted) in steps {
                now = now.wrapping_add(wait_ms);
                elapsed += u64::from(wait_ms);
                let taken = wanted.min(rate.allowed(bucket, now));
                rate.take(&mut bucket, taken, now);
                passed += u64::from(taken);
                // An interval is rounded down to whole units.
                let interval = u64::from(1000 * UNITS_PER_MS / per_second);
                let most = u64::from(burst) + elapsed * u64::from(UNITS_PER_MS) / interval + 1;
                prop_assert!(passed <= most, "{passed} of at most {most}");
            }
        }
    }
}
