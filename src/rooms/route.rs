//! From a request target to the room that it names.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::protocol::http::{Response, path_of};

/// The default of the longest name of a room, in bytes after decoding.
pub const DEFAULT_MAX_ROOM_NAME_BYTES: usize = 256;
/// The most that the limit on room names can be set to, in bytes.
pub const MAX_ROOM_NAME_BYTES: usize = 1024;

/// What a target names.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'t> {
    /// A room of a known party.
    Room {
        /// The party.
        party: Cow<'t, str>,
        /// The room's name, decoded.
        room: Cow<'t, str>,
    },
    /// A party that this server doesn't have.
    UnknownParty(Cow<'t, str>),
    /// Escapes that are not UTF-8.
    Malformed,
    /// A room's name over the limit.
    TooLong,
    /// Anything else.
    NotFound,
}

/// What is served where.
#[derive(Debug, Clone)]
pub struct Router {
    /// The parties; `/party/x` is a room of the one that is called `main`.
    pub parties: Vec<String>,
    /// The longest name of a room, in bytes.
    pub max_room_name_bytes: usize,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            parties: vec!["main".to_owned()],
            max_room_name_bytes: DEFAULT_MAX_ROOM_NAME_BYTES,
        }
    }
}

impl Router {
    /// Finds what `target` names: `/party/:room` or `/parties/:party/:room`, with any further
    /// segments and any query.
    pub fn route<'t>(&self, target: &'t str) -> Route<'t> {
        let path = path_of(target);
        let mut segments = path.split('/').skip(1);
        let (party, room) = match segments.next() {
            Some("party") => (Some("main"), segments.next()),
            Some("parties") => (segments.next(), segments.next()),
            _ => return Route::NotFound,
        };
        let (Some(party), Some(room)) = (party, room.filter(|room| !room.is_empty())) else {
            return Route::NotFound;
        };
        let (Some(party), Some(room)) = (decode(party), decode(room)) else {
            return Route::Malformed;
        };
        if !self.parties.iter().any(|known| *known == *party) {
            return Route::UnknownParty(party);
        }
        if room.len() > self.max_room_name_bytes {
            return Route::TooLong;
        }
        Route::Room { party, room }
    }
}

impl Route<'_> {
    /// The answer where no room is named.
    pub fn refusal(&self) -> Response<'static> {
        match self {
            Self::UnknownParty(party) => {
                Response::text(404, format!("Party {party} not found").into_bytes())
            }
            Self::Malformed => Response::text(400, &b"The room's name is not UTF-8"[..]),
            Self::TooLong => Response::text(414, &b"The room's name is too long"[..]),
            Self::NotFound | Self::Room { .. } => Response::text(404, &b"Not found"[..]),
        }
    }
}

fn decode(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_what_partykit_lets_them_name() {
        let router = Router {
            parties: vec!["main".to_owned(), "stage".to_owned()],
            ..Router::default()
        };
        let room = |party, room| Route::Room {
            party: Cow::Borrowed(party),
            room: Cow::Borrowed(room),
        };
        for (target, expected) in [
            ("/party/talk", room("main", "talk")),
            ("/party/talk?_pk=1&x=/y", room("main", "talk")),
            ("/party/talk/more/segments", room("main", "talk")),
            ("/parties/main/talk", room("main", "talk")),
            ("/parties/stage/talk/", room("stage", "talk")),
            ("/parties/main/a%20b%2Fc", room("main", "a b/c")),
            ("/parties/main/%E2%9D%A4", room("main", "❤")),
            ("/parties/main/100%", room("main", "100%")),
            ("http://host:1/party/talk?q", room("main", "talk")),
            ("/parties/main/%ff", Route::Malformed),
            ("/parties/other/talk", Route::UnknownParty("other".into())),
            ("/parties/main/", Route::NotFound),
            ("/parties/main", Route::NotFound),
            ("/party/", Route::NotFound),
            ("/party", Route::NotFound),
            ("/", Route::NotFound),
            ("*", Route::NotFound),
            ("", Route::NotFound),
            ("/partying/talk", Route::NotFound),
        ] {
            assert_eq!(router.route(target), expected, "{target}");
        }
    }

    #[test]
    fn the_limit_on_names_is_in_decoded_bytes() {
        let router = Router::default();
        let fits = format!("/party/{}", "%61".repeat(DEFAULT_MAX_ROOM_NAME_BYTES));
        let over = format!("/party/{}", "a".repeat(DEFAULT_MAX_ROOM_NAME_BYTES + 1));
        assert!(matches!(router.route(&fits), Route::Room { .. }));
        assert_eq!(router.route(&over), Route::TooLong);
    }
}
