//! The limits that a reactor holds its connections to, with their defaults.

use std::time::Duration;

use crate::protocol::http::request::DEFAULT_MAX_HEAD_BYTES;
use crate::protocol::websocket::frame::DEFAULT_MAX_MESSAGE_BYTES;

/// The default of the most messages that a client may send which are none of the application's.
pub const DEFAULT_MAX_INVALID_MESSAGES: u8 = 10;
/// The default of how long a request may take to arrive, and a kept connection may be silent.
pub const DEFAULT_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The default of how long a client may take to finish closing.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The default of how often a silent connection is pinged.
pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(30);

/// The limits that a reactor holds its connections to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest message, in bytes, and the largest body of a request.
    pub max_message_bytes: usize,
    /// The largest request head, in bytes.
    pub max_head_bytes: usize,
    /// The most messages that a client may send which are none of the application's.
    pub max_invalid_messages: u8,
    /// How long a request may take to arrive, and a kept connection may be silent.
    pub head_timeout: Duration,
    /// How long a client may take to finish closing.
    pub close_timeout: Duration,
    /// How often a silent connection is pinged; never, if `None`.
    pub ping_interval: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            max_head_bytes: DEFAULT_MAX_HEAD_BYTES,
            max_invalid_messages: DEFAULT_MAX_INVALID_MESSAGES,
            head_timeout: DEFAULT_HEAD_TIMEOUT,
            close_timeout: DEFAULT_CLOSE_TIMEOUT,
            ping_interval: Some(DEFAULT_PING_INTERVAL),
        }
    }
}
