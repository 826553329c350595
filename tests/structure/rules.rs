//! Rules for one file.

use crate::assert_none;
use crate::source::Source;

/// Maximum number of lines of a file.
const MAX_FILE_LINES: usize = 500;
/// Maximum number of lines of a function, from `fn` to its closing brace.
const MAX_FUNCTION_LINES: usize = 60;
/// Maximum number of parameters of a function, not counting `self`.
const MAX_PARAMETERS: usize = 5;

fn unwraps(source: &Source) -> Vec<String> {
    source
        .code_outside_tests()
        .filter(|(_, line)| line.contains(".unwrap()") || line.contains(".expect("))
        .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
        .collect()
}

/// The functions of a file: where each begins, its number of lines, and its head.
fn functions(source: &Source) -> Vec<(usize, usize, String)> {
    let lines: Vec<(usize, &str)> = source.code_outside_tests().collect();
    let mut functions = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        let is_start = line.split(' ').any(|word| word == "fn") && !line.trim().ends_with(';');
        if !is_start || line.trim_start().starts_with("//") {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[index..].iter().position(|(_, line)| *line == end);
        let head = lines[index..].iter().map(|(_, line)| line.trim());
        let head: String = head
            .take_while(|line| !line.starts_with(['}', '{']))
            .take(12)
            .collect();
        functions.push((*number, length.map_or(1, |length| length + 1), head));
    }
    functions
}

/// The number of parameters in the head of a function, not counting `self`.
fn parameters(head: &str) -> usize {
    let name = head.find("fn ").map_or(head, |at| &head[at..]);
    let Some(start) = opening(name) else { return 0 };
    let (mut depth, mut count, mut is_empty) = (0, 0, true);
    let list = &name[start + 1..];
    for (at, character) in list.char_indices() {
        match character {
            '(' | '<' | '[' => depth += 1,
            // The arrow of a closure's type closes nothing.
            '>' if list[..at].ends_with('-') => {}
            ')' if depth == 0 => break,
            ')' | '>' | ']' => depth -= 1,
            ',' if depth == 0 => {
                count += usize::from(!is_empty);
                is_empty = true;
                continue;
            }
            _ => {}
        }
        is_empty &= character.is_whitespace();
    }
    count += usize::from(!is_empty);
    let has_self = ["self", "&self", "&mut self", "mut self"];
    let first = list.trim_start();
    let has_self = has_self.iter().any(|form| {
        let rest = first.strip_prefix(form);
        rest.is_some_and(|rest| rest.starts_with([',', ')', ':']))
    });
    count - usize::from(has_self)
}

/// Where the list of parameters opens, behind the generics.
fn opening(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, character)| {
        match character {
            '<' => depth += 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            '(' if depth == 0 => return Some(at),
            _ => {}
        }
        None
    })
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    assert_none("unwrap or expect outside tests", unwraps);
}

#[test]
fn files_are_short() {
    assert_none("files that are too long", |source| {
        let lines = source.text.lines().count();
        let is_long = lines > MAX_FILE_LINES;
        is_long
            .then(|| format!("{}: {lines} lines", source.path))
            .into_iter()
            .collect()
    });
}

#[test]
fn functions_are_short_and_have_few_parameters() {
    assert_none("functions that are too long", |source| {
        let functions = functions(source).into_iter();
        let wrong = functions.filter(|(_, length, head)| {
            *length > MAX_FUNCTION_LINES || parameters(head) > MAX_PARAMETERS
        });
        wrong
            .map(|(line, length, head)| {
                let count = parameters(&head);
                format!("{}:{line}: {length} lines, {count} parameters", source.path)
            })
            .collect()
    });
}

#[test]
fn functions_are_measured() {
    let text = "\
impl A {
    fn a(&self, b: impl Fn(u8, u8) -> u8, c: [u8; 2]) -> u8 {
        0
    }
}
fn b<T: Into<(u8, u8)>>(
    one: T,
    two: Vec<(u8, u8)>,
) {
}
trait T { fn c(self, d: u8); }";
    let found = functions(&Source::new("a.rs", text));
    let found: Vec<_> = found
        .iter()
        .map(|(line, length, head)| (*line, *length, parameters(head)))
        .collect();
    assert_eq!(found, [(2, 3, 2), (6, 5, 2), (11, 1, 1)]);
}

#[test]
fn unwraps_are_found_where_they_matter() {
    let text = "\
// value.unwrap()
let link = \"https://a.example\"; value.unwrap();
value.unwrap_or(1);
#[cfg(test)]
mod tests { value.unwrap(); }";
    assert_eq!(unwraps(&Source::new("web/asset.rs", text)).len(), 1);
    assert_eq!(unwraps(&Source::new("store/tests.rs", text)), [""; 0]);
}
