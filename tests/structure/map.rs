//! The map in `src/lib.rs`: a table of modules in their order, with what each may know.

use std::collections::BTreeSet;

use crate::source::{self, Source};
use crate::{assert_none, imports};

/// A row of the map.
struct Row {
    module: String,
    knows: Vec<String>,
}

/// The rows of the map.
fn rows() -> Vec<Row> {
    let lines = lib().lines().filter(|line| line.starts_with("//! | "));
    let rows = lines.skip(1).map(|line| {
        let cells: Vec<&str> = line
            .trim_matches(['/', '!', ' ', '|'])
            .split(" | ")
            .collect();
        let names = |cell: &str| {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        let module: Vec<String> = names(cells[0]);
        Row {
            module: module[0].clone(),
            knows: cells.get(2).map_or(Vec::new(), |cell| names(cell)),
        }
    });
    let rows: Vec<Row> = rows.collect();
    assert!(rows.len() > 10, "only {} rows were found", rows.len());
    rows
}

fn lib() -> &'static str {
    include_str!("../../src/lib.rs")
}

/// The modules that a file imports, other than its own.
fn known_by(source: &Source) -> Vec<(usize, String)> {
    let imports = imports::of(source).into_iter();
    let roots = imports.filter_map(|it| Some((it.line, it.path.into_iter().next()?)));
    roots.filter(|(_, root)| root != source.module()).collect()
}

#[test]
fn the_map_has_every_module_and_no_other() {
    let modules = |line: &'static str| {
        let line = line.trim_start_matches("pub ");
        line.strip_prefix("mod ")
            .map(|it| it.trim_end_matches(';').to_owned())
    };
    let declared: BTreeSet<String> = lib().lines().filter_map(modules).collect();
    let mapped: BTreeSet<String> = rows().into_iter().map(|row| row.module).collect();
    assert_eq!(mapped, declared);
}

#[test]
fn arrows_of_the_map_lead_up() {
    let rows = rows();
    for (index, row) in rows.iter().enumerate() {
        for known in &row.knows {
            let is_above = rows[..index].iter().any(|above| above.module == *known);
            assert!(is_above, "{} knows {known}, which is not above", row.module);
        }
    }
}

#[test]
fn modules_know_only_what_the_map_lets_them_know() {
    let rows = rows();
    assert_none("imports that the map does not allow", |source| {
        let row = rows.iter().find(|row| row.module == source.module());
        let Some(row) = row else {
            // The crate's root holds the modules, and the binary runs `cli`.
            assert!(
                ["lib", "main"].contains(&source.module()),
                "{}",
                source.path
            );
            return Vec::new();
        };
        let wrong = known_by(source).into_iter();
        let wrong = wrong.filter(|(_, known)| {
            rows.iter().any(|row| row.module == *known) && !row.knows.contains(known)
        });
        wrong
            .map(|(line, known)| format!("{}:{line}: {} knows {known}", source.path, row.module))
            .collect()
    });
}

#[test]
fn the_map_has_no_arrow_that_is_not_used() {
    let sources = source::all();
    for row in rows() {
        let own = sources.iter().filter(|it| it.module() == row.module);
        let used: BTreeSet<String> = own.flat_map(known_by).map(|(_, known)| known).collect();
        for known in row.knows {
            assert!(used.contains(&known), "{} does not use {known}", row.module);
        }
    }
}

#[test]
fn the_map_names_the_homes_of_unsafe() {
    let homes = lib()
        .split("# Homes of `unsafe`")
        .nth(1)
        .expect("the map has the section");
    let homes = homes.lines().nth(1).expect("the section has a line");
    let named: BTreeSet<&str> = homes.split('`').skip(1).step_by(2).collect();
    let has_unsafe = |source: &Source| {
        let mut code = source.code();
        code.any(|(_, line)| {
            // A word of Content-Security-Policy.
            let line = line.replace("'unsafe-inline'", "");
            has_word(&line, "unsafe") || has_word(&line, "unsafe_code")
        })
    };
    let sources = source::all();
    let found: BTreeSet<&str> = sources
        .iter()
        .filter(|it| has_unsafe(it))
        .map(|it| &*it.path)
        .collect();
    assert_eq!(named, found);
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.split(|character| !is_part(character))
        .any(|found| found == word)
}
