//! The map in `src/lib.rs`, kept by force: which module may know which, where `unsafe` may be
//! written, and that nothing a client or the system does can reach an `unwrap`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "here a panic is a verdict"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate and those that it may know. A new module needs a line of its own.
const ARROWS: [(&str, &[&str]); 16] = [
    ("os", &[]),
    ("protocol", &[]),
    ("store", &[]),
    ("web", &["protocol"]),
    ("reactor", &["os", "protocol"]),
    ("rooms", &["os", "protocol", "reactor", "store", "web"]),
    (
        "admin",
        &["os", "protocol", "reactor", "rooms", "store", "web"],
    ),
    (
        "config",
        &["admin", "os", "protocol", "reactor", "rooms", "store"],
    ),
    ("figures", &[]),
    ("swarm", &["figures", "os"]),
    (
        "doctor",
        &["config", "figures", "os", "reactor", "rooms", "store"],
    ),
    (
        "server",
        &[
            "admin", "config", "doctor", "os", "protocol", "reactor", "rooms", "store", "web",
        ],
    ),
    ("snapshot", &["config", "figures", "store"]),
    (
        "cli",
        &["config", "doctor", "reactor", "server", "snapshot", "swarm"],
    ),
    // The crate's root holds the modules and knows none; the binary is `cli` alone.
    ("lib", &[]),
    ("main", &[]),
];

/// The files that may say `unsafe`.
const HOMES_OF_UNSAFE: [&str; 4] = [
    "store/mapping.rs",
    "os/allocator.rs",
    "os/descriptors.rs",
    "os/tcp.rs",
];

/// A source file, by its path under `src`, with `/` between its parts.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The modules from the crate's root to this file.
    fn modules(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        path.trim_end_matches("/mod").split('/').collect()
    }

    fn module(&self) -> &str {
        self.modules()[0]
    }

    fn is_test(&self) -> bool {
        self.modules().contains(&"tests")
    }

    /// Its lines of code, numbered, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(index, line)| (index + 1, without_comment(line)))
    }

    /// The same without the unit tests at its end.
    fn code_outside_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.is_test();
        self.code()
            .take_while(move |(_, line)| !is_test && line.trim() != "#[cfg(test)]")
    }
}

fn without_comment(line: &str) -> &str {
    let starts = line.match_indices("//");
    // In `https://` it starts none.
    let start = starts
        .map(|(at, _)| at)
        .find(|at| !line[..*at].ends_with(':'));
    &line[..start.unwrap_or(line.len())]
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("src is there") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source is UTF-8");
                let path = path.strip_prefix(&root).expect("it is under src");
                let parts = path.iter().map(|part| part.to_string_lossy());
                sources.push(Source::new(&parts.collect::<Vec<_>>().join("/"), &text));
            }
        }
    }
    assert!(
        sources.len() > 20,
        "only {} sources were found",
        sources.len()
    );
    sources
}

/// The first names of the paths that follow `prefix` in `line`: `a` and `b` in `crate::{a, b::c}`.
fn names_after<'l>(line: &'l str, prefix: &str) -> Vec<&'l str> {
    let mut names = Vec::new();
    for (at, _) in line.match_indices(prefix) {
        if line[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before)) {
            continue;
        }
        let rest = &line[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(identifier(rest));
            continue;
        };
        let mut depth = 0;
        let items = group.split(|character| {
            depth += i32::from(character == '{') - i32::from(character == '}');
            character == ',' && depth == 0
        });
        names.extend(items.map(|item| identifier(item.trim_start())));
    }
    names.retain(|name| !name.is_empty());
    names
}

fn identifier(text: &str) -> &str {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let end = text.find(|character| !is_part(character));
    &text[..end.unwrap_or(text.len())]
}

/// The source's arrows to other modules that the map does not have.
fn wrong_arrows(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some((_, may_know)) = ARROWS.iter().find(|(name, _)| *name == module) else {
        return vec![format!(
            "{}: the module {module} is not on the map",
            source.path
        )];
    };
    // As many times `super` lead from this file to the crate's root.
    let to_root = "super::".repeat(source.modules().len());
    // A `use` may go over lines: it is read as one.
    let mut wrong = Vec::new();
    let mut statement = String::new();
    for (number, line) in source.code() {
        statement.push_str(line.trim());
        let is_open = statement.matches('{').count() > statement.matches('}').count();
        if statement.contains("use ") && is_open {
            continue;
        }
        let by_root = names_after(&statement, "crate::");
        let by_super = names_after(&statement, &to_root);
        let by_super = by_super
            .into_iter()
            .filter(|name| ARROWS.iter().any(|(known, _)| known == name));
        for name in by_root.into_iter().chain(by_super) {
            if name != module && !may_know.contains(&name) {
                wrong.push(format!(
                    "{}:{number}: {module} must not know {name}",
                    source.path
                ));
            }
        }
        statement.clear();
    }
    wrong
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.split(|character| !is_part(character))
        .any(|found| found == word)
}

fn misplaced_unsafe(source: &Source) -> Vec<String> {
    if HOMES_OF_UNSAFE.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let is_unsafe = |line: &str| has_word(line, "unsafe") || has_word(line, "unsafe_code");
    source
        .code()
        .filter(|(_, line)| is_unsafe(line))
        .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
        .collect()
}

fn unwraps(source: &Source) -> Vec<String> {
    source
        .code_outside_tests()
        .filter(|(_, line)| line.contains(".unwrap()") || line.contains(".expect("))
        .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
        .collect()
}

fn assert_none(what: &str, check: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = sources().iter().flat_map(check).collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn modules_know_only_those_that_the_map_lets_them_know() {
    assert_none("arrows that are not on the map", wrong_arrows);
}

#[test]
fn unsafe_is_written_only_at_home() {
    assert_none("unsafe code outside its homes", misplaced_unsafe);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    assert_none("unwrap or expect outside tests", unwraps);
}

#[test]
fn every_module_of_the_map_is_there() {
    let sources = sources();
    for (module, _) in ARROWS {
        let is_there = sources.iter().any(|source| source.module() == module);
        assert!(is_there, "{module} is on the map and not in src");
    }
}

#[test]
fn a_wrong_arrow_is_found_however_it_is_written() {
    for (path, text) in [
        ("protocol/head.rs", "use crate::rooms::Room;"),
        ("protocol/head.rs", "use crate::{protocol, store::Store};"),
        (
            "protocol/head.rs",
            "use crate::{\n    protocol::{a, b},\n    store::Store,\n};",
        ),
        (
            "protocol/frame/tests.rs",
            "fn f() { let it = crate::store::open(); }",
        ),
        ("store/mod.rs", "    use super::protocol::frame;"),
        ("store/mapping.rs", "use super::super::protocol::frame;"),
        (
            "reactor/listener/tcp.rs",
            "use super::super::super::server::serve;",
        ),
        ("web/pages.rs", "pub(crate) use crate::reactor::App;"),
        ("reactor/mod.rs", "type Args = crate::config::ServeArgs;"),
        ("swarm/mod.rs", "use crate::protocol::websocket::frame;"),
        ("novelty.rs", ""),
    ] {
        let wrong = wrong_arrows(&Source::new(path, text));
        assert_eq!(wrong.len(), 1, "{path}: {text}: {wrong:?}");
    }
}

#[test]
fn a_right_arrow_is_not_complained_of() {
    for (path, text) in [
        (
            "rooms/mod.rs",
            "use crate::store::Store;\nuse crate::protocol::messages;",
        ),
        (
            "rooms/table.rs",
            "use super::{Room, RoomLimits};\nuse crate::store::Store;",
        ),
        ("reactor/listener/tcp.rs", "use super::super::server::Name;"),
        (
            "protocol/head.rs",
            "// use crate::rooms::Room;\nuse super::frame;",
        ),
        ("protocol/head.rs", "let other = not_crate::rooms::Room;"),
        (
            "protocol/head.rs",
            "use crate::protocol::{\n    frame, close::{self, CloseCode},\n};",
        ),
    ] {
        assert_eq!(
            wrong_arrows(&Source::new(path, text)),
            [""; 0],
            "{path}: {text}"
        );
    }
}

#[test]
fn unsafe_and_unwraps_are_found_where_they_matter() {
    let text = "\
// unsafe { } and .unwrap()
let link = \"https://a.example\"; value.unwrap();
#![allow(unsafe_code)]
unsafe { go() }
value.unwrap_or(1);
#[cfg(test)]
mod tests { value.unwrap(); }";
    let source = Source::new("http/route.rs", text);
    assert_eq!(unwraps(&source).len(), 1);
    assert_eq!(misplaced_unsafe(&source).len(), 2);
    assert_eq!(unwraps(&Source::new("store/tests.rs", text)), [""; 0]);
    assert_eq!(
        misplaced_unsafe(&Source::new("store/mapping.rs", text)),
        [""; 0]
    );
}
