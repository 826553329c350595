//! Makes the scripts that are served from their sources: joins modules into one, so that a page
//! needs one request, and leaves out comments, which are for readers of the sources.

/// Joins modules into one. A module may import from modules before it, by a path that begins with
/// `./` and on one line. No name may be declared in two modules.
pub(super) fn join(modules: &[&str]) -> String {
    let stripped: Vec<String> = modules.iter().map(|module| strip(module)).collect();
    let lines = stripped.iter().flat_map(|module| module.lines());
    lines
        .filter(|line| !(line.starts_with("import ") && line.contains(" from \"./")))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Removes empty lines and the comments that begin a line. No string of the script may have such
/// lines.
pub(super) fn strip(source: &str) -> String {
    let mut stripped = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if start.starts_with("/**") {
            after_comment(line, &mut lines, &mut stripped);
        } else if !start.is_empty() && !start.starts_with("//") {
            stripped.push_str(line);
            stripped.push('\n');
        }
    }
    stripped
}

/// Skips the comment that begins with `line`, and appends the rest of its last line.
fn after_comment<'s>(
    line: &'s str,
    lines: &mut impl Iterator<Item = &'s str>,
    stripped: &mut String,
) {
    let mut line = line;
    loop {
        if let Some((_, rest)) = line.split_once("*/") {
            if !rest.trim().is_empty() {
                stripped.push_str(rest.trim_start());
                stripped.push('\n');
            }
            return;
        }
        let Some(next) = lines.next() else { return };
        line = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_joined_without_imports_and_comments() {
        let one = "/** Doc. */\n\nexport const a = 1; // kept\n  // left out\n";
        let two =
            "import { a } from \"./one.js\";\nimport \"/c.js\";\n/**\n * Doc // */\nconst b = a;\n";
        let joined = join(&[one, two]);
        let expected = "export const a = 1; // kept\nimport \"/c.js\";\nconst b = a;\n";
        assert_eq!(joined, expected);
    }

    #[test]
    fn code_after_a_comment_stays() {
        let code = "f(\n  /** @type {A} */ (b).c(),\n);\n/** A comment without an end\nd();\n";
        assert_eq!(join(&[code]), "f(\n(b).c(),\n);\n");
    }
}
