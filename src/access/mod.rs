//! Access tokens: who may watch, react and moderate. Bytes and a time go in, a grant comes out; no
//! file, no clock.
//!
//! A token is a JWT (RFC 7519) in the shape of Centrifugo's subscription tokens, so that the back
//! ends of other servers can make it. The algorithm comes from the server's key, never from the
//! token.
//!
//! - [`caps`]: what a client may do. [`claims`]: what a token says.
//! - [`keys`]: the keys that verify tokens. `pem`: public keys in PEM.
//! - `presented`: where a request has its token.
//! - [`verify`]: the check of a token. [`mint`]: making tokens.

pub mod caps;
pub mod claims;
pub mod keys;
pub mod mint;
mod pem;
mod presented;
pub mod verify;

pub use caps::{Cap, Caps};
pub use claims::Claims;
pub use keys::{KeyError, Keys};
pub use presented::{Presented, Source, presented};
pub use verify::{Access, Denied, Flaw, Grant};

#[cfg(test)]
mod tests;
