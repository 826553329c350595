//! Where a request has its token.

use crate::protocol::http::{Request, query_value};

/// The start of a subprotocol that carries a token (RFC 6455, section 4.1): browsers let a page
/// choose no other field of a handshake.
const SUBPROTOCOL: &[u8] = b"ovation.token.";
/// The query parameter with a token.
const QUERY: &str = "token";
/// The cookie with a token.
const COOKIE: &[u8] = b"ovation_token=";

/// A token, as a request presents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented<'r> {
    /// The token; empty if it is clear that it can't be one.
    pub token: &'r str,
    /// Where it was.
    pub source: Source,
}

/// Where a token was in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1).
    Bearer,
    /// `Sec-WebSocket-Protocol: ovation, ovation.token.TOKEN`.
    Subprotocol,
    /// `?token=TOKEN`.
    Query,
    /// The cookie `ovation_token`, which a browser adds by itself, whatever page makes it.
    Cookie,
}

/// The token of `request`: the first that is found, in the order of [`Source`]. The others don't
/// count.
pub fn presented<'r>(request: &Request<'r>) -> Option<Presented<'r>> {
    let found = |source: Source| {
        move |token: &'r [u8]| Presented {
            // A token is ASCII, so what isn't UTF-8 is refused like any malformed token.
            token: std::str::from_utf8(token).unwrap_or_default(),
            source,
        }
    };
    let bearer = || bearer(request).map(found(Source::Bearer));
    let subprotocol = || subprotocol(request).map(found(Source::Subprotocol));
    let query = || {
        let value = query_value(request.target, QUERY).filter(|value| !value.is_empty());
        value.map(str::as_bytes).map(found(Source::Query))
    };
    let cookie = || cookie(request).map(found(Source::Cookie));
    bearer().or_else(subprotocol).or_else(query).or_else(cookie)
}

/// The credentials of `Authorization`, if they are a bearer's. A request may have the field only
/// once: which line would count depends on who reads it.
fn bearer<'r>(request: &Request<'r>) -> Option<&'r [u8]> {
    let mut lines = request.values("authorization");
    let line = lines.next()?;
    if lines.next().is_some() {
        return Some(b"");
    }
    let (scheme, token) = line.split_at_checked(b"bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer.then(|| token.trim_ascii())
}

fn subprotocol<'r>(request: &Request<'r>) -> Option<&'r [u8]> {
    let mut lines = request.values("sec-websocket-protocol");
    lines.find_map(|line| {
        let mut names = line.split(|&byte| byte == b',');
        names.find_map(|name| name.trim_ascii().strip_prefix(SUBPROTOCOL))
    })
}

fn cookie<'r>(request: &Request<'r>) -> Option<&'r [u8]> {
    let mut lines = request.values("cookie");
    lines.find_map(|line| {
        let mut pairs = line.split(|&byte| byte == b';');
        pairs.find_map(|pair| pair.trim_ascii().strip_prefix(COOKIE))
    })
}
