//! What the operator does to a room: reset, freeze, close, open or remove it, or remove a kind.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::reset::Resets;
use crate::protocol::http::Response;
use crate::rooms::{RoomHandle, Shared};
use crate::store::RoomMode;

/// Does what the path of a POST says: `/rooms/:party/:room/ACTION`, or
/// `/rooms/:party/:room/kinds/:kind/remove`.
pub(super) fn act(shared: &Arc<Shared>, resets: &mut Resets, path: &str) -> Response<'static> {
    let segments: Result<Vec<_>, _> = path
        .split('/')
        .skip(1)
        .map(|segment| percent_decode_str(segment).decode_utf8())
        .collect();
    let Ok(segments) = segments else {
        return Response::text(400, &b"The name is not UTF-8"[..]);
    };
    let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
    let (party, name, action) = match segments[..] {
        ["rooms", party, room, ref action @ ..] if !action.is_empty() => (party, room, action),
        _ => return not_found("Not found"),
    };
    let room = shared.table.enter(party, name, None);
    // A room of an earlier version may have a name that no request can have now.
    if !room.has_record() && !can_be_named(shared, path) {
        return not_found("No room can have this name");
    }
    match action {
        ["reset"] => reset(shared, resets, room),
        ["freeze"] => set_mode(shared, &room, RoomMode::Frozen),
        ["close"] => set_mode(shared, &room, RoomMode::Closed),
        ["open"] => set_mode(shared, &room, RoomMode::Open),
        ["remove"] => remove(shared, &room),
        ["kinds", kind, "remove"] => remove_kind(shared, &room, kind),
        _ => not_found("Unknown action: use reset, freeze, close, open or remove"),
    }
}

/// Whether clients can name the room of the path of an action.
fn can_be_named(shared: &Shared, path: &str) -> bool {
    let target = path.replacen("/rooms/", "/parties/", 1);
    shared.router.route(&target).is_ok()
}

fn reset(shared: &Arc<Shared>, resets: &mut Resets, room: RoomHandle) -> Response<'static> {
    if room.counts().message.json() == b"{}" {
        return not_found("The room does not exist or has no counts");
    }
    resets.begin(shared, room)
}

/// Sets the mode of a room, and answers with the number of its members at that time.
fn set_mode(shared: &Shared, room: &RoomHandle, mode: RoomMode) -> Response<'static> {
    let members = room.members();
    match shared.set_mode(room, mode) {
        Ok(true) => {}
        Ok(false) => return done(members),
        Err(error) => return Response::text(error.status(), error.to_string().into_bytes()),
    }
    let (party, name) = (room.party(), room.name());
    tracing::info!(?party, room = ?name, mode = mode.label(), "room mode set by operator");
    done(members)
}

fn remove(shared: &Shared, room: &RoomHandle) -> Response<'static> {
    let members = room.members();
    let existed = shared.remove(room);
    if !existed && members == 0 {
        return not_found("The room does not exist");
    }
    let (party, name) = (room.party(), room.name());
    tracing::info!(?party, room = ?name, "room removed by operator");
    done(members)
}

fn remove_kind(shared: &Shared, room: &RoomHandle, kind: &str) -> Response<'static> {
    if !shared.remove_kind(room, kind) {
        return not_found("The room does not have this kind");
    }
    let (party, name) = (room.party(), room.name());
    tracing::info!(?party, room = ?name, ?kind, "kind removed by operator");
    done(room.members())
}

fn done(members: u64) -> Response<'static> {
    Response::json(200, format!(r#"{{"members":{members}}}"#).into_bytes())
}

fn not_found(reason: &'static str) -> Response<'static> {
    Response::text(404, reason.as_bytes())
}
