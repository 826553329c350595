//! What a source file imports: every path that begins with `crate::` or leads there by `super::`.

use crate::source::Source;

/// A path that a file names, from the crate's root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    /// The path's segments: `crate::a::{b, c::D}` gives `a b` and `a c D`.
    pub(crate) path: Vec<String>,
}

/// The imports of the whole file, tests included.
pub(crate) fn of(source: &Source) -> Vec<Import> {
    collect(source, source.code())
}

/// The imports of the file without its tests.
pub(crate) fn outside_tests(source: &Source) -> Vec<Import> {
    collect(source, source.code_outside_tests())
}

fn collect<'s>(source: &Source, lines: impl Iterator<Item = (usize, &'s str)>) -> Vec<Import> {
    let modules = source.modules();
    let mut imports = Vec::new();
    // A `use` may span lines, and is read as one statement.
    let mut statement = String::new();
    for (line, code) in lines {
        statement.push_str(code.trim());
        let is_open = statement.matches('{').count() > statement.matches('}').count();
        if statement.contains("use ") && is_open {
            continue;
        }
        let mut paths = paths_after(&statement, "crate::");
        for depth in 1..=modules.len() {
            // A test module at the end of a file is one module deeper, which `paths_after` sees as
            // a path into the file itself.
            for path in paths_after(&statement, &"super::".repeat(depth)) {
                let parents = modules[..modules.len() - depth].iter();
                let parents = parents.map(|part| (*part).to_owned());
                paths.push(parents.chain(path).collect());
            }
        }
        if let Some(rest) = own_use(&statement) {
            // In a `mod.rs`, a path that begins with a child leads to that child.
            for path in paths_of(rest) {
                let own = modules.iter().map(|part| (*part).to_owned());
                paths.push(own.chain(path).collect());
            }
        }
        imports.extend(paths.into_iter().map(|path| Import { line, path }));
        statement.clear();
    }
    imports
}

/// What follows `use` in a private import by a relative path.
fn own_use(statement: &str) -> Option<&str> {
    let rest = statement.strip_prefix("use ")?;
    let is_relative = !["crate::", "super::", "std::"]
        .iter()
        .any(|it| rest.starts_with(it));
    is_relative.then_some(rest)
}

/// The paths that a `mod.rs` passes on from its children with `pub use`, from that module.
pub(crate) fn passed_on(source: &Source) -> Vec<Vec<String>> {
    let mut passed_on = Vec::new();
    let mut statement = String::new();
    for (_, code) in source.code_outside_tests() {
        statement.push_str(code.trim());
        let is_open = statement.matches('{').count() > statement.matches('}').count();
        if statement.contains("use ") && is_open {
            continue;
        }
        if statement.starts_with("pub")
            && let Some((_, rest)) = statement.split_once("use ")
        {
            passed_on.extend(paths_of(rest));
        }
        statement.clear();
    }
    passed_on
}

/// The paths of a use tree.
fn paths_of(tree: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    expand(tree, &mut Vec::new(), &mut paths);
    paths
}

/// The paths that follow `prefix` in a statement: `a` and `b c` for `crate::{a, b::c}`.
fn paths_after(statement: &str, prefix: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in statement.match_indices(prefix) {
        let before = &statement[..at];
        if before.ends_with(|it: char| it.is_alphanumeric() || "_:".contains(it)) {
            continue;
        }
        let rest = &statement[at + prefix.len()..];
        if !rest.starts_with("super::") {
            expand(rest, &mut Vec::new(), &mut paths);
        }
    }
    paths
}

/// Expands a use tree that begins with `text`, below `parents`.
fn expand(text: &str, parents: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let text = text.trim_start();
    let Some(group) = text.strip_prefix('{') else {
        let name = identifier(text);
        if name.is_empty() {
            return;
        }
        parents.push(name.to_owned());
        match text[name.len()..].strip_prefix("::") {
            Some(rest) if !rest.starts_with(['<', '*']) => expand(rest, parents, paths),
            _ => paths.push(parents.clone()),
        }
        parents.pop();
        return;
    };
    let mut depth = 0;
    let mut is_closed = false;
    let items = group.split(|character| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        is_closed |= depth < 0;
        is_closed || (character == ',' && depth == 0)
    });
    let items: Vec<&str> = items.collect();
    for item in items {
        match item.trim() {
            "" | ";" => {}
            "self" => paths.push(parents.clone()),
            item => expand(item, parents, paths),
        }
    }
}

fn identifier(text: &str) -> &str {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let end = text.find(|character| !is_part(character));
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn imports_are_found_in_every_form() {
    for (path, text, expected) in [
        ("a/b.rs", "use crate::c::D;", "c D"),
        ("a/b.rs", "use crate::{c, d::E};", "c, d E"),
        (
            "a/b.rs",
            "use crate::{\n    c::{D, e::F},\n    g,\n};",
            "c D, c e F, g",
        ),
        ("a/b.rs", "use crate::c::{self, D};", "c, c D"),
        ("a/b.rs", "let it = crate::c::open();", "c open"),
        ("a/b.rs", "use super::c::D;", "a c D"),
        ("a/mod.rs", "use super::c::D;", "c D"),
        ("a/b/c.rs", "use super::super::d::E;", "a d E"),
        ("a/b.rs", "// use crate::c::D;", ""),
        ("a/b.rs", "let it = not_crate::c::D;", ""),
    ] {
        let imports = of(&Source::new(path, text));
        let paths: Vec<_> = imports.iter().map(|it| it.path.join(" ")).collect();
        assert_eq!(paths.join(", "), expected, "{path}: {text}");
    }
}
