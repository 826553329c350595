//! What members with a session are told.

use crate::protocol::taps::{Hello, encode_ack, encode_hello};
use crate::rooms::Encoded;

/// Room for an acknowledgement in the forms of both transports, in bytes.
const ACK_BYTES: usize = 80;

/// What a member with a session is told first.
pub(crate) fn hello(hello: &Hello) -> Encoded {
    Encoded::new(4 * ACK_BYTES, |json| encode_hello(hello, json))
}

/// The number up to which the messages of a session are counted.
pub(crate) fn ack(counted: u64) -> Encoded {
    Encoded::new(ACK_BYTES, |json| encode_ack(counted, json))
}
