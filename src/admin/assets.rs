//! The dashboard's files, which are in the binary, and what they may do.

use crate::http::Response;

/// What the dashboard may do: load its own files and ask its own server, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Fields of every answer.
pub(super) const FIELDS: [(&str, &str); 3] = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The file at `path`.
pub(super) fn find(path: &str) -> Option<Response<'static>> {
    let (content_type, text) = match path {
        "/" => (HTML, include_str!("page/dashboard.html")),
        "/dashboard.css" => (CSS, include_str!("page/dashboard.css")),
        "/dashboard.js" => (JAVASCRIPT, include_str!("page/dashboard.js")),
        "/charts.js" => (JAVASCRIPT, include_str!("page/charts.js")),
        "/rooms.js" => (JAVASCRIPT, include_str!("page/rooms.js")),
        "/icon.svg" => (SVG, include_str!("page/icon.svg")),
        "/grafana.json" => {
            return Some(Response::json(200, include_str!("grafana.json").as_bytes()));
        }
        _ => return None,
    };
    Some(Response::of_type(200, content_type, text.as_bytes()))
}
