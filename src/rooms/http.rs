//! Requests for a room without an upgrade: reading the counts, and reacting.

use super::refusal::Refusal;
use super::room::Room;
use super::route::{RoomName, RouteError};
use super::session::Claim;
use super::shared::Shared;
use crate::protocol::http::{Request, Response, query_value};
use crate::protocol::messages::parse_reaction;
use crate::protocol::taps::{Tap, encode_ack, parse_session, parse_tap};
use crate::reactor::{Client, Verdict};

/// Why a request does not get to a room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// The request names no room.
    NoRoom(RouteError),
    /// The request names a malformed session.
    BadSession,
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
            NotAdmitted::BadSession => {
                Self::text(400, &b"session must be 32 hexadecimal digits"[..])
            }
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
                None => counts(&room),
            }
        }
        "POST" => {
            let (response, verdict) = react(shared, client, request, &name, body);
            return (response, Some(verdict));
        }
        "OPTIONS" => Response::empty(204),
        _ => Response::text(405, &b"Method not allowed: use GET, POST or OPTIONS"[..]),
    };
    (response, None)
}

/// Counts the taps in `body` at once, and answers with the new counts.
fn react(
    shared: &Shared,
    client: Client<'_>,
    request: &Request<'_>,
    name: &RoomName<'_>,
    body: &[u8],
) -> (Response<'static>, Verdict) {
    let (session, tap) = match parse(shared, request, body) {
        Ok(parsed) => parsed,
        Err(response) => return (response, Verdict::Invalid),
    };
    let room = shared.table.enter(&name.party, &name.room, None);
    let numbered = session.zip(tap.number);
    let numbered = numbered.map(|(id, number)| (shared.sessions.find_or_begin(id), number));
    if let Some((session, number)) = &numbered {
        match session.claim(*number) {
            Claim::Granted => {}
            Claim::Repeated => return (counts(&room), Verdict::Repeated),
            Claim::Early => {
                let mut json = Vec::new();
                encode_ack(session.counted(), &mut json);
                return (Response::json(412, json), Verdict::Repeated);
            }
        }
    }
    let may_create = || shared.may_create_room(client);
    match room.counter_if(&tap.kind, may_create) {
        Ok(counter) => {
            counter.add(tap.taps.into());
            shared.publish(&room, None);
            (counts(&room), Verdict::Batch(tap.taps))
        }
        Err(error) => {
            if let Some((session, number)) = &numbered
                && error.is_temporary()
            {
                session.release(*number);
            }
            let response = Response::text(error.status(), error.to_string().into_bytes());
            (response, error.verdict())
        }
    }
}

fn counts(room: &Room) -> Response<'static> {
    Response::json(200, room.counts().message.json().to_vec())
}

/// The session of a request, if it names one, and the taps in its body.
///
/// # Errors
/// The response that refuses the request.
fn parse<'b>(
    shared: &Shared,
    request: &Request<'_>,
    body: &'b [u8],
) -> Result<(Option<u128>, Tap<'b>), Response<'static>> {
    let refuse = |reason: String| Response::text(400, reason.into_bytes());
    let text = std::str::from_utf8(body).map_err(|_| refuse("the body is not UTF-8".to_owned()))?;
    let session = session(request)?;
    let tap = match session {
        Some(_) => parse_tap(text, shared.max_kind_bytes),
        None => parse_reaction(text, shared.max_kind_bytes).map(Tap::one),
    };
    let tap = tap.map_err(|error| refuse(error.to_string()))?;
    Ok((session, tap))
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
