//! A bound on how often a condition that lasts is logged.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a message stays silent after it was logged.
const SILENCE: Duration = Duration::from_secs(60);

/// Lets one message through per minute, over all threads.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    logged: Mutex<Option<Instant>>,
}

impl LogThrottle {
    /// Whether the caller may log now. If so, the silence begins.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = logged.is_none_or(|at| now.saturating_duration_since(at) >= SILENCE);
        if allowed {
            *logged = Some(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_a_minute_passes() {
        let throttle = LogThrottle::default();
        let now = Instant::now();
        assert!(throttle.allows(now));
        assert!(!throttle.allows(now + SILENCE / 2));
        assert!(throttle.allows(now + SILENCE));
        assert!(!throttle.allows(now + SILENCE));
    }
}
