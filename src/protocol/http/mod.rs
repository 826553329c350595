//! HTTP/1.1: request heads in, responses out, and the handshake that turns to WebSocket.
//!
//! - [`request`]: a request head and what of it matters here; `target`: its path and query.
//! - `response`: a response and how it is written; `origin`: which web pages may read it.
//! - [`upgrade`]: the server's half of the opening handshake (RFC 6455, section 4.2).
//! - [`sse`]: server-sent events.

mod origin;
pub mod request;
pub mod response;
pub mod sse;
mod target;
pub mod upgrade;

pub use origin::{Origins, is_cross_origin};
pub use request::Request;
pub use response::{Response, encode_stream_head};
pub use target::{path_of, query_has};
