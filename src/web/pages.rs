//! The room page and the stage at `/` and `/r/:room`, and the element, a module that other sites
//! embed.
//!
//! The server compresses the files, computes their checksums and prepares the heads of their
//! responses once, when it starts. A response then copies a head and shares the body with every
//! other connection.

use bytes::Bytes;

use super::asset::{Asset, Audience};
use super::brand::{self, Brand};
use super::script;
use crate::protocol::http::{Request, path_of};

/// The settings that the server fills into the pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageSettings<'s> {
    /// The kinds that the server counts, which the page and the element show. If `None`, they show
    /// the default kinds of `ovation.js`.
    pub(crate) kinds: Option<&'s [String]>,
    /// The party of the page's rooms.
    pub(crate) party: &'s str,
    /// Maximum length of a kind, in bytes.
    pub(crate) max_kind_bytes: usize,
    /// The site's own look.
    pub(crate) brand: Brand,
}

/// The pages, ready to be sent.
#[derive(Debug)]
pub(crate) struct Pages {
    page: Asset,
    files: Vec<(&'static str, Asset)>,
}

impl Pages {
    /// Fills in the settings and prepares the responses.
    pub(crate) fn new(settings: &PageSettings<'_>) -> Self {
        let page = page(settings);
        let files = [
            ("/ovation.js", JAVASCRIPT, element(settings), Audience::Any),
            (
                "/pages/page.js",
                JAVASCRIPT,
                script::join(&PAGE),
                Audience::Own,
            ),
            (
                "/ovation-extras.js",
                JAVASCRIPT,
                script::strip(EXTRAS_JS),
                Audience::Any,
            ),
            (
                "/pages/qr.js",
                JAVASCRIPT,
                script::strip(QR_JS),
                Audience::Own,
            ),
            (
                "/pages/page.css",
                CSS,
                style(&settings.brand),
                Audience::Own,
            ),
            ("/pages/icon.svg", SVG, ICON_SVG.to_owned(), Audience::Own),
        ];
        let files = files.map(|(path, content_type, text, audience)| {
            (path, Asset::new(content_type, text.as_bytes(), audience))
        });
        let logo = settings.brand.logo.iter().map(|logo| {
            let logo = Asset::new(logo.content_type, &logo.content, Audience::Picture);
            (LOGO, logo)
        });
        Self {
            page: Asset::new("text/html; charset=utf-8", page.as_bytes(), Audience::Own),
            files: files.into_iter().chain(logo).collect(),
        }
    }

    /// Answers a request for a page: appends the head of the response to `output` and returns the
    /// body. `None` if the request isn't for a page.
    pub(crate) fn answer(&self, request: &Request<'_>, output: &mut Vec<u8>) -> Option<Bytes> {
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
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

const LOGO: &str = "/pages/logo";

/// The modules of the page, in the order in which they import each other.
const PAGE: [&str; 4] = [
    include_str!("room/dom.js"),
    include_str!("room/layout.js"),
    include_str!("room/status.js"),
    include_str!("room/page.js"),
];
const QR_JS: &str = include_str!("room/qr.js");
const EXTRAS_JS: &str = include_str!("room/ovation-extras.js");
const PAGE_CSS: &str = include_str!("room/page.css");
const STAGE_CSS: &str = include_str!("room/stage.css");
const ICON_SVG: &str = include_str!("room/icon.svg");
/// The modules of the element, in the order in which they import each other.
const ELEMENT: [&str; 3] = [
    include_str!("room/kinds.js"),
    include_str!("room/ovation.js"),
    include_str!("room/element.js"),
];

/// The page, with the settings in attributes, since inline scripts aren't allowed.
fn page(settings: &PageSettings<'_>) -> String {
    let Brand {
        name, logo, theme, ..
    } = &settings.brand;
    let name = name.as_ref().map(|name| escape(&name.0));
    // The picture needs a text of its own only if no name follows it.
    let (picture, text) = match (logo, &name) {
        (Some(_), Some(name)) => (r#"<img src="/pages/logo" alt="">"#, name.as_str()),
        (Some(_), None) => (r#"<img src="/pages/logo" alt="Home">"#, ""),
        (None, Some(name)) => ("", name.as_str()),
        (None, None) => ("", "Ovation"),
    };
    let is_branded = name.is_some() || logo.is_some();
    include_str!("room/page.html")
        .replace("{max-kind-bytes}", &settings.max_kind_bytes.to_string())
        .replace("{theme}", theme.name())
        .replace("{branded}", if is_branded { " data-branded" } else { "" })
        .replace("{logo}", picture)
        .replace("{party}", &escape(settings.party))
        .replace("{site}", name.as_deref().unwrap_or("Ovation"))
        .replace("{brand}", text)
}

/// The style sheet of the page and the stage, in the site's colour.
fn style(brand: &Brand) -> String {
    let own = brand.color.map(brand::style);
    [PAGE_CSS, STAGE_CSS, own.as_deref().unwrap_or("")].concat()
}

/// The element as one module, with the server's kinds as its default.
fn element(settings: &PageSettings<'_>) -> String {
    let element = script::join(&ELEMENT);
    let Some(kinds) = settings.kinds else {
        return element;
    };
    let lines = element.lines().map(|line| match line.strip_prefix(KINDS) {
        Some(_) => kinds_line(kinds),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// The start of the element's line with the kinds.
const KINDS: &str = "export const DEFAULT_KINDS = ";

fn kinds_line(kinds: &[String]) -> String {
    // Serializing strings can't fail, and JSON is JavaScript (ECMA-262, since its tenth edition).
    let kinds = serde_json::to_string(kinds).unwrap_or_default();
    format!("{KINDS}{kinds};\n")
}

/// Escapes text for an attribute.
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
    fn the_page_has_its_settings() {
        let page = page(&PageSettings {
            kinds: None,
            party: "\"'<b>&",
            max_kind_bytes: 32,
            brand: Brand {
                name: Some("A & B {party}".parse().unwrap()),
                ..Brand::default()
            },
        });
        assert!(
            page.contains("data-party=\"&quot;&#39;&lt;b&gt;&amp;\""),
            "{page}"
        );
        assert!(page.contains("data-max-kind-bytes=\"32\""));
        assert!(page.contains("<span>A &amp; B {party}</span>"), "{page}");
        assert!(
            !page.replace("A &amp; B {party}", "").contains('{'),
            "a setting is missing"
        );
    }

    #[test]
    fn the_element_is_one_module_with_the_kinds() {
        let kinds = ["love".to_owned(), "\"</script>".to_owned()];
        let told = |kinds| {
            let settings = PageSettings {
                kinds,
                ..PageSettings::default()
            };
            element(&settings)
        };
        let lines = |element: &str| {
            element
                .lines()
                .filter(|line| line.starts_with(KINDS))
                .count()
        };
        let element = told(Some(&kinds));
        let expected = "\nexport const DEFAULT_KINDS = [\"love\",\"\\\"</script>\"];\n";
        assert!(element.contains(expected), "{element}");
        assert_eq!((lines(&element), lines(&told(None))), (1, 1));
        assert!(told(None).contains("NAMED_KINDS = [\"love\""));
        for export in ["class OvationRoom", "class OvationReactions", "const glyph"] {
            assert!(element.contains(&format!("\nexport {export} ")), "{export}");
        }
        let is_import = |line: &str| line.starts_with("import ");
        assert!(!element.lines().any(is_import), "{element}");
    }

    #[test]
    fn paths_name_their_files() {
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
