//! Circles between files: two files that import each other, directly or by others.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports;
use crate::source::{self, Source};

/// The files that each file imports, tests aside.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The source files by their paths.
type Files<'s> = BTreeMap<&'s str, &'s Source>;

fn graph(sources: &[Source]) -> Graph {
    let files: Files = sources
        .iter()
        .map(|source| (&*source.path, source))
        .collect();
    let mut graph = Graph::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let imports = imports::outside_tests(source).into_iter();
        let targets = imports.filter_map(|import| file_of(&import.path, &files));
        let targets = targets.filter(|target| *target != source.path);
        graph.insert(source.path.clone(), targets.collect());
    }
    graph
}

/// The file that a path leads to: the deepest module on it that is a file. Where that is a `mod.rs`
/// that only passes the item on, the file that the item comes from.
fn file_of(path: &[String], files: &Files) -> Option<String> {
    (1..=path.len()).rev().find_map(|length| {
        let module = path[..length].join("/");
        let file = format!("{module}.rs");
        if files.contains_key(&*file) {
            return Some(file);
        }
        let file = format!("{module}/mod.rs");
        let source = files.get(&*file)?;
        let Some(item) = path.get(length) else {
            return Some(file);
        };
        let passed_on = imports::passed_on(source);
        let origin = passed_on.into_iter().find(|it| it.last() == Some(item));
        match origin {
            Some(origin) => file_of(&[&path[..length], &origin].concat(), files),
            None => Some(file),
        }
    })
}

/// A circle through `start`, if there is one: the files on the way.
fn circle_through(start: &str, graph: &Graph) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in graph.get(way.last()?).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let graph = graph(&source::all());
    let circles = graph.keys().filter_map(|file| circle_through(file, &graph));
    let circles: Vec<String> = circles.map(|circle| circle.join(" -> ")).collect();
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_even_by_a_detour() {
    let sources = [
        Source::new("a/b.rs", "use super::c::C;"),
        Source::new("a/c.rs", "use crate::d::D;"),
        Source::new("a/mod.rs", "mod b;\npub use b::B;"),
        Source::new("d.rs", "use crate::a::B;"),
        Source::new("e.rs", "use crate::d::D;"),
        Source::new("f/mod.rs", "mod g;\nuse g::G;\npub struct F;"),
        Source::new("h/mod.rs", "use super::i::I;"),
        Source::new("i.rs", "use super::h;"),
        Source::new("f/g.rs", "use super::F;"),
    ];
    let graph = graph(&sources);
    assert!(circle_through("a/b.rs", &graph).is_some());
    assert_eq!(circle_through("a/mod.rs", &graph), None);
    assert_eq!(circle_through("e.rs", &graph), None);
    assert!(circle_through("f/g.rs", &graph).is_some());
    assert!(circle_through("i.rs", &graph).is_some());
}
