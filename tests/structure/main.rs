//! The structure of `src`, checked against the map in `src/lib.rs` and against the rules of the
//! house: which module may know which, where `unsafe` may be written, no circles between files, no
//! file or function that is too long, no panic that a client or the system can cause.
//!
//! - `source`: a source file as lines of code. `imports`: what a file imports.
//! - `map`: the map in `src/lib.rs`. `circles`: circles between files. `rules`: rules for one file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic fails the test"
)]

mod circles;
mod imports;
mod map;
mod rules;
mod source;

use source::Source;

/// Fails with everything that `check` finds in the sources.
fn assert_none(what: &str, check: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = source::all().iter().flat_map(check).collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}
