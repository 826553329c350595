//! Why a connection ends. Every way out of a connection names one reason, which is also the label
//! of the metric that counts it.

use crate::protocol::websocket::close::CloseCode;

/// Why the reactor ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The client closed, with a close frame or without.
    Client,
    /// An HTTP exchange was over.
    Done,
    /// The client sent a request that could not be read or served.
    BadRequest,
    /// The client addressed the server by a name that isn't one of its own.
    Misdirected,
    /// The client sent a frame that breaks RFC 6455.
    ProtocolError,
    /// The client sent text that isn't UTF-8.
    InvalidUtf8,
    /// The client sent a message over the limit.
    MessageTooBig,
    /// The client sent too many messages that the application refused as invalid.
    Policy,
    /// The client sent far more messages than the rate allows.
    RateLimit,
    /// The request did not arrive in time.
    HeadTimeout,
    /// The client did not finish a message in time.
    MessageTimeout,
    /// The client did not answer a ping.
    PingTimeout,
    /// The socket failed.
    SocketError,
    /// The client took no output while the kernel's memory was scarce.
    TcpMemory,
    /// The connection was turned away: a limit was reached, or the system can't hold more.
    Overload,
    /// The server stops.
    Shutdown,
    /// The application dismissed the connection for the reason at this index of
    /// [`super::App::DISMISSALS`].
    Dismissed(u8),
}

/// The labels of the metric, by [`CloseReason::slot`].
const LABELS: [&str; 16] = [
    "client",
    "done",
    "bad_request",
    "misdirected",
    "protocol_error",
    "invalid_utf8",
    "message_too_big",
    "policy",
    "rate_limit",
    "head_timeout",
    "message_timeout",
    "ping_timeout",
    "socket_error",
    "tcp_memory",
    "overload",
    "shutdown",
];
/// The maximum number of [`Dismissal`]s of an application.
pub(super) const MAX_DISMISSALS: usize = 8;
/// The number of slots: the reactor's reasons, then the application's.
pub(super) const SLOTS: usize = LABELS.len() + MAX_DISMISSALS;

impl CloseReason {
    /// The reason's place among the counters.
    pub(super) fn slot(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Done => 1,
            Self::BadRequest => 2,
            Self::Misdirected => 3,
            Self::ProtocolError => 4,
            Self::InvalidUtf8 => 5,
            Self::MessageTooBig => 6,
            Self::Policy => 7,
            Self::RateLimit => 8,
            Self::HeadTimeout => 9,
            Self::MessageTimeout => 10,
            Self::PingTimeout => 11,
            Self::SocketError => 12,
            Self::TcpMemory => 13,
            Self::Overload => 14,
            Self::Shutdown => 15,
            Self::Dismissed(index) => LABELS.len() + usize::from(index),
        }
    }
}

/// The labels of all slots in use, in their order.
pub(super) fn labels(dismissals: &[Dismissal]) -> impl Iterator<Item = &'static str> + use<'_> {
    let dismissed = dismissals.iter().map(|dismissal| dismissal.label);
    LABELS.into_iter().chain(dismissed)
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Invalid => Self::InvalidUtf8,
            CloseCode::Size => Self::MessageTooBig,
            CloseCode::Policy => Self::Policy,
            CloseCode::Away => Self::Shutdown,
            _ => Self::ProtocolError,
        }
    }
}

/// A reason for which an application closes connections. The application names its reasons in
/// [`super::App::DISMISSALS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dismissal {
    /// The metric's label.
    pub label: &'static str,
    /// The code of the close frame (RFC 6455, section 7.4), or of the last event of a stream.
    pub code: CloseCode,
    /// The text of the close frame.
    pub text: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_the_slot_of_its_label() {
        let dismissals = [Dismissal {
            label: "operator",
            code: CloseCode::Normal,
            text: "",
        }];
        let labels: Vec<_> = labels(&dismissals).collect();
        for (reason, label) in [
            (CloseReason::Client, "client"),
            (CloseReason::Misdirected, "misdirected"),
            (CloseReason::RateLimit, "rate_limit"),
            (CloseReason::HeadTimeout, "head_timeout"),
            (CloseReason::TcpMemory, "tcp_memory"),
            (CloseReason::Shutdown, "shutdown"),
            (CloseReason::Dismissed(0), "operator"),
        ] {
            assert_eq!(labels[reason.slot()], label);
        }
    }
}
