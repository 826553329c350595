//! The documentation, held to the code: links lead somewhere, the README stays short, and the
//! operator's page names every flag and every metric of the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{AdminSide, clean_command};

/// Maximum length of the README: an operator has two minutes.
const MAX_README_WORDS: usize = 800;
const OPERATIONS: &str = "docs/operations.md";
/// Directories whose paths the pages name.
const NAMED_DIRECTORIES: [&str; 5] = ["src/", "tests/", "benches/", "fuzz/", "docs/"];

/// A page of the documentation, by its path from the repository's root.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path));
        Self {
            path: path.into(),
            text: text.unwrap_or_else(|error| panic!("{path}: {error}")),
        }
    }

    /// Returns the lines that are not in a fenced block.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut is_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
    }

    /// Returns the targets of all links and images.
    fn links(&self) -> Vec<&str> {
        let parts = self.prose().flat_map(|line| line.split("](").skip(1));
        parts
            .filter_map(|rest| Some(rest.split_once(')')?.0))
            .collect()
    }

    /// Returns the texts between single backticks.
    fn code_spans(&self) -> impl Iterator<Item = &str> {
        self.prose()
            .flat_map(|line| line.split('`').skip(1).step_by(2))
    }

    /// Returns the first cell of each table row, without its backticks.
    fn row_names(&self) -> impl Iterator<Item = &str> {
        self.prose().filter_map(|line| {
            let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
            name.split_whitespace().next()
        })
    }

    /// Returns the anchors of all headings, as Git hosts make them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        headings
            .map(|line| slug(line.trim_start_matches('#').trim()))
            .collect()
    }
}

fn slug(heading: &str) -> String {
    let kept = |character: &char| character.is_alphanumeric() || " -_".contains(*character);
    let lower = heading.to_lowercase();
    lower
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<Page> {
    let mut paths: Vec<String> = Vec::new();
    for directory in ["", "docs"] {
        for entry in fs::read_dir(root().join(directory)).expect("the directory is there") {
            let name = entry.expect("it can be read").file_name();
            let name = name.to_str().expect("names are UTF-8");
            if name.ends_with(".md") {
                paths.push(Path::new(directory).join(name).display().to_string());
            }
        }
    }
    assert!(paths.len() > 6, "only {paths:?} were found");
    paths.iter().map(|path| Page::read(path)).collect()
}

/// Returns what is wrong with a link of `page`, if anything is.
fn broken(page: &Page, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.path.clone(),
        _ => page.path.parent().unwrap_or(Path::new("")).join(file),
    };
    let place = format!("{}: {link}", page.path.display());
    if !root().join(&target).exists() {
        return Some(format!("{place}: no such file"));
    }
    let has_anchor = || {
        Page::read(&target.to_string_lossy())
            .anchors()
            .contains(anchor)
    };
    (!anchor.is_empty() && !has_anchor()).then(|| format!("{place}: no such heading"))
}

fn help_of_serve() -> String {
    let output = clean_command(Path::new("."))
        .args(["serve", "--help"])
        .output()
        .expect("the server starts");
    String::from_utf8(output.stdout).expect("the help is UTF-8")
}

/// Returns the flags that a help text describes.
fn flags(help: &str) -> BTreeSet<&str> {
    let words = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("-h, ").unwrap_or(line);
        line.starts_with("--")
            .then(|| line.split_whitespace().next())?
    });
    words
        .filter(|flag| !matches!(*flag, "--help" | "--version"))
        .collect()
}

/// Returns the names of all metrics that a server has.
fn metrics() -> BTreeSet<String> {
    let (_server, admin) = AdminSide::start(&["--no-snapshot"]);
    let response = admin.get("/metrics").body;
    let types = response
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let pages = pages();
    let links = pages
        .iter()
        .flat_map(|page| page.links().into_iter().map(move |it| (page, it)));
    let found: Vec<String> = links
        .filter_map(|(page, link)| broken(page, link))
        .collect();
    assert_none("broken links", &found);
}

#[test]
fn paths_that_pages_name_exist() {
    let is_path = |text: &&str| {
        NAMED_DIRECTORIES
            .iter()
            .any(|start| text.starts_with(start))
    };
    let is_missing = |text: &&str| !text.contains([' ', '*', '<']) && !root().join(text).exists();
    let found: Vec<String> = pages()
        .iter()
        .flat_map(|page| {
            let spans = page.code_spans().filter(is_path).filter(is_missing);
            spans
                .map(|text| format!("{}: {text}", page.path.display()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none("paths that are not there", &found);
}

#[test]
fn tests_that_the_security_page_names_exist() {
    let mut sources = String::new();
    let mut directories = vec![root().join("tests"), root().join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let page = Page::read("docs/security.md");
    // The last of four columns names tests.
    let rows = page.prose().filter(|line| line.starts_with("| "));
    let rows = rows.map(|row| row.split('|').collect::<Vec<_>>());
    let cells = rows.filter(|cells| cells.len() == 6).map(|cells| cells[4]);
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 30, "only {names:?} were found");
    let is_missing = |name: &&&str| !sources.contains(&format!("fn {name}()"));
    let missing = names.iter().filter(is_missing).map(|it| (*it).to_owned());
    assert_none("tests that don't exist", &missing.collect::<Vec<_>>());
}

#[test]
fn the_readme_is_short() {
    let words = Page::read("README.md").text.split_whitespace().count();
    assert!(words <= MAX_README_WORDS, "{words} words");
}

#[test]
fn the_operators_page_has_exactly_the_flags_of_serve() {
    let help = help_of_serve();
    let page = Page::read(OPERATIONS);
    let rows: BTreeSet<&str> = page
        .row_names()
        .filter(|name| name.starts_with("--"))
        .collect();
    let flags = flags(&help);
    assert!(flags.len() > 20, "{flags:?}");
    assert_eq!(rows, flags);
}

#[test]
fn every_flag_has_the_variable_that_the_page_promises() {
    let help = help_of_serve();
    let variable = |flag: &str| {
        flag.trim_start_matches('-')
            .replace('-', "_")
            .to_uppercase()
    };
    let is_missing = |flag: &str| !help.contains(&format!("env: OVATION_{}=", variable(flag)));
    let flags = flags(&help).into_iter();
    let found: Vec<String> = flags
        .filter(|flag| is_missing(flag))
        .map(str::to_owned)
        .collect();
    assert_none("flags without a variable", &found);
}

#[test]
fn the_operators_page_has_exactly_the_metrics() {
    let page = Page::read(OPERATIONS);
    let is_metric = |name: &&str| name.starts_with("ovation_") || name.starts_with("process_");
    let rows: BTreeSet<String> = page
        .row_names()
        .filter(is_metric)
        .map(str::to_owned)
        .collect();
    let metrics = metrics();
    assert!(metrics.len() > 20, "{metrics:?}");
    assert_eq!(rows, metrics);
}

#[test]
fn anchors_are_made_as_git_hosts_make_them() {
    assert_eq!(slug("What isn't covered"), "what-isnt-covered");
    assert_eq!(slug("The file, byte by byte"), "the-file-byte-by-byte");
    assert_eq!(slug("[0.1.0]"), "010");
}
