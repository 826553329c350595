//! The limits that a reactor holds its connections to, with their defaults.

use std::time::Duration;

use super::rate::MessageRate;
use crate::protocol::http::Hosts;
use crate::protocol::http::request::DEFAULT_MAX_HEAD_BYTES;
use crate::protocol::websocket::frame::DEFAULT_MAX_MESSAGE_BYTES;

/// Default maximum number of invalid messages from one client.
pub(crate) const DEFAULT_MAX_INVALID_MESSAGES: u8 = 10;
/// Default time that a request may take to arrive, and that a kept-alive connection may be silent.
pub(crate) const DEFAULT_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Default time that a client may take to finish closing.
pub(crate) const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Default interval at which the reactor pings a silent connection. The ping goes out after one to
/// two intervals: within the 60 s after which many proxies close a quiet connection.
pub(crate) const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(25);

/// The limits that a reactor holds its connections to.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Maximum size of a message and of a request body, in bytes.
    pub max_message_bytes: usize,
    /// Maximum size of a request head, in bytes.
    pub max_head_bytes: usize,
    /// Maximum number of messages from one client that the application refuses as invalid.
    pub max_invalid_messages: u8,
    /// Maximum rate of messages from one client; `None` for no limit. The reactor drops messages
    /// over the limit.
    pub message_rate: Option<MessageRate>,
    /// Whether messages over the rate are counted but not dropped.
    pub is_dry_run: bool,
    /// The names by which clients may address the server.
    pub hosts: Hosts,
    /// Time that a request may take to arrive, and that a kept-alive connection may be silent. At
    /// most an hour.
    pub head_timeout: Duration,
    /// Time that a client may take to finish closing. At most an hour.
    pub close_timeout: Duration,
    /// Interval at which the reactor pings a silent connection; `None` for never.
    pub ping_interval: Option<Duration>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            max_head_bytes: DEFAULT_MAX_HEAD_BYTES,
            max_invalid_messages: DEFAULT_MAX_INVALID_MESSAGES,
            message_rate: None,
            is_dry_run: false,
            hosts: Hosts::default(),
            head_timeout: DEFAULT_HEAD_TIMEOUT,
            close_timeout: DEFAULT_CLOSE_TIMEOUT,
            ping_interval: Some(DEFAULT_PING_INTERVAL),
        }
    }
}
