//! The server's half of the WebSocket handshake (RFC 6455, section 4.2).

use thiserror::Error;
use tungstenite::handshake::derive_accept_key;

use super::request::Request;

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UpgradeError {
    /// The request isn't a GET in HTTP/1.1, or `Connection` doesn't list `upgrade`.
    #[error("not a WebSocket handshake: GET, HTTP/1.1 and Connection: Upgrade are required")]
    NotAHandshake,
    /// The WebSocket version isn't 13 (section 4.4).
    #[error("unsupported WebSocket version: this server speaks 13")]
    UnsupportedVersion,
    /// The key is missing or isn't 16 bytes in Base64.
    #[error("Sec-WebSocket-Key is missing or malformed")]
    BadKey,
}

impl UpgradeError {
    /// The status code of the response.
    pub fn status(self) -> u16 {
        match self {
            Self::NotAHandshake | Self::BadKey => 400,
            Self::UnsupportedVersion => 426,
        }
    }
}

/// Checks a handshake and derives the value of `Sec-WebSocket-Accept`.
///
/// The server ignores the extensions that a client offers, which declines them (section 9.1).
///
/// # Errors
/// [`UpgradeError`] names what is wrong with the handshake.
pub fn accept_key(request: &Request<'_>) -> Result<String, UpgradeError> {
    let fields = &request.websocket;
    if request.method != "GET" || !request.is_http_11 || !fields.upgrade || !fields.connection {
        return Err(UpgradeError::NotAHandshake);
    }
    if fields.version != Some("13") {
        return Err(UpgradeError::UnsupportedVersion);
    }
    match fields.key {
        Some(key) if is_base64_of_16_bytes(key) => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(UpgradeError::BadKey),
    }
}

/// The subprotocol that the server selects if a client offers it. Its messages are those of every
/// client. A browser that offers subprotocols, such as one with a token, needs one to be selected.
const SUBPROTOCOL: &str = "ovation";

/// Appends the response to `request` after which the connection is a WebSocket.
pub fn encode_switching_protocols(request: &Request<'_>, accept_key: &str, output: &mut Vec<u8>) {
    output.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    output.extend_from_slice(accept_key.as_bytes());
    output.extend_from_slice(b"\r\n");
    let mut offers = request.values("Sec-WebSocket-Protocol");
    if offers.any(|offer| lists(offer, SUBPROTOCOL)) {
        output.extend_from_slice(b"Sec-WebSocket-Protocol: ");
        output.extend_from_slice(SUBPROTOCOL.as_bytes());
        output.extend_from_slice(b"\r\n");
    }
    output.extend_from_slice(b"\r\n");
}

/// Whether the list of subprotocols `offer` contains `name`, in the same case (section 4.2.1).
fn lists(offer: &[u8], name: &str) -> bool {
    let mut names = offer.split(|&byte| byte == b',');
    names.any(|offered| offered.trim_ascii() == name.as_bytes())
}

fn is_base64_of_16_bytes(key: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.len() == 24 && key.ends_with("==") && key.bytes().take(22).all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::request;

    fn check(fields: &str) -> Result<String, UpgradeError> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (request, _) = request::parse(text.as_bytes(), 8192).unwrap().unwrap();
        accept_key(&request)
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let accept = check(
            "Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        );
        assert_eq!(accept.as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn one_subprotocol_is_selected_if_it_is_offered() {
        for (offers, is_selected) in [
            ("", false),
            ("Sec-WebSocket-Protocol: ovation\r\n", true),
            (
                "Sec-WebSocket-Protocol: a, ovation ,ovation.token.x\r\n",
                true,
            ),
            (
                "Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: ovation\r\n",
                true,
            ),
            (
                "Sec-WebSocket-Protocol: Ovation, ovation.token.x\r\n",
                false,
            ),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{offers}\r\n");
            let (request, _) = request::parse(text.as_bytes(), 8192).unwrap().unwrap();
            let mut output = Vec::new();
            encode_switching_protocols(&request, "key", &mut output);
            let head = String::from_utf8(output).unwrap();
            let selected = "\r\nSec-WebSocket-Protocol: ovation\r\n\r\n";
            assert_eq!(head.contains(selected), is_selected, "{offers}");
            assert_eq!(head.matches("\r\n\r\n").count(), 1, "{head}");
        }
    }

    #[test]
    fn each_flawed_handshake_has_its_status() {
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let version = "Sec-WebSocket-Version: 13\r\n";
        for (fields, status) in [
            (format!("Upgrade: websocket\r\n{key}{version}"), 400),
            (format!("{upgrade}{key}"), 426),
            (format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n"), 426),
            (format!("{upgrade}{version}"), 400),
            (format!("{upgrade}{version}{key}{key}"), 400),
            (format!("{upgrade}{version}Sec-WebSocket-Key: abc\r\n"), 400),
            (
                format!("{upgrade}{version}Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==\r\n"),
                400,
            ),
        ] {
            let refusal = check(&fields).map_err(UpgradeError::status);
            assert_eq!(refusal, Err(status), "{fields}");
        }
    }
}
