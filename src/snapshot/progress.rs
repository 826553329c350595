//! The progress of long work.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar over rooms, shown if standard error is a terminal.
pub(super) fn progress(rooms: usize, action: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(rooms as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len} rooms, {eta} left")
    {
        bar.set_style(style);
    }
    bar.set_message(action);
    bar
}
