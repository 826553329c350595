//! An HTTP/1.1 request head (RFC 9112), parsed by httparse.

use thiserror::Error;

use super::sse;

/// Default maximum size of a request head, in bytes.
pub const DEFAULT_MAX_HEAD_BYTES: usize = 8192;
/// Maximum number of header fields in a request.
pub const MAX_HEADERS: usize = 64;

/// A request head. It holds the fields that matter to every request; [`Request::field`] finds the
/// others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request<'b> {
    head: &'b [u8],
    /// The method, as sent.
    pub method: &'b str,
    /// The request target, as sent.
    pub target: &'b str,
    /// Whether the version is HTTP/1.1 rather than 1.0.
    pub is_http_11: bool,
    /// Whether the connection stays open for another request (RFC 9112, section 9.3).
    pub keep_alive: bool,
    /// Length of the body that follows, in bytes; 0 if [`Request::is_chunked`].
    pub content_length: u64,
    /// Whether the body that follows is chunked ([`super::chunked`]).
    pub is_chunked: bool,
    /// The `Origin` field.
    pub origin: Option<&'b str>,
    /// The `Accept` field.
    pub accept: Option<&'b str>,
    /// Whether `Accept` lists event streams.
    pub accepts_events: bool,
    /// The fields of a WebSocket handshake.
    pub websocket: WebSocketFields<'b>,
}

/// The fields of a WebSocket handshake (RFC 6455, section 4.2.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WebSocketFields<'b> {
    /// Whether `Upgrade` lists `websocket`.
    pub upgrade: bool,
    /// Whether `Connection` lists `upgrade`.
    pub connection: bool,
    /// `Sec-WebSocket-Key`; empty if the client sent it more than once.
    pub key: Option<&'b str>,
    /// `Sec-WebSocket-Version`.
    pub version: Option<&'b str>,
}

/// Why a request head is refused. The server answers with the error's status and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeadError {
    /// The head isn't HTTP/1.x.
    #[error("malformed request head")]
    Malformed,
    /// The head is over the limit on bytes or fields.
    #[error("request head too large")]
    TooLarge,
    /// The length of the body is unknown or contradictory (RFC 9112, section 6.3).
    #[error("the length of the body is not clear")]
    UnclearLength,
    /// The body has a transfer coding other than chunked, or several (RFC 9112, section 6.1).
    #[error("the only supported transfer coding is chunked")]
    TransferCoding,
    /// The head has an `Expect` field (RFC 9110, section 10.1.1).
    #[error("expectations are not supported")]
    Expectation,
}

impl HeadError {
    /// The status code of the response.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::UnclearLength => 400,
            Self::TooLarge => 431,
            Self::TransferCoding => 501,
            Self::Expectation => 417,
        }
    }
}

/// Parses the request head at the start of `bytes`. Returns the head and its length, or `None` if
/// the head isn't complete.
///
/// # Errors
/// [`HeadError`], as soon as the error is certain.
pub fn parse(
    bytes: &[u8],
    max_head_bytes: usize,
) -> Result<Option<(Request<'_>, usize)>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= max_head_bytes => length,
        Ok(httparse::Status::Partial) if bytes.len() < max_head_bytes => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(_) => return Err(HeadError::Malformed),
    };
    let mut request = Request {
        method: parsed.method.unwrap_or_default(),
        target: parsed.path.unwrap_or_default(),
        is_http_11: parsed.version == Some(1),
        head: bytes.get(..length).unwrap_or_default(),
        ..Request::default()
    };
    let mut connection = ConnectionField::default();
    let mut body = BodyFields::default();
    for header in parsed.headers.iter() {
        request.read_field(header, &mut connection, &mut body)?;
    }
    // RFC 9112, section 3.2, requires exactly one Host field.
    let is_host = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("host");
    if request.is_http_11 && parsed.headers.iter().filter(is_host).count() != 1 {
        return Err(HeadError::Malformed);
    }
    request.is_chunked = body.is_chunked(request.is_http_11)?;
    request.content_length = body.content_length.unwrap_or(0);
    request.websocket.connection = connection.upgrade;
    request.keep_alive = if request.is_http_11 {
        !connection.close
    } else {
        connection.keep_alive && !connection.close
    };
    Ok(Some((request, length)))
}

#[derive(Default)]
struct ConnectionField {
    upgrade: bool,
    close: bool,
    keep_alive: bool,
}

/// The fields that say how long the body is.
#[derive(Default)]
struct BodyFields {
    content_length: Option<u64>,
    /// Number of `Transfer-Encoding` fields.
    codings: u8,
    /// Whether the last of them is `chunked`.
    is_last_chunked: bool,
}

impl BodyFields {
    /// Whether the body is chunked. A request with both fields, and a coding in HTTP/1.0, may be an
    /// attempt to smuggle a request past a proxy (RFC 9112, section 6.1).
    fn is_chunked(&self, is_http_11: bool) -> Result<bool, HeadError> {
        match self.codings {
            0 => Ok(false),
            _ if self.content_length.is_some() || !is_http_11 => Err(HeadError::UnclearLength),
            1 if self.is_last_chunked => Ok(true),
            _ => Err(HeadError::TransferCoding),
        }
    }
}

impl<'b> Request<'b> {
    /// The value of a field; `None` unless the client sent the field exactly once, in UTF-8.
    pub fn field(&self, name: &str) -> Option<&'b str> {
        let mut values = self.values(name);
        let value = std::str::from_utf8(values.next()?).ok();
        value.filter(|_| values.next().is_none())
    }

    /// The values of all lines of a field, in their order.
    pub(crate) fn values<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'b [u8]> + 'r {
        let lines = self.head.split(|&byte| byte == b'\n').skip(1);
        lines.filter_map(move |line| {
            let (known, value) = line.split_at_checked(line.iter().position(|&b| b == b':')?)?;
            let is_meant = known.eq_ignore_ascii_case(name.as_bytes());
            is_meant.then(|| value[1..].trim_ascii())
        })
    }

    fn read_field(
        &mut self,
        header: &httparse::Header<'b>,
        connection: &mut ConnectionField,
        body: &mut BodyFields,
    ) -> Result<(), HeadError> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let text = std::str::from_utf8(header.value.trim_ascii());
        if is("connection") {
            connection.upgrade |= lists(header.value, "upgrade");
            connection.close |= lists(header.value, "close");
            connection.keep_alive |= lists(header.value, "keep-alive");
        } else if is("upgrade") {
            self.websocket.upgrade |= lists(header.value, "websocket");
        } else if is("sec-websocket-key") {
            let is_first = self.websocket.key.is_none();
            self.websocket.key = Some(if is_first { text.unwrap_or("") } else { "" });
        } else if is("sec-websocket-version") {
            self.websocket.version = Some(text.unwrap_or(""));
        } else if is("origin") {
            self.origin = Some(text.map_err(|_| HeadError::Malformed)?);
        } else if is("accept") {
            self.accept = text.ok();
            self.accepts_events |= lists_media_type(header.value, sse::MEDIA_TYPE);
        } else if is("content-length") {
            let length = text.ok().and_then(parse_length);
            let is_other = |known| Some(known) != length;
            if length.is_none() || body.content_length.is_some_and(is_other) {
                return Err(HeadError::UnclearLength);
            }
            body.content_length = length;
        } else if is("transfer-encoding") {
            body.is_last_chunked = text.is_ok_and(|text| text.eq_ignore_ascii_case("chunked"));
            body.codings = body.codings.saturating_add(1);
        } else if is("expect") {
            return Err(HeadError::Expectation);
        }
        Ok(())
    }
}

/// Parses digits only: `u64::from_str` would also accept a sign.
fn parse_length(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Whether the comma-separated list `value` contains `token`, in upper or lower case (RFC 9110,
/// section 5.6.1).
fn lists(value: &[u8], token: &str) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether the list of media ranges `value` contains `media_type`, with any parameters (RFC 9110,
/// section 12.5.1).
fn lists_media_type(value: &[u8], media_type: &str) -> bool {
    value.split(|&byte| byte == b',').any(|item| {
        let range = item.split(|&byte| byte == b';').next().unwrap_or(item);
        range
            .trim_ascii()
            .eq_ignore_ascii_case(media_type.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> Result<Option<usize>, u16> {
        parse(head.as_bytes(), DEFAULT_MAX_HEAD_BYTES)
            .map(|parsed| parsed.map(|(_, length)| length))
            .map_err(HeadError::status)
    }

    #[test]
    fn the_fields_that_matter_are_read() {
        let head = "GET /party/x?_pk=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                    Upgrade: WebSocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\
                    Origin: https://a.example\r\nAccept: */*\r\n\r\nrest";
        let (request, length) = parse(head.as_bytes(), 8192).unwrap().unwrap();
        assert_eq!(length, head.len() - 4);
        assert_eq!(
            request,
            Request {
                head: &head.as_bytes()[..length],
                method: "GET",
                target: "/party/x?_pk=1",
                is_http_11: true,
                keep_alive: true,
                content_length: 0,
                is_chunked: false,
                origin: Some("https://a.example"),
                accept: Some("*/*"),
                accepts_events: false,
                websocket: WebSocketFields {
                    upgrade: true,
                    connection: true,
                    key: Some("k"),
                    version: Some("13"),
                },
            }
        );
    }

    #[test]
    fn other_fields_are_found_by_name() {
        let head = "GET /a:b HTTP/1.1\r\nHost: a:1\r\nX-One:  1 \r\nX-Two: 1\r\nx-two: 2\r\n\r\n";
        let (request, _) = parse(head.as_bytes(), 8192).unwrap().unwrap();
        assert_eq!(request.field("host"), Some("a:1"));
        assert_eq!(request.field("x-one"), Some("1"));
        assert_eq!(request.field("x-two"), None);
        assert_eq!(request.field("GET /a"), None);
        assert_eq!(request.field(""), None);
    }

    #[test]
    fn event_streams_are_found_in_accept() {
        for (accept, expected) in [
            ("Accept: text/event-stream", true),
            ("Accept: text/html, Text/Event-Stream;q=0.9", true),
            ("Accept: text/event-stream\r\nAccept: */*", true),
            ("Accept: */*", false),
            ("Accept: text/event-streams", false),
            ("A: text/event-stream", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{accept}\r\n\r\n");
            let (request, _) = parse(head.as_bytes(), 8192).unwrap().unwrap();
            assert_eq!(request.accepts_events, expected, "{accept}");
        }
    }

    #[test]
    fn heads_that_smuggle_or_overflow_are_refused() {
        let get = |fields: &str| status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(get(""), Ok(Some(27)));
        assert_eq!(
            get("Content-Length: 3\r\nContent-Length: 3\r\n").err(),
            None
        );
        assert_eq!(get("Content-Length: 3\r\nContent-Length: 4\r\n"), Err(400));
        assert_eq!(get("Content-Length: +3\r\n"), Err(400));
        assert_eq!(get("Content-Length: \r\n"), Err(400));
        assert_eq!(get("Content-Length: 99999999999999999999\r\n"), Err(400));
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), Err(400));
        assert_eq!(get("Host: b\r\n"), Err(400));
        assert_eq!(get("Content-Length: \u{a0}3\r\n"), Err(400));
        let chunked = "Transfer-Encoding: chunked\r\n";
        assert_eq!(get(chunked).err(), None);
        assert_eq!(get("Transfer-Encoding: \tCHUNKED \r\n").err(), None);
        for coding in [
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "identity",
            "",
            "chunked;a",
        ] {
            let field = format!("Transfer-Encoding: {coding}\r\n");
            assert_eq!(get(&field), Err(501), "{coding}");
        }
        assert_eq!(get(&chunked.repeat(2)), Err(501));
        assert_eq!(get(&format!("{chunked}Content-Length: 3\r\n")), Err(400));
        assert_eq!(get(&format!("Content-Length: 0\r\n{chunked}")), Err(400));
        assert_eq!(
            status(&format!("GET / HTTP/1.0\r\n{chunked}\r\n")),
            Err(400)
        );
        assert_eq!(get("Expect: 100-continue\r\n"), Err(417));
        assert_eq!(get(&"A: b\r\n".repeat(65)), Err(431));
        assert_eq!(get(&format!("A: {}\r\n", "b".repeat(9000))), Err(431));
        assert_eq!(status(&format!("GET /{}", "a".repeat(9000))), Err(431));
        assert_eq!(status("\x16\x03\x01"), Err(400));
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), Err(400));
        assert_eq!(status("GET / HTTP/1.1\r\nHost"), Ok(None));
    }

    #[test]
    fn keep_alive_depends_on_the_version() {
        for (head, keep) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
                false,
            ),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            let (request, _) = parse(head.as_bytes(), 8192).unwrap().unwrap();
            assert_eq!(request.keep_alive, keep, "{head}");
        }
    }
}
