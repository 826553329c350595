//! Requests of moderators: setting the mode of a room, and removing it or one of its kinds.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::admit::{NotAdmitted, admit};
use super::error::RoomError;
use super::shared::Shared;
use super::table::RoomHandle;
use crate::access::Cap;
use crate::protocol::http::{Request, Response};
use crate::reactor::Client;
use crate::store::RoomMode;

/// The body of a PATCH: `{"state":"frozen"}`.
///
/// A map, because a derived struct would take a list too.
type Patch = BTreeMap<String, RoomMode>;

/// Answers a PATCH, which sets the mode of a room, or a DELETE, which removes the room, or the kind
/// in `?kind=`.
///
/// # Errors
/// [`NotAdmitted`] says why the client does not get to the room.
pub(super) fn answer(
    shared: &Shared,
    client: Client<'_>,
    request: &Request<'_>,
    body: &[u8],
) -> Result<Response<'static>, NotAdmitted> {
    let (name, _) = admit(shared, request, Cap::Moderate)?;
    let room = shared.table.enter(&name.party, &name.room, None);
    if request.method == "PATCH" {
        return Ok(set_mode(shared, client, &room, body));
    }
    // A misspelt parameter must not remove the whole room.
    Ok(match request.target.split_once('?') {
        None => remove(shared, &room),
        Some((_, query)) => match query.strip_prefix("kind=") {
            Some(kind) if !kind.contains(['&', '=']) => remove_kind(shared, &room, kind),
            _ => Response::text(400, &b"the only query of a DELETE is kind=KIND"[..]),
        },
    })
}

fn set_mode(
    shared: &Shared,
    client: Client<'_>,
    room: &RoomHandle,
    body: &[u8],
) -> Response<'static> {
    let patch: Patch = serde_json::from_slice(body).unwrap_or_default();
    let state = patch.get("state").copied().filter(|_| patch.len() == 1);
    let Some(state) = state else {
        let reason = r#"the body is {"state":"open"}, or "frozen" or "closed" instead"#;
        return Response::text(400, reason.as_bytes());
    };
    if !room.has_record() && !state.is_open() && !shared.may_create_room(client) {
        return refuse(&RoomError::TooManyCreated);
    }
    match shared.set_mode(room, state) {
        Ok(false) => {}
        Ok(true) => {
            let (party, name, mode) = (room.party(), room.name(), state.label());
            tracing::info!(?party, room = ?name, mode, "room mode set by moderator");
        }
        Err(error) => return refuse(&error),
    }
    let json = format!(r#"{{"state":"{}"}}"#, state.label());
    Response::json(200, json.into_bytes())
}

fn remove_kind(shared: &Shared, room: &RoomHandle, kind: &str) -> Response<'static> {
    let Ok(kind) = percent_decode_str(kind).decode_utf8() else {
        return Response::text(400, &b"the kind is not UTF-8"[..]);
    };
    if !shared.remove_kind(room, &kind) {
        return Response::text(404, &b"the room does not have this kind"[..]);
    }
    let (party, name) = (room.party(), room.name());
    tracing::info!(?party, room = ?name, ?kind, "kind removed by moderator");
    Response::empty(204)
}

fn remove(shared: &Shared, room: &RoomHandle) -> Response<'static> {
    let has_members = room.members() > 0;
    if !shared.remove(room) && !has_members {
        return Response::text(404, &b"the room does not exist"[..]);
    }
    let (party, name) = (room.party(), room.name());
    tracing::info!(?party, room = ?name, "room removed by moderator");
    Response::empty(204)
}

fn refuse(error: &RoomError) -> Response<'static> {
    Response::text(error.status(), error.to_string().into_bytes())
}
