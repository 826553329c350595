//! An HTTP/1.1 response (RFC 9112).

use std::borrow::Cow;
use std::io::Write;

use super::Origins;
use super::chunked::ChunkedError;
use super::request::{HeadError, Request};
use super::sse;
use super::upgrade::UpgradeError;

/// Time after which a client that was turned away should try again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'b> {
    /// The status code.
    pub status: u16,
    content_type: &'static str,
    body: Cow<'b, [u8]>,
}

impl<'b> Response<'b> {
    /// Creates a response in plain text.
    pub fn text(status: u16, body: impl Into<Cow<'b, [u8]>>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    /// Creates a response in JSON.
    pub fn json(status: u16, body: impl Into<Cow<'b, [u8]>>) -> Self {
        Self {
            content_type: "application/json",
            ..Self::text(status, body)
        }
    }

    /// Creates a response of any media type.
    pub fn of_type(
        status: u16,
        content_type: &'static str,
        body: impl Into<Cow<'b, [u8]>>,
    ) -> Self {
        Self {
            content_type,
            ..Self::text(status, body)
        }
    }

    /// Creates a response without a body.
    pub fn empty(status: u16) -> Self {
        Self::text(status, &[][..])
    }

    /// Appends the response to `request` to `output`, with the CORS fields that `origins` allow.
    pub fn encode(&self, request: &Request<'_>, origins: &Origins, output: &mut Vec<u8>) {
        self.encode_head(request.keep_alive, output);
        encode_cors(request, origins, output);
        self.encode_challenge(output);
        if request.method == "OPTIONS" {
            let methods = "GET, POST, PATCH, DELETE, OPTIONS";
            field(output, "Access-Control-Allow-Methods", methods);
            let fields = "Content-Type, Authorization";
            field(output, "Access-Control-Allow-Headers", fields);
            field(output, "Access-Control-Max-Age", "86400");
        }
        output.extend_from_slice(b"\r\n");
        if request.method != "HEAD" {
            output.extend_from_slice(&self.body);
        }
    }

    /// Appends the response to `request` with additional `fields` and without CORS fields: pages of
    /// other origins can't read it.
    pub fn encode_private(
        &self,
        request: &Request<'_>,
        fields: &[(&str, &str)],
        output: &mut Vec<u8>,
    ) {
        self.encode_head(request.keep_alive, output);
        for (name, value) in fields {
            field(output, name, value);
        }
        output.extend_from_slice(b"\r\n");
        if request.method != "HEAD" {
            output.extend_from_slice(&self.body);
        }
    }

    /// Appends the response to a request that was refused. The connection closes after it.
    pub fn encode_final(&self, output: &mut Vec<u8>) {
        self.encode_head(false, output);
        self.encode_challenge(output);
        output.extend_from_slice(b"\r\n");
        output.extend_from_slice(&self.body);
    }

    /// Appends the challenge that a response with the status 401 needs (RFC 9110, section 11.6.1).
    fn encode_challenge(&self, output: &mut Vec<u8>) {
        if self.status == 401 {
            field(output, "WWW-Authenticate", "Bearer");
        }
    }

    fn encode_head(&self, keep_alive: bool, output: &mut Vec<u8>) {
        // Writing to memory can't fail.
        let _ = write!(
            output,
            "HTTP/1.1 {} {}\r\n",
            self.status,
            reason(self.status)
        );
        if self.status != 204 {
            field(output, "Content-Type", self.content_type);
            let _ = write!(output, "Content-Length: {}\r\n", self.body.len());
        }
        field(output, "Cache-Control", "no-store");
        field(output, "X-Content-Type-Options", "nosniff");
        match self.status {
            405 => field(output, "Allow", "GET, HEAD, POST, OPTIONS"),
            426 => {
                field(output, "Sec-WebSocket-Version", "13");
                field(output, "Upgrade", "websocket");
            }
            429 | 503 => {
                let _ = write!(output, "Retry-After: {RETRY_AFTER_SECONDS}\r\n");
            }
            _ => {}
        }
        field(output, "Connection", connection(self.status, keep_alive));
    }
}

/// Appends the head of an event stream, which ends when the connection closes. `X-Accel-Buffering`
/// asks proxies not to buffer the events.
pub fn encode_stream_head(request: &Request<'_>, origins: &Origins, output: &mut Vec<u8>) {
    output.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    field(output, "Content-Type", sse::MEDIA_TYPE);
    field(output, "Cache-Control", "no-store");
    field(output, "X-Accel-Buffering", "no");
    field(output, "X-Content-Type-Options", "nosniff");
    field(output, "Connection", "close");
    encode_cors(request, origins, output);
    output.extend_from_slice(b"\r\n");
}

/// Appends the CORS fields, which say which page may read the response.
fn encode_cors(request: &Request<'_>, origins: &Origins, output: &mut Vec<u8>) {
    if let Some(origin) = origins.header(request) {
        field(output, "Access-Control-Allow-Origin", origin);
        if origin != "*" {
            field(output, "Vary", "Origin");
        }
    }
}

impl From<HeadError> for Response<'static> {
    fn from(error: HeadError) -> Self {
        Self::text(error.status(), error.to_string().into_bytes())
    }
}

impl From<ChunkedError> for Response<'static> {
    fn from(error: ChunkedError) -> Self {
        Self::text(error.status(), error.to_string().into_bytes())
    }
}

impl From<UpgradeError> for Response<'static> {
    fn from(error: UpgradeError) -> Self {
        Self::text(error.status(), error.to_string().into_bytes())
    }
}

pub(crate) fn field(output: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        output.extend_from_slice(part.as_bytes());
    }
}

/// The value of the `Connection` field.
pub(crate) fn connection(status: u16, keep_alive: bool) -> &'static str {
    match (status, keep_alive) {
        (426, _) => "Upgrade, close",
        (_, true) => "keep-alive",
        (_, false) => "close",
    }
}

/// The reason phrase of a status that this server sends (RFC 9110, section 15).
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: &Response<'_>, head: &str, origins: &Origins) -> String {
        let (request, _) = crate::protocol::http::request::parse(head.as_bytes(), 8192)
            .unwrap()
            .unwrap();
        let mut output = Vec::new();
        response.encode(&request, origins, &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn counts_are_sent_with_cors_fields() {
        let response = Response::json(200, &b"{\"love\":1}"[..]);
        let text = written(
            &response,
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &Origins::default(),
        );
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: keep-alive\r\n\
             Access-Control-Allow-Origin: *\r\n\r\n{\"love\":1}"
        );
    }

    #[test]
    fn a_listed_origin_is_named_in_the_response() {
        let origins = Origins::only(vec!["https://a.example".to_owned()]);
        let head = "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\nConnection: close\r\n\r\n";
        let text = written(&Response::empty(204), head, &origins);
        assert!(
            text.starts_with("HTTP/1.1 204 No Content\r\nCache-Control"),
            "{text}"
        );
        assert!(
            text.contains("Access-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n")
        );
        assert!(
            text.contains("Access-Control-Allow-Methods: GET, POST, PATCH, DELETE, OPTIONS\r\n")
        );
        assert!(text.contains("Connection: close\r\n"));
    }

    #[test]
    fn refusals_carry_the_fields_that_help() {
        for (error, line) in [
            (
                UpgradeError::UnsupportedVersion,
                "Sec-WebSocket-Version: 13\r\n",
            ),
            (UpgradeError::BadKey, "HTTP/1.1 400 Bad Request\r\n"),
        ] {
            let text = written(
                &error.into(),
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                &Origins::default(),
            );
            assert!(text.contains(line), "{text}");
        }
        let mut output = Vec::new();
        Response::empty(503).encode_final(&mut output);
        assert!(
            String::from_utf8(output)
                .unwrap()
                .contains("Retry-After: 5\r\n")
        );
    }
}
