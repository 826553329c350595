//! A file of the front-end, plain and compressed, with the heads of its responses.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::protocol::http::Request;
use crate::protocol::http::response::{connection, field, reason};

/// Pages may only load from and connect to their own server (`'self'` includes `ws:` and `wss:`),
/// and may not make markup from strings.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// A picture may be opened as a document, which then runs no script and loads nothing. Pictures in
/// SVG carry their own styles.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// Browsers ask again each time and get a 304, so that no page runs a script of another version.
const CACHE_CONTROL: &str = "no-cache";

/// Added for the operator's pages. Other pages may be framed: slides embed the stage.
const NO_FRAMES: &str = "; frame-ancestors 'none'";

/// Which pages may load a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Pages of this server.
    Own,
    /// Pages of any site.
    Any,
    /// Pages of this server, which other pages may not frame.
    Operator,
    /// Pages of this server. The file is a picture that the operator has chosen.
    Picture,
}

/// A file, plain and compressed, ready to be sent.
#[derive(Debug)]
pub(crate) struct Asset {
    plain: Form,
    gzip: Option<Form>,
}

/// One form of a file.
#[derive(Debug)]
struct Form {
    etag: String,
    /// Header fields of a 200 response.
    fields: Vec<u8>,
    /// Header fields of a 304 response.
    unchanged: Vec<u8>,
    body: Bytes,
}

impl Asset {
    /// Compresses a file and prepares its responses.
    pub(crate) fn new(content_type: &str, content: &[u8], audience: Audience) -> Self {
        let form =
            |body: Bytes, coding: Option<&str>| Form::new(content_type, body, coding, audience);
        Self {
            gzip: gzip(content).map(|body| form(body, Some("gzip"))),
            plain: form(Bytes::copy_from_slice(content), None),
        }
    }

    /// Answers `request`: appends the head of the response to `output` and returns the body.
    pub(crate) fn answer(&self, request: &Request<'_>, output: &mut Vec<u8>) -> Bytes {
        let gzip = self.gzip.as_ref();
        let form = match gzip.filter(|_| request.field("Accept-Encoding").is_some_and(accepts_gzip))
        {
            Some(form) => form,
            None => &self.plain,
        };
        let is_known = |etags: &str| lists_etag(etags, &form.etag);
        let (status, fields, body) = match request.method {
            "GET" | "HEAD" if request.field("If-None-Match").is_some_and(is_known) => {
                (304, &form.unchanged[..], Bytes::new())
            }
            "GET" => (200, &form.fields[..], form.body.clone()),
            "HEAD" => (200, &form.fields[..], Bytes::new()),
            _ => (
                405,
                &b"Allow: GET, HEAD\r\nContent-Length: 0\r\n"[..],
                Bytes::new(),
            ),
        };
        // Writing to memory can't fail.
        let _ = write!(output, "HTTP/1.1 {status} {}\r\n", reason(status));
        output.extend_from_slice(fields);
        field(output, "Connection", connection(status, request.keep_alive));
        output.extend_from_slice(b"\r\n");
        body
    }
}

impl Form {
    fn new(content_type: &str, body: Bytes, coding: Option<&str>, audience: Audience) -> Self {
        // Each form has its own entity tag (RFC 9110, section 8.8.3).
        let etag = format!("\"{:08x}-{:x}\"", crc32c::crc32c(&body), body.len());
        let mut unchanged = Vec::new();
        field(&mut unchanged, "ETag", &etag);
        field(&mut unchanged, "Cache-Control", CACHE_CONTROL);
        field(&mut unchanged, "Vary", "Accept-Encoding");
        if audience == Audience::Any {
            field(&mut unchanged, "Access-Control-Allow-Origin", "*");
        }
        let mut fields = unchanged.clone();
        field(&mut fields, "Content-Type", content_type);
        field(&mut fields, "Content-Length", &body.len().to_string());
        if let Some(coding) = coding {
            field(&mut fields, "Content-Encoding", coding);
        }
        let policy = match audience {
            Audience::Operator => [CONTENT_SECURITY_POLICY, NO_FRAMES].concat(),
            Audience::Picture => PICTURE_POLICY.to_owned(),
            Audience::Own | Audience::Any => CONTENT_SECURITY_POLICY.to_owned(),
        };
        field(&mut fields, "Content-Security-Policy", &policy);
        field(&mut fields, "X-Content-Type-Options", "nosniff");
        field(&mut fields, "Referrer-Policy", "no-referrer");
        Self {
            etag,
            fields,
            unchanged,
            body,
        }
    }
}

/// Compresses the content, if that makes it smaller.
fn gzip(content: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(content).and_then(|()| encoder.finish());
    // Writing to memory can't fail.
    let compressed = written.ok()?;
    (compressed.len() < content.len()).then(|| compressed.into())
}

/// Whether an `Accept-Encoding` field allows gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(accepted: &str) -> bool {
    let weight_of = |coding: &str| {
        accepted.split(',').find_map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let is_meant = name.trim().eq_ignore_ascii_case(coding);
            is_meant.then(|| !is_zero(parameters))
        })
    };
    weight_of("gzip")
        .or_else(|| weight_of("*"))
        .unwrap_or(false)
}

/// Whether the parameters are a weight of 0, which forbids the coding.
fn is_zero(parameters: &str) -> bool {
    let weight = parameters
        .trim()
        .split_once('=')
        .filter(|(name, _)| name.trim() == "q");
    weight.is_some_and(|(_, value)| value.trim().parse() == Ok(0.0))
}

/// Whether an `If-None-Match` field contains this tag, by weak comparison (RFC 9110, section
/// 13.1.2).
fn lists_etag(etags: &str, etag: &str) -> bool {
    let mut listed = etags.split(',').map(str::trim);
    listed.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_if_accepted() {
        for accepted in ["gzip", "br, GZIP", "*", "gzip;q=0.5, br", "deflate,*;q=0.1"] {
            assert!(accepts_gzip(accepted), "{accepted}");
        }
        for accepted in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "gzip; q=0.000, *",
            "*;q=0",
            "xgzip",
        ] {
            assert!(!accepts_gzip(accepted), "{accepted}");
        }
    }

    #[test]
    fn an_entity_tag_is_found_in_any_list() {
        for etags in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*", "\"b\",W/\"a\""] {
            assert!(lists_etag(etags, "\"a\""), "{etags}");
        }
        for etags in ["", "a", "\"b\"", "W/\"b\"", "\"aa\""] {
            assert!(!lists_etag(etags, "\"a\""), "{etags}");
        }
    }

    #[test]
    fn a_file_that_does_not_shrink_is_sent_plain() {
        assert_eq!(gzip(b"x"), None);
        assert!(gzip(&[b'x'; 1000]).is_some());
    }
}
