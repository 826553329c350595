//! What the client of a request may do in a room, by its access token.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use super::refusal::Refusal;
use super::route::RoomName;
use crate::access::{Access, Cap, Caps, Denied, Grant, Source, presented};
use crate::protocol::http::{Origins, Request};

/// The label in metrics of clients whose token lacks the cap.
const MISSING_CAP: &str = "missing_cap";

/// Who may do what in rooms.
#[derive(Debug)]
pub(crate) struct Permissions {
    /// Without it, everybody may watch and react, and nobody may moderate.
    access: Option<Access>,
    /// Number of refusals, by [`Denied::LABELS`] and then of clients whose token lacks the cap.
    refused: [AtomicU64; Denied::LABELS.len() + 1],
}

/// Why a client may not do what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpermitted {
    /// The client may do nothing in the room.
    Denied(Denied),
    /// The client may do other things.
    MissingCap,
}

impl Unpermitted {
    /// What the client is told.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Denied(Denied::Missing | Denied::Invalid(_)) => Refusal::Token,
            Self::Denied(Denied::Expired) => Refusal::TokenExpired,
            Self::Denied(Denied::WrongRoom) | Self::MissingCap => Refusal::NotPermitted,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Denied(denied) => denied.label(),
            Self::MissingCap => MISSING_CAP,
        }
    }
}

/// The time in seconds since 1970.
pub(super) fn unix_now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

impl Permissions {
    /// Asks `access`, if there is one. Without it, everybody may watch and react.
    pub(crate) fn new(access: Option<Access>) -> Self {
        Self {
            access,
            refused: Default::default(),
        }
    }

    /// Whether clients need tokens.
    pub(super) fn has_tokens(&self) -> bool {
        self.access.is_some()
    }

    /// What the client of `request` may do in the room `name`, if that includes `cap`.
    ///
    /// # Errors
    /// [`Unpermitted`] says why the client may not.
    pub(super) fn grant(
        &self,
        request: &Request<'_>,
        origins: &Origins,
        name: &RoomName<'_>,
        cap: Cap,
    ) -> Result<Grant, Unpermitted> {
        let mut has_token = false;
        let grant = match &self.access {
            None => Grant {
                caps: Caps::REACT,
                expires_at: None,
            },
            Some(access) => {
                let presented = presented(request).filter(|presented| match presented.source {
                    // A browser adds the cookie to what any page asks for.
                    Source::Cookie => cap != Cap::Moderate && origins.trust(request),
                    // A link or another page's script can't add a field.
                    Source::Bearer => true,
                    Source::Query | Source::Subprotocol => cap != Cap::Moderate,
                });
                let token = presented.map(|presented| presented.token);
                has_token = token.is_some();
                access
                    .check(token, &name.party, &name.room, unix_now())
                    .map_err(Unpermitted::Denied)?
            }
        };
        if !grant.caps.has(cap) {
            return Err(if has_token {
                Unpermitted::MissingCap
            } else {
                Unpermitted::Denied(Denied::Missing)
            });
        }
        Ok(grant)
    }

    /// Counts a client that was refused.
    pub(super) fn count(&self, unpermitted: Unpermitted) {
        // Without keys there are no tokens to refuse.
        if self.has_tokens()
            && let Some(index) = labels().position(|label| label == unpermitted.label())
        {
            self.refused[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of refusals so far, by the label of the reason.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|it| it.load(Ordering::Relaxed));
        labels().zip(counts)
    }
}

fn labels() -> impl Iterator<Item = &'static str> {
    Denied::LABELS.into_iter().chain([MISSING_CAP])
}
