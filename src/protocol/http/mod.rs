//! HTTP/1.1 (RFC 9112): request heads in, responses out, and the WebSocket handshake.
//!
//! - [`request`]: a request head. `target`: the path and query of its target.
//! - [`chunked`]: a body in chunks.
//! - `forwarded`: the client that a proxy names in a request.
//! - [`response`]: a response. `origin`: which web pages may use the server. `host`: by which names.
//! - [`upgrade`]: the server's half of the WebSocket handshake (RFC 6455, section 4.2).
//! - [`sse`]: server-sent events.

pub mod chunked;
mod forwarded;
mod host;
mod origin;
pub mod request;
pub mod response;
pub mod sse;
mod target;
pub mod upgrade;

pub use forwarded::{Forwarded, client as forwarded_client};
pub use host::Hosts;
pub(crate) use host::without_port;
pub use origin::Origins;
pub(crate) use origin::is_cross_origin;
pub use request::Request;
pub use response::Response;
pub(crate) use response::encode_stream_head;
pub(crate) use target::{path_of, query_has, query_value};
