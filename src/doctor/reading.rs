//! Reads files below a root. A missing file isn't an error, and neither is a file with unexpected
//! contents: each reading says which of them it was.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;

use crate::os::{meminfo, procfs};

/// Stands for "no limit" where the kernel says so in words.
pub(super) const UNLIMITED: u64 = u64::MAX;

/// The result of reading one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Reading<T> {
    /// The value.
    Known(T),
    /// The file can't be read or parsed, for this reason.
    Unreadable { unreadable: String },
    /// This machine has no such file.
    Absent,
}

impl<T> Reading<T> {
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unreadable { .. } | Self::Absent => None,
        }
    }

    pub(super) fn and_then<U>(self, next: impl FnOnce(T) -> Reading<U>) -> Reading<U> {
        match self {
            Self::Known(value) => next(value),
            Self::Unreadable { unreadable } => Reading::Unreadable { unreadable },
            Self::Absent => Reading::Absent,
        }
    }

    pub(super) fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Absent => other(),
            found => found,
        }
    }

    fn unreadable(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Unreadable {
            unreadable: format!("{}: {reason}", path.display()),
        }
    }
}

impl Reading<u64> {
    pub(super) fn number(&self) -> Option<u64> {
        self.known().copied()
    }
}

/// The files below a root, which is `/` except in tests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree<'a>(pub(super) &'a Path);

impl Tree<'_> {
    /// Reads the text of a file.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Reading<String> {
        let path = path.as_ref();
        match fs::read_to_string(self.0.join(path)) {
            Ok(text) => Reading::Known(text),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Reading::Absent,
                _ => Reading::unreadable(&Path::new("/").join(path), error),
            },
        }
    }

    /// Reads a file that `parse` understands.
    pub(super) fn parsed<T>(
        &self,
        path: impl AsRef<Path>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Reading<T> {
        let path = path.as_ref();
        self.text(path).and_then(|text| match parse(&text) {
            Some(value) => Reading::Known(value),
            None => Reading::unreadable(&Path::new("/").join(path), "has an unexpected format"),
        })
    }

    /// Reads a file with one number.
    pub(super) fn number(&self, path: impl AsRef<Path>) -> Reading<u64> {
        self.parsed(path, |text| text.trim().parse().ok())
    }

    /// Reads a file with exactly `N` numbers.
    pub(super) fn numbers<const N: usize>(&self, path: &str) -> Reading<[u64; N]> {
        self.parsed(path, procfs::numbers)
    }

    /// Reads a value of `/proc/meminfo` in bytes, where `kib` finds it in KiB.
    pub(super) fn meminfo(&self, kib: fn(&str) -> Option<u64>) -> Reading<u64> {
        let path = meminfo::PATH.trim_start_matches('/');
        self.parsed(path, |text| kib(text)?.checked_mul(1024))
    }
}

/// Parses a limit: a number, or one of the kernel's words for "no limit".
pub(super) fn limit(word: &str) -> Option<u64> {
    match word {
        "max" | "unlimited" => Some(UNLIMITED),
        number => number.parse().ok(),
    }
}
