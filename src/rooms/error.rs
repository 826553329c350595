//! Why a reaction can't be counted, and what each client is told.

use thiserror::Error;

use crate::reactor::Verdict;
use crate::store::StoreError;

/// Why a reaction can't be counted.
#[derive(Debug, Error)]
pub enum RoomError {
    /// The room has as many kinds as it may.
    #[error("the room has reached its limit of {0} kinds")]
    TooManyKinds(usize),
    /// The kind isn't on the operator's list, or contains invisible characters.
    #[error("this server does not count this kind")]
    KindNotAllowed,
    /// The client has reached its limit of new rooms a minute.
    #[error("too many new rooms from this address; try again later")]
    TooManyCreated,
    /// The client's access token does not allow reactions.
    #[error("the access token does not permit reactions")]
    NotPermitted,
    /// The room is frozen.
    #[error("the room is frozen: it counts no reactions now")]
    Frozen,
    /// The room is closed.
    #[error("the room is closed")]
    Closed,
    /// The room was removed.
    #[error("the room was removed")]
    Removed,
    /// The store can't add the room or the kind.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RoomError {
    /// The reason in one word, for clients with a session.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::KindNotAllowed => "kind",
            Self::TooManyKinds(_) => "kinds",
            Self::TooManyCreated => "rooms",
            Self::NotPermitted => "permission",
            Self::Frozen => "frozen",
            Self::Closed => "closed",
            Self::Removed => "removed",
            Self::Store(_) => "store",
        }
    }

    /// Whether the same reaction may be counted later.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::TooManyCreated | Self::Store(_))
    }

    /// What the reactor makes of a message that can't be counted.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::KindNotAllowed => Verdict::Invalid,
            _ => Verdict::Dropped,
        }
    }

    /// The status of the response to a request that can't be counted.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NotPermitted | Self::Closed => 403,
            Self::Frozen | Self::Removed => 409,
            Self::KindNotAllowed | Self::TooManyKinds(_) => 422,
            Self::TooManyCreated => 429,
            Self::Store(_) => 507,
        }
    }
}
