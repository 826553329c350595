//! WebSocket (RFC 6455) after the opening handshake.
//!
//! - [`frame`]: the incremental frame decoder and the frames that the server sends.
//! - [`close`]: close codes, violations and the payload of a close frame.

pub mod close;
pub mod frame;
mod mask;
