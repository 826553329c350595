//! The threads that a server runs apart from its reactors.

/// The threads of a server apart from its reactors. The reset thread runs only while a room is
/// reset; the others run as long as the server.
pub(crate) const THREADS_BESIDE_REACTORS: [&str; 7] = [
    "main", "log", "signals", "flusher", "grower", "admin", "reset",
];
