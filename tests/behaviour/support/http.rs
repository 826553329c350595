//! Exact HTTP: sends the bytes that the test gives, and takes the responses apart.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::{PATIENCE, Server, dial};

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    /// Returns the value of a header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
}

/// Encodes a valid handshake, with additional `fields`.
pub(crate) fn upgrade_head(target: &str, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: ovation.test\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

impl Http {
    pub(crate) fn connect(server: &Server) -> Self {
        Self::over(dial(server))
    }

    /// Connects to an address, such as that of the admin side.
    pub(crate) fn connect_to(address: &str) -> Self {
        let stream = TcpStream::connect(address)
            .unwrap_or_else(|error| panic!("can't connect to {address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self::over(stream)
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn into_inner(self) -> BufReader<TcpStream> {
        self.stream
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream.get_mut().write_all(bytes.as_ref());
        sent.unwrap_or_else(|error| panic!("can't send: {error}"));
    }

    /// Sends a request without a body and reads the response.
    pub(crate) fn request(&mut self, method: &str, target: &str, fields: &str) -> Response {
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: ovation.test\r\n{fields}\r\n"
        ));
        self.response_to(method)
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, "")
    }

    /// Returns the response, or `None` if the server closes the connection without one.
    pub(crate) fn try_get(&mut self, target: &str) -> Option<Response> {
        self.try_request(&format!(
            "GET {target} HTTP/1.1\r\nHost: ovation.test\r\n\r\n"
        ))
    }

    /// Returns the response to a handshake, or `None` if the server closes the connection without
    /// one.
    pub(crate) fn try_upgrade(&mut self, target: &str) -> Option<Response> {
        self.try_request(&upgrade_head(target, ""))
    }

    fn try_request(&mut self, request: &str) -> Option<Response> {
        // If the server has closed already, reading will show it.
        let _ = self.stream.get_mut().write_all(request.as_bytes());
        self.try_response("GET")
    }

    pub(crate) fn post(&mut self, target: &str, body: &str) -> Response {
        self.send(post_request(target, body));
        self.response()
    }

    /// Returns the response, or `None` if the server dies first.
    pub(crate) fn try_post(&mut self, target: &str, body: &str) -> Option<Response> {
        self.try_request(&post_request(target, body))
    }

    /// Reads one response, exactly as long as it says it is.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        self.try_response(method)
            .expect("a response, not the end of the connection")
    }

    /// Reads one response. Returns `None` if the connection ends before it.
    pub(crate) fn try_response(&mut self, method: &str) -> Option<Response> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.stream.read_line(&mut head) {
                Ok(1..) => {}
                Ok(0) if head.is_empty() => return None,
                Err(error) if head.is_empty() && is_end(&error) => return None,
                result => panic!("a head that ends with {result:?}: {head}"),
            }
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let mut response = Response {
            status: status.unwrap_or_else(|| panic!("no status: {head}")),
            head,
            body: String::new(),
        };
        let length: Option<usize> = response
            .field("Content-Length")
            .map(|length| length.parse().expect("a number"));
        if method != "HEAD" {
            let mut body = vec![0; length.unwrap_or(0)];
            self.stream
                .read_exact(&mut body)
                .expect("the announced body");
            response.body = String::from_utf8(body).expect("UTF-8");
        }
        Some(response)
    }

    /// Asserts that the server sends nothing more and closes the connection.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert!(is_end(&error), "expected the end, got {error}"),
        }
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty(), "more after the last response: {rest}");
    }
}

/// Encodes a `POST` request.
pub(crate) fn post_request(target: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn is_end(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
