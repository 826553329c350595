//! A source file as lines of code.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
pub(crate) struct Source {
    /// Its path below `src`, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The modules from the crate's root to this file.
    pub(crate) fn modules(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        path.trim_end_matches("/mod").split('/').collect()
    }

    /// The top-level module of this file.
    pub(crate) fn module(&self) -> &str {
        self.modules()[0]
    }

    pub(crate) fn is_test(&self) -> bool {
        self.modules().contains(&"tests")
    }

    /// The numbered lines, without comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(index, line)| (index + 1, without_comment(line)))
    }

    /// The numbered lines, without comments and without unit tests.
    pub(crate) fn code_outside_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.is_test();
        self.code()
            .take_while(move |(_, line)| !is_test && line.trim() != "#[cfg(test)]")
    }
}

fn without_comment(line: &str) -> &str {
    let starts = line.match_indices("//");
    // The slashes in `https://` don't start a comment.
    let start = starts
        .map(|(at, _)| at)
        .find(|at| !line[..*at].ends_with(':'));
    &line[..start.unwrap_or(line.len())]
}

/// All source files of the crate.
pub(crate) fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("src exists") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let path = path.strip_prefix(&root).expect("the path is below src");
                let parts = path.iter().map(|part| part.to_string_lossy());
                sources.push(Source::new(&parts.collect::<Vec<_>>().join("/"), &text));
            }
        }
    }
    let count = sources.len();
    assert!(count > 100, "only {count} sources were found");
    sources
}
