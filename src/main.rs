//! The `ovation` binary: all of it is [`ovation::cli`].
fn main() {}
