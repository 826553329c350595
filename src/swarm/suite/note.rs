//! Notes on the progress of the suite.

use std::io::{self, Write as _};

/// Writes a note to standard error.
pub(super) fn note(text: &str) {
    // If stderr is closed, there is no reader for the note.
    let _ = writeln!(io::stderr(), "suite: {text}");
}
