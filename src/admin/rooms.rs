//! The list of rooms, and what an operator does to one of them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::Write;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::reset::Resets;
use crate::protocol::http::Response;
use crate::reactor::News;
use crate::rooms::Room;
use crate::rooms::Shared;

/// Rooms that are listed if the query doesn't say how many.
const DEFAULT_LISTED: usize = 100;
/// The most rooms that are listed.
const MAX_LISTED: usize = 500;
/// The list ends early when it has become so long, in bytes.
const MAX_LIST_BYTES: usize = 1 << 20;

const NOTHING_IN_IT: &str = "There is no such room, or nothing in it";

/// What to list.
#[derive(Debug, PartialEq, Eq)]
struct Query<'q> {
    limit: usize,
    /// What the name must contain, in lower case.
    search: Cow<'q, str>,
    sort: Sort,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Members,
    Reactions,
    Rate,
    Name,
}

impl<'q> Query<'q> {
    /// Reads the query of a target; what it doesn't understand it passes over.
    fn parse(target: &'q str) -> Self {
        let mut query = Self {
            limit: DEFAULT_LISTED,
            search: Cow::Borrowed(""),
            sort: Sort::Members,
        };
        let text = target.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            match (name, value) {
                ("limit", _) => {
                    query.limit = value.parse().unwrap_or(DEFAULT_LISTED).min(MAX_LISTED);
                }
                ("search", _) => {
                    let text = value.replace('+', " ");
                    let text = percent_decode_str(&text).decode_utf8_lossy();
                    query.search = Cow::Owned(text.to_lowercase());
                }
                ("sort", "reactions") => query.sort = Sort::Reactions,
                ("sort", "rate") => query.sort = Sort::Rate,
                ("sort", "name") => query.sort = Sort::Name,
                _ => {}
            }
        }
        query
    }

    fn wants(&self, room: &Room) -> bool {
        let has = |name: &str| name.to_lowercase().contains(&*self.search);
        self.search.is_empty()
            || has(room.name())
            || has(&format!("{}/{}", room.party(), room.name()))
    }

    fn order(&self, room: &Room, other: &Room) -> Ordering {
        let name = |room: &Room| (room.party().to_owned(), room.name().to_owned());
        let by = match self.sort {
            Sort::Members => other.members().cmp(&room.members()),
            Sort::Reactions => other.total().cmp(&room.total()),
            Sort::Rate => other.per_second().total_cmp(&room.per_second()),
            Sort::Name => Ordering::Equal,
        };
        by.then_with(|| name(room).cmp(&name(other)))
    }
}

/// The rooms in memory that the query of `target` asks for, as JSON.
pub(super) fn list(shared: &Shared, target: &str) -> Response<'static> {
    let query = Query::parse(target);
    let (mut in_memory, mut matching) = (0, 0);
    let mut rooms: Vec<Arc<Room>> = Vec::new();
    shared.table.for_each(|room| {
        in_memory += 1;
        if query.wants(room) {
            matching += 1;
            rooms.push(Arc::clone(room));
            // So that a million rooms take no more than a few.
            if rooms.len() >= 2 * MAX_LISTED {
                keep_first(&mut rooms, &query);
            }
        }
    });
    keep_first(&mut rooms, &query);
    let mut json = Vec::new();
    // Writing to memory can't fail.
    let _ = write!(json, r#"{{"inMemory":{in_memory},"matching":{matching},"#);
    json.extend_from_slice(br#""rooms":["#);
    for (index, room) in rooms.iter().enumerate() {
        if json.len() > MAX_LIST_BYTES {
            break;
        }
        if index > 0 {
            json.push(b',');
        }
        write_room(room, &mut json);
    }
    json.extend_from_slice(b"]}");
    Response::json(200, json)
}

fn keep_first(rooms: &mut Vec<Arc<Room>>, query: &Query<'_>) {
    rooms.sort_by(|room, other| query.order(room, other));
    rooms.truncate(query.limit);
}

fn write_room(room: &Room, json: &mut Vec<u8>) {
    // Strings always serialize.
    let text = |text| serde_json::to_string(text).unwrap_or_default();
    let _ = write!(
        json,
        r#"{{"party":{},"room":{},"members":{},"reactions":{},"perSecond":{},"counts":"#,
        text(room.party()),
        text(room.name()),
        room.members(),
        room.total(),
        room.per_second(),
    );
    json.extend_from_slice(room.counts().message.json());
    json.push(b'}');
}

/// Does what the path of a POST says: `/rooms/:party/:room/reset` or `…/close`.
pub(super) fn act(shared: &Arc<Shared>, resets: &mut Resets, path: &str) -> Response<'static> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let ["rooms", party, room, action] = segments[..] else {
        return not_found("There is nothing to do here");
    };
    let decode = |segment| percent_decode_str(segment).decode_utf8();
    let (Ok(party), Ok(name)) = (decode(party), decode(room)) else {
        return Response::text(400, &b"The room's name is not UTF-8"[..]);
    };
    let handle = shared.table.enter(&party, &name, None);
    let response = match action {
        "reset" if handle.counts().message.json() == b"{}" => not_found(NOTHING_IN_IT),
        "reset" => resets.begin(shared, handle),
        "close" => close(shared, &handle),
        _ => return not_found("A room can be reset or closed"),
    };
    if response.status < 300 {
        tracing::info!(?party, room = ?name, action, "the operator acts");
    }
    response
}

/// Sends the members of a room away, and says how many.
fn close(shared: &Shared, room: &Room) -> Response<'static> {
    let members = room.members();
    tell(shared, room.reactors(), News::Closed(room.id()));
    match members {
        0 => not_found(NOTHING_IN_IT),
        _ => Response::json(200, format!(r#"{{"members":{members}}}"#).into_bytes()),
    }
}

pub(super) fn tell(shared: &Shared, reactors: impl Iterator<Item = usize>, news: News) {
    reactors.for_each(|reactor| shared.bells[reactor].tell(news));
}

fn not_found(why: &'static str) -> Response<'static> {
    Response::text(404, why.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_bounded_and_what_they_do_not_say_has_a_default() {
        let query = |target| Query::parse(target);
        assert_eq!(query("/rooms").limit, DEFAULT_LISTED);
        assert_eq!(query("/rooms?limit=7").limit, 7);
        assert_eq!(query("/rooms?limit=99999999").limit, MAX_LISTED);
        assert_eq!(query("/rooms?limit=-1&x").limit, DEFAULT_LISTED);
        assert_eq!(query("/rooms?search=A%20b+%E2%9D%A4").search, "a b ❤");
        assert_eq!(query("/rooms?sort=rate").sort, Sort::Rate);
        assert_eq!(query("/rooms?sort=other").sort, Sort::Members);
    }
}
