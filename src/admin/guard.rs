//! Which requests the admin side allows.
//!
//! - Without a token the admin side listens on loopback only. A page in a browser on this machine
//!   could still reach it, through a host name of its own that resolves to 127.0.0.1. So the name
//!   in `Host` must be an IP address, `localhost`, or the name that the operator chose. A proxy on
//!   this machine could forward requests from anywhere, so requests that bear a proxy's marks are
//!   refused. Changes are refused too, unless the operator allows them: any program of any user of
//!   this machine could ask for them. A Unix socket is different, since the permissions of its file
//!   say who may use it.
//! - With a token every request except `/healthz` must carry it: as `Authorization: Bearer TOKEN`,
//!   or, from a browser, as the password of HTTP Basic with any user name.
//! - Browsers mark requests from other sites' pages (`Sec-Fetch-Site`): such a page may only link
//!   to the admin side. A request that changes something also needs `X-Ovation: 1`, a field that
//!   another site's page can send only with permission (a CORS preflight), which is never given.

use std::net::IpAddr;

use data_encoding::BASE64;
use subtle::ConstantTimeEq;

use crate::protocol::http::{Request, Response, is_cross_origin, without_port};

/// Minimum length of the token, in bytes.
pub(crate) const MIN_TOKEN_BYTES: usize = 16;
/// The field and value that a request needs to change something.
const CONFIRMATION: (&str, &str) = ("X-Ovation", "1");

/// The fields by which proxies mark what they forward.
const FORWARDED: [&str; 6] = [
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "Via",
];

const FOREIGN: &[u8] = b"Requests from other sites are not allowed";

/// What a request must carry.
#[derive(Debug)]
pub(super) struct Guard {
    token: Option<String>,
    /// The host name or address that the operator chose.
    name: Option<String>,
    changes: Changes,
}

/// What may be changed without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// Everything.
    Allowed,
    /// Nothing. The text says how the operator can allow it.
    Refused(&'static str),
}

impl Guard {
    /// Requires `token`, if there is one. Without a token, accepts `name` in `Host` as well as IP
    /// addresses and `localhost`, and allows `changes`.
    pub(super) fn new(token: Option<String>, name: Option<String>, changes: Changes) -> Self {
        Self {
            token,
            name,
            changes,
        }
    }

    /// Allows `request` to read.
    ///
    /// # Errors
    /// The response that refuses it.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<(), Response<'static>> {
        let host = request.field("Host");
        match &self.token {
            Some(token) if !bears(request, token) => {
                return Err(Response::text(401, &b"The admin token is required"[..]));
            }
            None if !self.knows(host) => {
                let reason = "Host must be an IP address, localhost, or the admin address";
                return Err(Response::text(403, reason.as_bytes()));
            }
            None if is_forwarded(request) => {
                let reason = "Requests through a proxy need an admin token";
                return Err(Response::text(403, reason.as_bytes()));
            }
            _ => {}
        }
        if !is_own_or_link(request) {
            return Err(Response::text(403, FOREIGN));
        }
        Ok(())
    }

    /// Allows `request` to change something.
    ///
    /// # Errors
    /// The response that refuses it.
    pub(super) fn check_change(&self, request: &Request<'_>) -> Result<(), Response<'static>> {
        let (name, value) = CONFIRMATION;
        if request.field(name) != Some(value) {
            let reason = format!("A change requires the field {name}: {value}");
            return Err(Response::text(403, reason.into_bytes()));
        }
        if !is_own(request) {
            return Err(Response::text(403, FOREIGN));
        }
        match self.changes {
            Changes::Refused(advice) if self.token.is_none() => {
                let reason = format!("Changes need an admin token; {advice}");
                Err(Response::text(403, reason.into_bytes()))
            }
            _ => Ok(()),
        }
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

/// Whether a proxy has forwarded the request.
fn is_forwarded(request: &Request<'_>) -> bool {
    let mut names = FORWARDED.into_iter();
    names.any(|name| request.values(name).next().is_some())
}

/// Whether the request offers a token, right or wrong.
pub(super) fn offers_token(request: &Request<'_>) -> bool {
    request.values("Authorization").next().is_some()
}

/// Whether the request comes from no page, or from a page of this server.
fn is_own(request: &Request<'_>) -> bool {
    let site = request.field("Sec-Fetch-Site");
    !is_cross_origin(request) && site.is_none_or(|site| site == "same-origin")
}

/// Whether the request comes from no page, from a page of this server, or from a link or the
/// address bar.
fn is_own_or_link(request: &Request<'_>) -> bool {
    match request.field("Sec-Fetch-Site") {
        None | Some("same-origin" | "none") => true,
        Some(_) => request.method == "GET" && request.field("Sec-Fetch-Mode") == Some("navigate"),
    }
}

/// Whether the request carries the token. The time this takes reveals nothing but the token's
/// length.
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
        let guard = Guard::new(None, Some("admin.example".to_owned()), Changes::Allowed);
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
        let guard = Guard::new(Some(TOKEN.to_owned()), None, Changes::Refused("do so"));
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
    fn without_a_token_no_proxy_may_forward() {
        let guard = Guard::new(None, None, Changes::Allowed);
        for name in FORWARDED {
            for value in ["127.0.0.1", ""] {
                let fields = format!("Host: 127.0.0.1:1998\r\n{}: {value}", name.to_lowercase());
                assert_eq!(status(&guard, "GET", &fields), 403, "{fields}");
                let guard = Guard::new(Some(TOKEN.to_owned()), None, Changes::Allowed);
                let fields = format!("{fields}\r\nAuthorization: Bearer {TOKEN}");
                assert_eq!(status(&guard, "GET", &fields), 200, "{fields}");
            }
        }
    }

    #[test]
    fn changes_need_a_token_or_the_permission_of_the_operator() {
        let fields = "Host: localhost\r\nX-Ovation: 1";
        let refused = Guard::new(None, None, Changes::Refused("do so"));
        assert_eq!(status(&refused, "POST", fields), 403);
        assert_eq!(status(&refused, "GET", fields), 200);
        let allowed = Guard::new(None, None, Changes::Allowed);
        assert_eq!(status(&allowed, "POST", fields), 200);
        let guarded = Guard::new(Some(TOKEN.to_owned()), None, Changes::Refused("do so"));
        assert_eq!(status(&guarded, "POST", fields), 401);
        let fields = format!("{fields}\r\nAuthorization: Bearer {TOKEN}");
        assert_eq!(status(&guarded, "POST", &fields), 200);
    }

    #[test]
    fn other_sites_may_link_here_and_nothing_else() {
        let guard = Guard::new(None, None, Changes::Allowed);
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
