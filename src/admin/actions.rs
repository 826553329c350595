//! What the operator does to a room: reset it or close it.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::reset::Resets;
use crate::protocol::http::Response;
use crate::rooms::{RoomHandle, Shared};

/// Does what the path of a POST says: `/rooms/:party/:room/reset` or `/rooms/:party/:room/close`.
pub(super) fn act(shared: &Arc<Shared>, resets: &mut Resets, path: &str) -> Response<'static> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let ["rooms", party, room, action] = segments[..] else {
        return not_found("Not found");
    };
    let decode = |segment| percent_decode_str(segment).decode_utf8();
    let (Ok(party), Ok(name)) = (decode(party), decode(room)) else {
        return Response::text(400, &b"The room's name is not UTF-8"[..]);
    };
    let room = shared.table.enter(&party, &name, None);
    match action {
        "reset" => reset(shared, resets, room),
        "close" => close(shared, &room),
        _ => not_found("Unknown action: use reset or close"),
    }
}

fn reset(shared: &Arc<Shared>, resets: &mut Resets, room: RoomHandle) -> Response<'static> {
    if room.counts().message.json() == b"{}" {
        return not_found("The room does not exist or has no counts");
    }
    resets.begin(shared, room)
}

/// Dismisses the members of a room, and answers with their number.
fn close(shared: &Shared, room: &RoomHandle) -> Response<'static> {
    let members = room.members();
    shared.close(room);
    if members == 0 {
        return not_found("The room does not exist or has no members");
    }
    let (party, name) = (room.party(), room.name());
    tracing::info!(?party, room = ?name, "room closed by operator");
    Response::json(200, format!(r#"{{"members":{members}}}"#).into_bytes())
}

fn not_found(reason: &'static str) -> Response<'static> {
    Response::text(404, reason.as_bytes())
}
