//! Who gets to a room: its name, the page's origin, the client's permission and session.

use super::permission::Unpermitted;
use super::refusal::Refusal;
use super::route::{RoomName, RouteError};
use super::shared::Shared;
use crate::access::{Cap, Grant};
use crate::protocol::http::{Request, Response, query_value};
use crate::protocol::taps::parse_session;

/// Why a request does not get to a room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// The request names no room.
    NoRoom(RouteError),
    /// The request names a malformed session.
    BadSession,
    /// The client may not use the room.
    Refused(Refusal),
    /// The client may not do this in the room.
    Unpermitted(Unpermitted),
}

impl NotAdmitted {
    /// Counts the refusal of a token. Returns what the client is told.
    pub(super) fn counted(self, shared: &Shared) -> Self {
        match self {
            Self::Unpermitted(unpermitted) => {
                shared.permissions.count(unpermitted);
                Self::Refused(unpermitted.refusal())
            }
            other => other,
        }
    }
}

impl From<Unpermitted> for NotAdmitted {
    fn from(unpermitted: Unpermitted) -> Self {
        Self::Unpermitted(unpermitted)
    }
}

impl From<RouteError> for NotAdmitted {
    fn from(error: RouteError) -> Self {
        Self::NoRoom(error)
    }
}

impl From<Refusal> for NotAdmitted {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotAdmitted> for Response<'static> {
    fn from(not_admitted: NotAdmitted) -> Self {
        match not_admitted {
            NotAdmitted::NoRoom(error) => error.into(),
            NotAdmitted::BadSession => {
                Self::text(400, &b"session must be 32 hexadecimal digits"[..])
            }
            NotAdmitted::Refused(refusal) => refusal.into(),
            NotAdmitted::Unpermitted(unpermitted) => unpermitted.refusal().into(),
        }
    }
}

/// The room that `request` names and what its client may do there, if that includes `cap`.
///
/// # Errors
/// [`NotAdmitted`] says why the client does not get to the room.
pub(super) fn admit<'r>(
    shared: &Shared,
    request: &Request<'r>,
    cap: Cap,
) -> Result<(RoomName<'r>, Grant), NotAdmitted> {
    let name = locate(shared, request)?;
    let grant = shared
        .permissions
        .grant(request, &shared.origins, &name, cap)?;
    Ok((name, grant))
}

/// The room that `request` names, if the request comes from an origin that may use it.
pub(super) fn locate<'r>(
    shared: &Shared,
    request: &Request<'r>,
) -> Result<RoomName<'r>, NotAdmitted> {
    if !shared.origins.allow(request) {
        return Err(Refusal::Origin.into());
    }
    Ok(shared.router.route(request.target)?)
}

/// The session that a request names, if it names one.
///
/// # Errors
/// [`NotAdmitted::BadSession`] for a malformed name.
pub(super) fn session(request: &Request<'_>) -> Result<Option<u128>, NotAdmitted> {
    let name = query_value(request.target, "session");
    name.map(|name| parse_session(name).ok_or(NotAdmitted::BadSession))
        .transpose()
}
