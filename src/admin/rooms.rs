//! The list of rooms.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::Write;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::protocol::http::Response;
use crate::rooms::{Room, Shared};

/// Default number of rooms listed.
const DEFAULT_LISTED: usize = 100;
/// Maximum number of rooms listed.
const MAX_LISTED: usize = 500;
/// Length at which the list ends early, in bytes.
const MAX_LIST_BYTES: usize = 1 << 20;

/// Which rooms to list, and in which order.
#[derive(Debug, PartialEq, Eq)]
struct ListQuery<'q> {
    limit: usize,
    /// Text that the room's name must contain, in lower case.
    search: Cow<'q, str>,
    sort: Sort,
}

/// By what the list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Members,
    Reactions,
    Rate,
    Name,
}

impl<'q> ListQuery<'q> {
    /// Reads the query of a target. Unknown parameters are ignored.
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

/// The rooms in memory that match the query of `target`, as JSON.
pub(super) fn list(shared: &Shared, target: &str) -> Response<'static> {
    let query = ListQuery::parse(target);
    let (mut in_memory, mut matching) = (0, 0);
    let mut rooms: Vec<Arc<Room>> = Vec::new();
    shared.table.for_each(|room| {
        in_memory += 1;
        if query.wants(room) {
            matching += 1;
            rooms.push(Arc::clone(room));
            // A million rooms then take no more memory than a few.
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

fn keep_first(rooms: &mut Vec<Arc<Room>>, query: &ListQuery<'_>) {
    rooms.sort_by(|room, other| query.order(room, other));
    rooms.truncate(query.limit);
}

fn write_room(room: &Room, json: &mut Vec<u8>) {
    // Strings always serialize.
    let text = |text| serde_json::to_string(text).unwrap_or_default();
    let _ = write!(
        json,
        r#"{{"party":{},"room":{},"mode":"{}","members":{},"reactions":{},"perSecond":{},"counts":"#,
        text(room.party()),
        text(room.name()),
        room.mode().label(),
        room.members(),
        room.total(),
        room.per_second(),
    );
    json.extend_from_slice(room.counts().message.json());
    json.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_bounded_and_have_defaults() {
        let query = |target| ListQuery::parse(target);
        assert_eq!(query("/rooms").limit, DEFAULT_LISTED);
        assert_eq!(query("/rooms?limit=7").limit, 7);
        assert_eq!(query("/rooms?limit=99999999").limit, MAX_LISTED);
        assert_eq!(query("/rooms?limit=-1&x").limit, DEFAULT_LISTED);
        assert_eq!(query("/rooms?search=A%20b+%E2%9D%A4").search, "a b ❤");
        assert_eq!(query("/rooms?sort=rate").sort, Sort::Rate);
        assert_eq!(query("/rooms?sort=other").sort, Sort::Members);
    }
}
