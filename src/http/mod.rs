//! HTTP: which room a target names, the pages, and how answers are written. Request in, response
//! out, pure.

mod asset;
mod origin;
mod pages;
mod query;
mod response;
mod route;

pub use asset::{Asset, Audience};
pub use origin::Origins;
pub use pages::{PageSettings, Pages};
pub use query::query_has;
pub use response::{Response, encode_stream_head};
pub use route::{DEFAULT_MAX_ROOM_NAME_BYTES, MAX_ROOM_NAME_BYTES, Route, Router};
