//! Which room a request target names.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use thiserror::Error;

use super::names::has_invisible;
use crate::protocol::http::{Response, path_of};

/// Default maximum length of a room's name, in bytes after decoding.
pub(crate) const DEFAULT_MAX_ROOM_NAME_BYTES: usize = 256;
/// Maximum value of the limit on room names, in bytes.
pub(crate) const MAX_ROOM_NAME_BYTES: usize = 1024;

/// The name of a room in a party that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomName<'t> {
    /// The party.
    pub party: Cow<'t, str>,
    /// The room, decoded.
    pub room: Cow<'t, str>,
}

/// Why a target names no room.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// The server doesn't have this party.
    #[error("Party {0} not found")]
    UnknownParty(String),
    /// The escapes are malformed or not UTF-8 (RFC 3986, section 2.1 and 2.5), or the name contains
    /// control or invisible characters, or is `.` or `..`, which browsers resolve.
    #[error("The room's name is malformed")]
    Malformed,
    /// The room's name is over the limit.
    #[error("The room's name is too long")]
    TooLong,
    /// The path is none of the server's.
    #[error("Not found")]
    NotFound,
}

impl From<RouteError> for Response<'static> {
    fn from(error: RouteError) -> Self {
        let status = match error {
            RouteError::UnknownParty(_) | RouteError::NotFound => 404,
            RouteError::Malformed => 400,
            RouteError::TooLong => 414,
        };
        Self::text(status, error.to_string().into_bytes())
    }
}

/// The parties and limits by which targets name rooms.
#[derive(Debug, Clone)]
pub struct Router {
    /// The parties. `/party/x` names a room of the party `main`.
    pub parties: Vec<String>,
    /// Maximum length of a room's name, in bytes.
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
    /// The room that `target` names: `/party/:room` or `/parties/:party/:room`. Further segments
    /// and the query are ignored, as PartyKit ignores them.
    ///
    /// # Errors
    /// [`RouteError`] if the target names no room.
    pub fn route<'t>(&self, target: &'t str) -> Result<RoomName<'t>, RouteError> {
        let path = path_of(target);
        let mut segments = path.split('/').skip(1);
        let (party, room) = match segments.next() {
            Some("party") => (Some("main"), segments.next()),
            Some("parties") => (segments.next(), segments.next()),
            _ => return Err(RouteError::NotFound),
        };
        let (Some(party), Some(room)) = (party, room.filter(|room| !room.is_empty())) else {
            return Err(RouteError::NotFound);
        };
        let (Some(party), Some(room)) = (decode(party), decode(room)) else {
            return Err(RouteError::Malformed);
        };
        if !self.parties.iter().any(|known| *known == *party) {
            return Err(RouteError::UnknownParty(party.into_owned()));
        }
        if room.len() > self.max_room_name_bytes {
            return Err(RouteError::TooLong);
        }
        Ok(RoomName { party, room })
    }
}

/// Decodes a segment of a path; `None` if it can't be a name.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if has_malformed_escape(segment) {
        return None;
    }
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    let is_bad = has_invisible(&name) || name.chars().any(char::is_control);
    (!is_bad && !matches!(&*name, "." | "..")).then_some(name)
}

fn has_malformed_escape(segment: &str) -> bool {
    let mut escapes = segment.split('%').skip(1);
    escapes.any(|rest| {
        let digits = rest.as_bytes().get(..2);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_rooms_as_in_partykit() {
        let router = Router {
            parties: vec!["main".to_owned(), "stage".to_owned()],
            ..Router::default()
        };
        let room = |party, room| {
            Ok(RoomName {
                party: Cow::Borrowed(party),
                room: Cow::Borrowed(room),
            })
        };
        for (target, expected) in [
            ("/party/talk", room("main", "talk")),
            ("/party/talk?_pk=1&x=/y", room("main", "talk")),
            ("/party/talk/more/segments", room("main", "talk")),
            ("/parties/main/talk", room("main", "talk")),
            ("/parties/stage/talk/", room("stage", "talk")),
            ("/parties/main/a%20b%2Fc", room("main", "a b/c")),
            ("/parties/main/%E2%9D%A4", room("main", "❤")),
            ("/parties/main/100%25", room("main", "100%")),
            ("/parties/main/100%", Err(RouteError::Malformed)),
            ("/parties/main/%zz", Err(RouteError::Malformed)),
            ("/parties/main/%0a", Err(RouteError::Malformed)),
            ("/parties/main/%E2%80%AEa", Err(RouteError::Malformed)),
            ("/parties/main/.", Err(RouteError::Malformed)),
            ("/parties/main/%2e%2E", Err(RouteError::Malformed)),
            ("http://host:1/party/talk?q", room("main", "talk")),
            ("/parties/main/%ff", Err(RouteError::Malformed)),
            (
                "/parties/other/talk",
                Err(RouteError::UnknownParty("other".into())),
            ),
            ("/parties/main/", Err(RouteError::NotFound)),
            ("/parties/main", Err(RouteError::NotFound)),
            ("/party/", Err(RouteError::NotFound)),
            ("/party", Err(RouteError::NotFound)),
            ("/", Err(RouteError::NotFound)),
            ("*", Err(RouteError::NotFound)),
            ("", Err(RouteError::NotFound)),
            ("/partying/talk", Err(RouteError::NotFound)),
        ] {
            assert_eq!(router.route(target), expected, "{target}");
        }
    }

    #[test]
    fn the_limit_on_names_counts_decoded_bytes() {
        let router = Router::default();
        let fits = format!("/party/{}", "%61".repeat(DEFAULT_MAX_ROOM_NAME_BYTES));
        let over = format!("/party/{}", "a".repeat(DEFAULT_MAX_ROOM_NAME_BYTES + 1));
        assert!(router.route(&fits).is_ok());
        assert_eq!(router.route(&over), Err(RouteError::TooLong));
    }
}
