//! The dashboard's files, which are in the binary.

use crate::http::{Asset, Audience};

/// The files, ready to be sent.
#[derive(Debug)]
pub(super) struct Assets(Vec<(&'static str, Asset)>);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JSON: &str = "application/json";

/// Where each is, its type and its text.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page/dashboard.html")),
    ("/dashboard.css", CSS, include_str!("page/dashboard.css")),
    (
        "/dashboard.js",
        JAVASCRIPT,
        include_str!("page/dashboard.js"),
    ),
    ("/charts.js", JAVASCRIPT, include_str!("page/charts.js")),
    ("/rooms.js", JAVASCRIPT, include_str!("page/rooms.js")),
    ("/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/grafana.json", JSON, include_str!("grafana.json")),
];

impl Assets {
    /// Prepares the files.
    pub(super) fn new() -> Self {
        let asset = |content_type, text: &str| {
            Asset::new(content_type, text.as_bytes(), Audience::Operator)
        };
        let files = FILES.map(|(path, content_type, text)| (path, asset(content_type, text)));
        Self(files.into())
    }

    /// The file at `path`.
    pub(super) fn find(&self, path: &str) -> Option<&Asset> {
        let mut files = self.0.iter();
        files.find_map(|(known, asset)| (*known == path).then_some(asset))
    }
}
