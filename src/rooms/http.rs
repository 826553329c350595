//! Requests for a room without an upgrade: reading the counts, reacting, and moderating.

use super::admit::{admit, locate, session};
use super::error::RoomError;
use super::moderate;
use super::room::Room;
use super::route::RoomName;
use super::session::Claim;
use super::shared::Shared;
use crate::access::Cap;
use crate::protocol::http::{Request, Response};
use crate::protocol::messages::parse_reaction;
use crate::protocol::taps::{Tap, encode_ack, parse_tap};
use crate::reactor::{Client, Verdict};

/// Answers a request. Returns the verdict on the reaction in `body` if the request is a POST to a
/// room.
pub(super) fn answer(
    shared: &Shared,
    client: Client<'_>,
    request: &Request<'_>,
    body: &[u8],
) -> (Response<'static>, Option<Verdict>) {
    if let Err(error) = session(request) {
        return (error.into(), None);
    }
    let cap = match request.method {
        "GET" | "HEAD" => Cap::Watch,
        "POST" => Cap::React,
        // Without tokens, nobody may moderate here.
        "PATCH" | "DELETE" if shared.permissions.has_tokens() => {
            let answered = moderate::answer(shared, client, request, body);
            let response = answered.unwrap_or_else(|error| error.counted(shared).into());
            return (response, None);
        }
        // A browser asks for permission without the token that the request will have.
        _ => return (without_token(shared, request), None),
    };
    let name = match admit(shared, request, cap) {
        Ok((name, _)) => name,
        Err(not_admitted) => return (not_admitted.counted(shared).into(), None),
    };
    if cap == Cap::React {
        let (response, verdict) = react(shared, client, request, &name, body);
        return (response, Some(verdict));
    }
    let room = shared.table.enter(&name.party, &name.room, None);
    let response = match room.refusal() {
        Some(refusal) => refusal.into(),
        None => counts(&room),
    };
    (response, None)
}

/// Answers a request that needs no token.
fn without_token(shared: &Shared, request: &Request<'_>) -> Response<'static> {
    match (locate(shared, request), request.method) {
        (Err(not_admitted), _) => not_admitted.into(),
        (Ok(_), "OPTIONS") => Response::empty(204),
        (Ok(_), _) => Response::text(405, &b"Method not allowed: use GET, POST or OPTIONS"[..]),
    }
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
    // Before the session, which begins only for what can be counted.
    if let Err(error) = room.check(&tap.kind) {
        return refuse(&error);
    }
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
    match room.add(&tap.kind, tap.taps, may_create) {
        Ok(()) => {
            shared.publish(&room, None);
            (counts(&room), Verdict::Batch(tap.taps))
        }
        Err(error) => {
            if let Some((session, number)) = &numbered
                && error.is_temporary()
            {
                session.release(*number);
            }
            refuse(&error)
        }
    }
}

fn refuse(error: &RoomError) -> (Response<'static>, Verdict) {
    let response = Response::text(error.status(), error.to_string().into_bytes());
    (response, error.verdict())
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
