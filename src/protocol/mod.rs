//! The protocol, sans-IO: bytes in, events out; no socket, no clock, no thread.
//!
//! - [`head`]: an HTTP/1.1 request head and what of it matters here.
//! - [`upgrade`]: the server's half of the opening handshake (RFC 6455, section 4.2).
//! - [`frame`]: the incremental frame decoder and the frames that the server sends.
//! - [`close`]: close codes, violations and the payload of a close frame.
//! - [`events`]: server-sent events.
//! - [`message`]: the JSON of this application: a reaction in, the counts out.

pub mod close;
pub mod events;
pub mod frame;
pub mod head;
mod mask;
pub mod message;
pub mod upgrade;
