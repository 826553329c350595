//! The operator's dashboard.

use super::asset::{Asset, Audience};

/// The files of the dashboard, ready to be sent.
#[derive(Debug)]
pub(crate) struct Dashboard(Vec<(&'static str, Asset)>);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JSON: &str = "application/json";

/// The path, media type and text of each file.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("dashboard/dashboard.html")),
    (
        "/dashboard.css",
        CSS,
        include_str!("dashboard/dashboard.css"),
    ),
    (
        "/dashboard.js",
        JAVASCRIPT,
        include_str!("dashboard/dashboard.js"),
    ),
    (
        "/charts.js",
        JAVASCRIPT,
        include_str!("dashboard/charts.js"),
    ),
    ("/rooms.js", JAVASCRIPT, include_str!("dashboard/rooms.js")),
    ("/icon.svg", SVG, include_str!("dashboard/icon.svg")),
    (
        "/grafana.json",
        JSON,
        include_str!("dashboard/grafana.json"),
    ),
];

impl Dashboard {
    /// Compresses the files and prepares their responses.
    pub(crate) fn new() -> Self {
        let asset = |content_type, text: &str| {
            Asset::new(content_type, text.as_bytes(), Audience::Operator)
        };
        let files = FILES.map(|(path, content_type, text)| (path, asset(content_type, text)));
        Self(files.into())
    }

    /// The file at `path`, if there is one.
    pub(crate) fn find(&self, path: &str) -> Option<&Asset> {
        let mut files = self.0.iter();
        files.find_map(|(known, asset)| (*known == path).then_some(asset))
    }
}
