//! The connections that are over their message rate, and those that are so far over it that the
//! reactor closes them. The table holds only connections that have dropped messages.

use std::collections::HashMap;

/// Length of the window in which dropped messages are counted, in milliseconds.
const WINDOW_MS: u32 = 1000;
/// A connection that drops this many times its rate in one window is closed.
const CLOSE_FACTOR: u32 = 20;

/// The dropped messages of one connection.
#[derive(Debug, Clone, Copy)]
struct Offence {
    since_ms: u32,
    dropped: u32,
}

/// The connections that have dropped messages, by their keys.
#[derive(Debug, Default)]
pub(super) struct Offenders {
    by_key: HashMap<u32, Offence>,
}

impl Offenders {
    /// Counts messages that the connection at `key` has dropped. Returns whether the reactor must
    /// close it.
    pub(super) fn count(&mut self, key: u32, dropped: u32, per_second: u32, now_ms: u32) -> bool {
        let offence = self.by_key.entry(key).or_insert(Offence {
            since_ms: now_ms,
            dropped: 0,
        });
        if now_ms.wrapping_sub(offence.since_ms) >= WINDOW_MS {
            *offence = Offence {
                since_ms: now_ms,
                dropped: 0,
            };
        }
        offence.dropped = offence.dropped.saturating_add(dropped);
        offence.dropped > per_second.saturating_mul(CLOSE_FACTOR)
    }

    /// Forgets the connection at `key`, which has closed.
    pub(super) fn forget(&mut self, key: u32) {
        if !self.by_key.is_empty() {
            self.by_key.remove(&key);
            if self.by_key.is_empty() {
                self.by_key = HashMap::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flood_within_a_second_closes_a_connection() {
        let mut offenders = Offenders::default();
        assert!(!offenders.count(1, 400, 20, 0));
        assert!(offenders.count(1, 1, 20, 999));
        assert!(!offenders.count(2, 400, 20, 0));
        assert!(!offenders.count(2, 400, 20, 1000), "a new window has begun");
        offenders.forget(2);
        assert!(!offenders.count(2, 400, 20, 1001));
        offenders.forget(1);
        offenders.forget(2);
        assert_eq!(offenders.by_key.capacity(), 0);
    }
}
