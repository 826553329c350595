//! Requests for a room without an upgrade: reading the counts, and reacting.

use super::refusal::Refusal;
use super::room::RoomError;
use super::route::{RoomName, RouteError};
use super::shared::Shared;
use crate::protocol::http::{Request, Response};
use crate::protocol::messages::parse_reaction;
use crate::reactor::{Client, Verdict};

/// Why a request does not get to a room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// The request names no room.
    NoRoom(RouteError),
    /// The client may not use the room.
    Refused(Refusal),
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
            NotAdmitted::Refused(refusal) => refusal.into(),
        }
    }
}

/// The room that `request` names, if the request comes from an origin that may use it.
///
/// # Errors
/// [`NotAdmitted`] says why the client does not get to the room.
pub(super) fn admit<'r>(
    shared: &Shared,
    request: &Request<'r>,
) -> Result<RoomName<'r>, NotAdmitted> {
    if !shared.origins.allow(request) {
        return Err(Refusal::Origin.into());
    }
    Ok(shared.router.route(request.target)?)
}

/// Answers a request. Returns the verdict on the reaction in `body` if the request is a POST to a
/// room.
pub(super) fn answer(
    shared: &Shared,
    client: Client<'_>,
    request: &Request<'_>,
    body: &[u8],
) -> (Response<'static>, Option<Verdict>) {
    let name = match admit(shared, request) {
        Ok(name) => name,
        Err(not_admitted) => return (not_admitted.into(), None),
    };
    let response = match request.method {
        "GET" | "HEAD" => {
            let room = shared.table.enter(&name.party, &name.room, None);
            match room.refusal() {
                Some(refusal) => refusal.into(),
                None => Response::json(200, room.counts().message.json().to_vec()),
            }
        }
        "POST" => {
            let (response, verdict) = react(shared, client, &name, body);
            return (response, Some(verdict));
        }
        "OPTIONS" => Response::empty(204),
        _ => Response::text(405, &b"Method not allowed: use GET, POST or OPTIONS"[..]),
    };
    (response, None)
}

/// Counts the reaction in `body` at once, and answers with the new counts.
fn react(
    shared: &Shared,
    client: Client<'_>,
    name: &RoomName<'_>,
    body: &[u8],
) -> (Response<'static>, Verdict) {
    let kind = match parse_body(body, shared.max_kind_bytes) {
        Ok(kind) => kind,
        Err(reason) => return (Response::text(400, reason.into_bytes()), Verdict::Invalid),
    };
    match count(shared, client, name, &kind) {
        Ok(counts) => (Response::json(200, counts), Verdict::Accepted),
        Err(error) => {
            let (status, verdict) = match error {
                RoomError::Store(_) => (507, Verdict::Dropped),
                RoomError::TooManyKinds(_) => (422, Verdict::Dropped),
                RoomError::TooManyCreated => (429, Verdict::Dropped),
                RoomError::Frozen | RoomError::Removed => (409, Verdict::Dropped),
                RoomError::Closed => (403, Verdict::Dropped),
                RoomError::KindNotAllowed => (422, Verdict::Invalid),
            };
            let response = Response::text(status, error.to_string().into_bytes());
            (response, verdict)
        }
    }
}

fn count(
    shared: &Shared,
    client: Client<'_>,
    name: &RoomName<'_>,
    kind: &str,
) -> Result<Vec<u8>, RoomError> {
    let room = shared.table.enter(&name.party, &name.room, None);
    let may_create = || shared.may_create_room(client);
    room.counter_if(kind, may_create)?.add(1);
    shared.publish(&room, None);
    Ok(room.counts().message.json().to_vec())
}

fn parse_body(body: &[u8], max_kind_bytes: usize) -> Result<String, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    match parse_reaction(text, max_kind_bytes) {
        Ok(kind) => Ok(kind.into_owned()),
        Err(error) => Err(error.to_string()),
    }
}
