//! Who may ask the admin side, and from where.
//!
//! - Without a token it listens on loopback only. Any page that a browser on this machine shows
//!   could still reach it, under a name of its own that it lets resolve to 127.0.0.1: so the name
//!   in `Host` must be an address, `localhost`, or the one that the operator gave.
//! - With a token every request but `/healthz` must bear it: as `Authorization: Bearer TOKEN`, or,
//!   for browsers, as the password of HTTP Basic, with any user name.
//! - What other sites' pages ask for, browsers mark (`Sec-Fetch-Site`): only following a link is
//!   allowed. What changes something needs `X-Ovation: 1` besides, a field that no other site's page can
//!   send without being asked for permission, which is never given.

use std::net::IpAddr;

use data_encoding::BASE64;
use subtle::ConstantTimeEq;

use crate::protocol::http::Response;
use crate::protocol::http::request::Request;

/// The shortest token.
pub(super) const MIN_TOKEN_BYTES: usize = 16;
/// The field, and its value, that changes need.
const CONFIRMATION: (&str, &str) = ("X-Ovation", "1");

/// What requests must bring.
#[derive(Debug)]
pub(super) struct Guard {
    token: Option<String>,
    /// The name or address that the operator chose.
    name: Option<String>,
}

impl Guard {
    /// Wants `token`, if there is one; answers to `name` besides addresses.
    pub(super) fn new(token: Option<String>, name: Option<String>) -> Self {
        Self { token, name }
    }

    /// Whether `request` may pass.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<(), Response<'static>> {
        let host = request.field("Host");
        match &self.token {
            Some(token) if !bears(request, token) => {
                return Err(Response::text(401, &b"This needs the admin token"[..]));
            }
            None if !self.knows(host) => {
                let why = "Ask by an address, localhost, or the name that --admin has";
                return Err(Response::text(403, why.as_bytes()));
            }
            _ => {}
        }
        if !is_own_or_link(request) {
            return Err(Response::text(403, &b"This is not for other sites"[..]));
        }
        Ok(())
    }

    /// Whether `request` may change something.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check_change(&self, request: &Request<'_>) -> Result<(), Response<'static>> {
        let (name, value) = CONFIRMATION;
        if request.field(name) != Some(value) || !is_own(request) {
            let why = format!("Changes need the field {name}: {value}, and no other site's page");
            return Err(Response::text(403, why.into_bytes()));
        }
        Ok(())
    }

    fn knows(&self, host: Option<&str>) -> bool {
        let Some(name) = host.map(without_port) else {
            return false;
        };
        let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let is_address = bare.unwrap_or(name).parse::<IpAddr>().is_ok();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        is_address || is("localhost") || self.name.as_deref().is_some_and(is)
    }
}

/// The host in `HOST:PORT`.
pub(super) fn without_port(authority: &str) -> &str {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rsplit_once(':') {
        Some((host, port)) if digits(port) => host,
        _ => authority,
    }
}

/// Whether the request comes from no page, or from one of ours.
fn is_own(request: &Request<'_>) -> bool {
    let is_ours = |origin: &str| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == request.field("Host")
    };
    let site = request.field("Sec-Fetch-Site");
    request.origin.is_none_or(is_ours) && site.is_none_or(|site| site == "same-origin")
}

/// The same, or somebody followed a link or typed the address.
fn is_own_or_link(request: &Request<'_>) -> bool {
    match request.field("Sec-Fetch-Site") {
        None | Some("same-origin" | "none") => true,
        Some(_) => request.method == "GET" && request.field("Sec-Fetch-Mode") == Some("navigate"),
    }
}

/// Whether the request has the token. How long this takes tells nothing of the token but its length.
fn bears(request: &Request<'_>, token: &str) -> bool {
    let Some((scheme, credentials)) = request
        .field("Authorization")
        .and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    let credentials = credentials.trim();
    let is_it = |given: &[u8]| bool::from(given.ct_eq(token.as_bytes()));
    if scheme.eq_ignore_ascii_case("bearer") {
        return is_it(credentials.as_bytes());
    }
    let decoded = BASE64.decode(credentials.as_bytes()).unwrap_or_default();
    let colon = decoded.iter().position(|byte| *byte == b':');
    let password = colon.and_then(|colon| decoded.get(colon + 1..));
    scheme.eq_ignore_ascii_case("basic") && password.is_some_and(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::request;

    const TOKEN: &str = "0123456789abcdef";

    fn status(guard: &Guard, method: &str, fields: &str) -> u16 {
        let text = format!("{method} / HTTP/1.1\r\n{fields}\r\n\r\n");
        let (request, _) = request::parse(text.as_bytes(), 8192).unwrap().unwrap();
        let checked = guard.check(&request).and_then(|()| match method {
            "POST" => guard.check_change(&request),
            _ => Ok(()),
        });
        checked.map_or_else(|refusal| refusal.status, |()| 200)
    }

    #[test]
    fn without_a_token_only_names_of_this_machine_are_known() {
        let guard = Guard::new(None, Some("admin.example".to_owned()));
        for (host, expected) in [
            ("127.0.0.1:1998", 200),
            ("127.0.0.1", 200),
            ("localhost:1998", 200),
            ("LOCALHOST", 200),
            ("[::1]:1998", 200),
            ("admin.example:1998", 200),
            ("rebound.example:1998", 403),
            ("localhost.rebound.example", 403),
            ("127.0.0.1.rebound.example", 403),
            ("127.0.0.1:x", 403),
            ("", 403),
        ] {
            let fields = format!("Host: {host}");
            assert_eq!(status(&guard, "GET", &fields), expected, "{host}");
        }
    }

    #[test]
    fn with_a_token_nothing_else_will_do() {
        let guard = Guard::new(Some(TOKEN.to_owned()), None);
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text.as_bytes()));
        for (authorization, expected) in [
            (format!("Bearer {TOKEN}"), 200),
            (format!("bearer  {TOKEN}"), 200),
            (basic(&format!("anyone:{TOKEN}")), 200),
            (basic(&format!(":{TOKEN}")), 200),
            ("Bearer 0123456789abcdeF".to_owned(), 401),
            ("Bearer 0123456789abcde".to_owned(), 401),
            (format!("Bearer {TOKEN}0"), 401),
            ("Bearer ".to_owned(), 401),
            (basic(TOKEN), 401),
            (basic("anyone:"), 401),
            ("Basic !!!!".to_owned(), 401),
            (format!("Digest {TOKEN}"), 401),
            (TOKEN.to_owned(), 401),
        ] {
            let fields = format!("Host: any.example\r\nAuthorization: {authorization}");
            assert_eq!(status(&guard, "GET", &fields), expected, "{authorization}");
        }
        assert_eq!(status(&guard, "GET", "Host: 127.0.0.1"), 401);
        let twice = format!("Host: a\r\nAuthorization: Bearer {TOKEN}");
        let twice = format!("{twice}\r\nAuthorization: Bearer {TOKEN}");
        assert_eq!(status(&guard, "GET", &twice), 401);
    }

    #[test]
    fn other_sites_may_link_here_and_nothing_else() {
        let guard = Guard::new(None, None);
        for (method, fields, expected) in [
            ("GET", "Sec-Fetch-Site: none", 200),
            ("GET", "Sec-Fetch-Site: same-origin", 200),
            ("GET", "Sec-Fetch-Site: cross-site", 403),
            (
                "GET",
                "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors",
                403,
            ),
            (
                "GET",
                "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate",
                200,
            ),
            (
                "POST",
                "X-Ovation: 1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate",
                403,
            ),
            ("POST", "A: b", 403),
            ("POST", "X-Ovation: 0", 403),
            ("POST", "X-Ovation: 1", 200),
            ("POST", "X-Ovation: 1\r\nOrigin: http://localhost:1998", 200),
            ("POST", "X-Ovation: 1\r\nOrigin: http://localhost:8000", 403),
            ("POST", "X-Ovation: 1\r\nOrigin: https://other.example", 403),
            ("POST", "X-Ovation: 1\r\nOrigin: null", 403),
            ("POST", "X-Ovation: 1\r\nSec-Fetch-Site: none", 403),
        ] {
            let all = format!("Host: localhost:1998\r\n{fields}");
            assert_eq!(
                status(&guard, method, &all),
                expected,
                "{method} with {fields}"
            );
        }
    }
}
