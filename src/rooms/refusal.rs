//! Why a client may not enter a room, or may not stay in it: one table of refusals, each with what
//! the client can read: a close code by WebSocket and event stream, a status by HTTP.
//!
//! The close codes lie in the ranges that clients of Centrifugo know: after 4000 to 4499 a client
//! may come back at once, after 4500 to 4999 it must not come back by itself.

use crate::protocol::http::Response;
use crate::protocol::websocket::close::CloseCode;
use crate::reactor::Dismissal;

/// Why a client may not enter a room, or may not stay in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The access token has expired. The client may come back with a new one.
    TokenExpired,
    /// The room was removed. A client that comes back finds a new room.
    Removed,
    /// There is no access token, or it is refused.
    Token,
    /// The access token does not allow what the client asks for.
    NotPermitted,
    /// The page is from an origin that is not allowed.
    Origin,
    /// The operator or a moderator has closed the room.
    Closed,
}

/// The close frames of the refusals, in their order, with the labels of their metric.
pub(crate) const DISMISSALS: [Dismissal; 6] = [
    Dismissal {
        label: "token_expired",
        code: CloseCode::Library(4100),
        text: "the access token has expired",
    },
    Dismissal {
        label: "removed",
        code: CloseCode::Library(4101),
        text: "the room was removed",
    },
    Dismissal {
        label: "token",
        code: CloseCode::Library(4500),
        text: "a valid access token is required",
    },
    Dismissal {
        label: "not_permitted",
        code: CloseCode::Library(4501),
        text: "the access token does not permit this",
    },
    Dismissal {
        label: "origin",
        code: CloseCode::Library(4502),
        text: "this origin is not allowed",
    },
    Dismissal {
        label: "closed",
        code: CloseCode::Library(4503),
        text: "the room is closed",
    },
];

impl Refusal {
    /// The refusal's place among the [`DISMISSALS`].
    pub(super) fn index(self) -> u8 {
        self as u8
    }

    fn status(self) -> u16 {
        match self {
            Self::Removed => 409,
            Self::TokenExpired | Self::Token => 401,
            Self::NotPermitted | Self::Origin | Self::Closed => 403,
        }
    }
}

impl From<Refusal> for Response<'static> {
    fn from(refusal: Refusal) -> Self {
        let Dismissal { text, .. } = DISMISSALS[usize::from(refusal.index())];
        Self::text(refusal.status(), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_row_of_the_table() {
        for (refusal, label) in [
            (Refusal::TokenExpired, "token_expired"),
            (Refusal::Removed, "removed"),
            (Refusal::Token, "token"),
            (Refusal::NotPermitted, "not_permitted"),
            (Refusal::Origin, "origin"),
            (Refusal::Closed, "closed"),
        ] {
            assert_eq!(DISMISSALS[usize::from(refusal.index())].label, label);
        }
    }

    #[test]
    fn close_codes_lie_in_the_range_for_applications() {
        for dismissal in DISMISSALS {
            assert!((4000..5000).contains(&u16::from(dismissal.code)));
            assert!(dismissal.text.len() <= 123, "{}", dismissal.text);
        }
    }
}
