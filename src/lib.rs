//! Ovation: a real-time reaction counter, tuned for connection density.

pub mod http;
pub mod protocol;
pub mod room;
pub mod store;
