//! Compares the frame decoder with tungstenite's codec, in one read and byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovation::protocol::websocket::close::Violation;
use ovation::protocol::websocket::frame::{Decoder, Event};

#[path = "../oracle.rs"]
mod oracle;

const MAX_MESSAGE_BYTES: usize = 1 << 12;

fuzz_target!(|bytes: &[u8]| {
    oracle::agree(bytes, MAX_MESSAGE_BYTES);
});
