//! The token of a connection: its key in the slab, and a generation that tells it from earlier
//! connections at the same key.

use mio::Token;

/// The token of the connection at `key`.
pub(super) fn token(key: u32, generation: u16) -> Token {
    Token(key as usize | usize::from(generation) << 32)
}

/// The key and the generation of a token.
pub(super) fn parts(token: Token) -> (u32, u16) {
    (token.0 as u32, (token.0 >> 32) as u16)
}
