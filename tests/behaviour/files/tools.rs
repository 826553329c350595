//! What tools leave behind when something fails, and what they say.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{TALK, make, mode, names, set_mode};
use crate::support::{directory, done, failed, has_strace, snapshot, start_snapshot};

#[test]
fn a_killed_tool_leaves_no_temporary_file() {
    let home = directory();
    make(home.path(), "counts");
    let mut tool = start_snapshot(home.path(), &["import", "counts"]);
    let mut input = tool.stdin.take().unwrap();
    // More than a pipe holds: when it is written, the tool is at work.
    for room in 0..5000 {
        writeln!(
            input,
            r#"{{"party":"main","room":"{room}","counts":{{"love":1}}}}"#
        )
        .unwrap();
    }
    tool.kill().unwrap();
    tool.wait().unwrap();
    assert_eq!(names(home.path()), ["counts"]);
    assert!(done(home.path(), &["verify", "counts"], "").contains("1 rooms"));
}

#[test]
fn temporary_files_of_the_dead_are_removed() {
    let home = directory();
    make(home.path(), "counts");
    let mut child = Command::new("true").spawn().unwrap();
    let dead = format!("counts.new-{}", child.id());
    child.wait().unwrap();
    let alive = format!("counts.new-{}", std::process::id());
    let link = format!("counts.new-0{}", child.id());
    for name in [&dead, &alive, "counts.new-1x", "other.new-1", "victim"] {
        fs::write(home.path().join(name), "x").unwrap();
    }
    symlink("victim", home.path().join(&link)).unwrap();
    done(home.path(), &["compact", "counts"], "");
    let left = names(home.path());
    assert!(!left.contains(&dead), "{left:?}");
    for name in [&alive, "counts.new-1x", "other.new-1", "victim"] {
        assert!(left.iter().any(|it| it == name), "{name}: {left:?}");
    }
}

#[test]
fn a_failed_export_leaves_no_file() {
    let home = directory();
    let rooms: String = (0..5000)
        .map(|room| {
            format!("{{\"party\":\"main\",\"room\":\"{room}\",\"counts\":{{\"love\":1}}}}\n")
        })
        .collect();
    done(home.path(), &["import", "counts"], &rooms);
    let limited = Command::new("sh")
        .args([
            "-c",
            "ulimit -f 64 && exec \"$0\" snapshot export counts --output lines",
        ])
        .arg(env!("CARGO_BIN_EXE_ovation"))
        .current_dir(home.path())
        .output()
        .unwrap();
    assert_eq!(limited.status.code(), Some(1));
    assert_eq!(names(home.path()), ["counts"]);
}

/// Runs `ovation snapshot` under strace.
fn traced(home: &Path, options: &[&str], arguments: &[&str]) {
    let output = Command::new("strace")
        .args(options)
        .args([env!("CARGO_BIN_EXE_ovation"), "snapshot"])
        .args(arguments)
        .current_dir(home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{options:?} {arguments:?}: {error}"
    );
}

/// The commands that make a file. Those with a copy's name make files that must not exist.
fn making_commands<'a>(copy: &'a str, lines: &'a str) -> [Vec<&'a str>; 3] {
    [
        vec!["compact", "counts"],
        vec!["backup", "counts", "--output", copy],
        vec!["export", "counts", "--output", lines],
    ]
}

#[test]
fn a_disk_without_nameless_files_or_links_will_do() {
    if !has_strace() {
        return;
    }
    let (home, trace) = (directory(), directory());
    let trace = trace.path().join("trace");
    let trace = trace.to_str().unwrap();
    make(home.path(), "counts");
    set_mode(&home.path().join("counts"), 0o640);
    for arguments in making_commands("no-links", "no-links.lines") {
        let fault = "inject=link,linkat:error=EPERM";
        traced(home.path(), &["-o", trace, "-e", fault], &arguments);
    }
    for (number, arguments) in making_commands("named", "named.lines").iter().enumerate() {
        let (probe, lines) = (format!("probe-{number}"), format!("lines-{number}"));
        let probe = &making_commands(&probe, &lines)[number];
        traced(home.path(), &["-o", trace, "-e", "openat"], probe);
        let calls = fs::read_to_string(trace).unwrap();
        let nameless = calls.lines().position(|line| line.contains("O_TMPFILE"));
        let call = nameless.expect("a file without a name") + 1;
        let fault = format!("inject=openat:error=EOPNOTSUPP:when={call}");
        traced(home.path(), &["-o", trace, "-e", &fault], arguments);
        let calls = fs::read_to_string(trace).unwrap();
        assert!(calls.contains("EOPNOTSUPP"), "{calls}");
    }
    let made = names(home.path());
    assert!(!made.iter().any(|it| it.contains(".new-")), "{made:?}");
    for name in made {
        assert_eq!(mode(&home.path().join(&name)), 0o640, "{name}");
    }
    for copy in ["counts", "no-links", "named"] {
        let said = done(home.path(), &["verify", copy], "");
        assert!(said.contains("equal to its sealed copy"), "{said}");
        let lines = done(home.path(), &["export", copy], "");
        assert!(lines.contains(r#""counts":{"love":3}"#), "{copy}: {lines}");
    }
}

#[test]
fn a_reserved_kind_is_not_imported() {
    let home = directory();
    make(home.path(), "counts");
    let bad = format!("{TALK}\n{}", TALK.replace("love", "$here"));
    let (code, message) = failed(home.path(), &["import", "counts"], &bad);
    assert_eq!(code, 2);
    assert!(
        message.contains("line 2") && message.contains("reserved"),
        "{message}"
    );
    assert!(!done(home.path(), &["export", "counts"], "").contains("$here"));
}

#[test]
fn inspect_describes_a_damaged_file_and_exits_with_5() {
    let home = directory();
    make(home.path(), "counts");
    let path = home.path().join("counts");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 + 32] ^= 1;
    fs::write(&path, &bytes).unwrap();
    for (arguments, part) in [
        (&["inspect", "counts"][..], "damage     in 2 places"),
        (&["inspect", "--json", "counts"], r#""damaged":2"#),
    ] {
        let output = snapshot(home.path(), arguments, "");
        assert_eq!(output.status.code(), Some(5), "{arguments:?}");
        let summary = String::from_utf8_lossy(&output.stdout);
        assert!(summary.contains(part), "{part}: {summary}");
    }
}
