//! The protocols, sans-IO: bytes in, events out; no socket, no clock, no thread.
//!
//! - [`http`]: request heads, responses, the opening handshake, origins, server-sent events.
//! - [`proxy`]: the header with which a proxy names its client.
//! - [`websocket`]: the frame decoder, the frames that the server sends, close codes.
//! - [`messages`]: the application's JSON: a reaction in, the counts out. [`taps`]: numbered
//!   reactions, and what acknowledges them.

pub mod http;
pub mod messages;
pub mod proxy;
pub mod taps;
pub mod websocket;
