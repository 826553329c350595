//! Close codes, the violations that earn them, and the payload of a close frame
//! (RFC 6455, sections 5.5.1 and 7.4).

use thiserror::Error;
pub use tungstenite::protocol::frame::coding::CloseCode;

/// The code 1014 is in IANA's registry. tungstenite treats it as reserved.
const BAD_GATEWAY: u16 = 1014;

/// A rule of RFC 6455 that a client's frame broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// The frame isn't masked (section 5.1).
    #[error("frame is not masked")]
    Unmasked,
    /// An RSV bit is set without an extension that defines it (section 5.2).
    #[error("reserved bit is set")]
    ReservedBit,
    /// The opcode is reserved (section 5.2).
    #[error("reserved opcode")]
    ReservedOpcode,
    /// The length isn't in its shortest form, or its top bit is set (section 5.2).
    #[error("malformed payload length")]
    MalformedLength,
    /// A control frame is fragmented (section 5.5).
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A control frame has more than 125 bytes of payload (section 5.5).
    #[error("control frame over 125 bytes")]
    OversizedControl,
    /// A continuation has no message to continue (section 5.4).
    #[error("continuation without a message")]
    UnexpectedContinuation,
    /// A message begins before the last message was finished (section 5.4).
    #[error("message inside a fragmented message")]
    UnfinishedMessage,
    /// A close frame has one byte of payload, or a code that must not be sent (section 7.4).
    #[error("malformed close frame")]
    MalformedClose,
    /// A text message, or the reason of a close frame, isn't UTF-8 (section 8.1).
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// A message is over the size limit (section 10.4).
    #[error("message too big")]
    MessageTooBig,
}

impl Violation {
    /// The close code that answers the violation (section 7.4.1).
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 => CloseCode::Invalid,
            Self::MessageTooBig => CloseCode::Size,
            _ => CloseCode::Protocol,
        }
    }
}

/// Reads the payload of a close frame and returns its code, if it has one.
///
/// # Errors
/// [`Violation::MalformedClose`] for a single byte or a code that must not be sent;
/// [`Violation::InvalidUtf8`] for a reason that isn't UTF-8.
pub fn parse_close(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::MalformedClose)
        };
    };
    let number = u16::from_be_bytes(*code);
    let code = CloseCode::from(number);
    if !code.is_allowed() && number != BAD_GATEWAY {
        return Err(Violation::MalformedClose);
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(Violation::InvalidUtf8);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_are_accepted() {
        for code in 0..=u16::MAX {
            let may = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let parsed = parse_close(&code.to_be_bytes());
            assert_eq!(parsed.is_ok(), may, "code {code}: {parsed:?}");
        }
    }

    #[test]
    fn a_single_byte_and_a_bad_reason_are_refused() {
        assert_eq!(parse_close(&[]), Ok(None));
        assert_eq!(parse_close(&[3]), Err(Violation::MalformedClose));
        assert_eq!(parse_close(&[3, 0xe8, 0xff]), Err(Violation::InvalidUtf8));
        assert_eq!(parse_close(b"\x03\xe8bye"), Ok(Some(CloseCode::Normal)));
    }
}
