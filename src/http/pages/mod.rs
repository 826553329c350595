//! The pages: what a browser is given at `/` and `/r/:room`, and the module that other sites embed.
//!
//! The files beside this one are in the binary. Everything that can be done to them is done once,
//! at the start: compressing, checksums, the heads of the answers. A request then copies a head,
//! and shares the body with every connection that it is sent to.

use bytes::Bytes;

use super::asset::{Asset, Audience};
use super::route::path_of;
use crate::protocol::head::Request;

/// What the pages are told by their server.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageSettings<'s> {
    /// The kinds to show buttons for; the page has a choice of its own, if `None`.
    pub kinds: Option<&'s [String]>,
    /// The party that the page's rooms are of.
    pub party: &'s str,
    /// The longest kind, in bytes.
    pub max_kind_bytes: usize,
}

/// The pages, ready to be sent.
#[derive(Debug)]
pub struct Pages {
    page: Asset,
    files: Vec<(&'static str, Asset)>,
}

impl Pages {
    /// Prepares the pages.
    pub fn new(settings: &PageSettings<'_>) -> Self {
        let page = page(settings);
        Self {
            page: Asset::new("text/html; charset=utf-8", page.as_bytes(), Audience::Own),
            files: [
                (
                    "/ovation.js",
                    JAVASCRIPT,
                    include_str!("ovation.js"),
                    Audience::Any,
                ),
                (
                    "/pages/page.js",
                    JAVASCRIPT,
                    include_str!("page.js"),
                    Audience::Own,
                ),
                (
                    "/pages/hearts.js",
                    JAVASCRIPT,
                    include_str!("hearts.js"),
                    Audience::Own,
                ),
                (
                    "/pages/page.css",
                    "text/css; charset=utf-8",
                    include_str!("page.css"),
                    Audience::Own,
                ),
                (
                    "/pages/icon.svg",
                    "image/svg+xml",
                    include_str!("icon.svg"),
                    Audience::Own,
                ),
            ]
            .map(|(path, content_type, text, audience)| {
                (path, Asset::new(content_type, text.as_bytes(), audience))
            })
            .into(),
        }
    }

    /// Answers a request for a page: appends the head to `output` and gives the body, which
    /// follows it. `None` if it asks for something else.
    pub fn answer(&self, request: &Request<'_>, output: &mut Vec<u8>) -> Option<Bytes> {
        let asset = self.find(path_of(request.target))?;
        Some(asset.answer(request, output))
    }

    fn find(&self, path: &str) -> Option<&Asset> {
        let is_room = |name: &str| !name.is_empty() && !name.contains('/');
        if path == "/" || path.strip_prefix("/r/").is_some_and(is_room) {
            return Some(&self.page);
        }
        let mut files = self.files.iter();
        files.find_map(|(known, asset)| (*known == path).then_some(asset))
    }
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The page with its settings filled in: as attributes, since no inline script is allowed.
fn page(settings: &PageSettings<'_>) -> String {
    let kinds = match settings.kinds {
        // Strings always serialize.
        Some(kinds) => serde_json::to_string(kinds).unwrap_or_default(),
        None => String::new(),
    };
    include_str!("page.html")
        .replace("{max-kind-bytes}", &settings.max_kind_bytes.to_string())
        .replace("{party}", &escape(settings.party))
        .replace("{kinds}", &escape(&kinds))
}

/// Text as it is written in an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_filled_in_as_text() {
        let kinds = ["love".to_owned(), "\"'<b>&".to_owned()];
        let page = page(&PageSettings {
            kinds: Some(&kinds),
            party: "main",
            max_kind_bytes: 32,
        });
        let expected = "data-kinds=\"[&quot;love&quot;,&quot;\\&quot;&#39;&lt;b&gt;&amp;&quot;]\"";
        assert!(page.contains(expected), "{page}");
        assert!(page.contains("data-max-kind-bytes=\"32\""));
        assert!(!page.contains('{'), "a place that was not filled in");
    }

    #[test]
    fn paths_name_what_they_should() {
        let pages = Pages::new(&PageSettings::default());
        for path in ["/", "/r/talk", "/r/a%2Fb", "/ovation.js", "/pages/page.css"] {
            assert!(pages.find(path).is_some(), "{path}");
        }
        for path in [
            "",
            "*",
            "/r",
            "/r/",
            "/r/a/b",
            "/pages/",
            "/pages/mod.rs",
            "//",
        ] {
            assert!(pages.find(path).is_none(), "{path}");
        }
    }
}
