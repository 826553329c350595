//! Which files Ovation opens, makes and leaves behind, and who may read them. Tests that need another
//! user run only as root.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{
    Client, Http, Server, directory, done, eventually, failed, has_strace, reaction, refused, skip,
    snapshot, start_snapshot,
};

const TALK: &str = r#"{"party":"main","room":"talk","counts":{"love":3}}"#;
/// A user that owns nothing.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("only root can make files of other users");
    }
    is_root
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Makes a room's counts in a file that was closed in order.
fn make(home: &Path, name: &str) {
    done(home, &["import", name], TALK);
}

fn run(program: &str, arguments: &[&str], home: &Path) {
    let ran = Command::new(program)
        .args(arguments)
        .current_dir(home)
        .status();
    assert!(ran.unwrap().success(), "{program} {arguments:?}");
}

#[test]
fn files_are_private_from_the_start() {
    let home = directory();
    let server = Server::start_in(home.path(), &[]);
    assert_eq!(mode(&server.snapshot()), 0o600);
    assert_eq!(server.stop().code(), Some(0));
    make(home.path(), "counts");
    done(home.path(), &["backup", "counts", "--output", "copy"], "");
    done(home.path(), &["export", "counts", "--output", "lines"], "");
    for name in ["counts", "copy", "lines"] {
        assert_eq!(mode(&home.path().join(name)), 0o600, "{name}");
    }
}

#[test]
fn another_user_cannot_take_the_lock() {
    if !is_root() {
        return;
    }
    let home = directory();
    set_mode(home.path(), 0o755);
    let server = Server::start_in(home.path(), &[]);
    let path = server.snapshot();
    assert_eq!(server.stop().code(), Some(0));
    let mut flock = Command::new("flock");
    flock.arg("--nonblock").arg(path).arg("true");
    let output = flock.uid(NOBODY).gid(NOBODY).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("Permission denied"), "{message}");
}

#[test]
fn a_snapshot_that_others_can_open_is_warned_of() {
    let home = directory();
    make(home.path(), "ovation.snapshot");
    let path = home.path().join("ovation.snapshot");
    for (bits, is_warned) in [(0o600, false), (0o640, false), (0o604, true)] {
        set_mode(&path, bits);
        let server = Server::start_in(home.path(), &[]);
        let has_warning = server
            .log()
            .contains("snapshot can be locked by other users");
        assert_eq!(has_warning, is_warned, "{bits:o}: {}", server.log());
        assert_eq!(server.stop().code(), Some(0));
        assert_eq!(mode(&path), bits);
    }
}

#[test]
fn copies_keep_mode_and_owner() {
    let home = directory();
    make(home.path(), "counts");
    let path = home.path().join("counts");
    let owner = if is_root() {
        NOBODY
    } else {
        path.metadata().unwrap().uid()
    };
    chown(&path, Some(owner), None).unwrap();
    set_mode(&path, 0o640);
    done(home.path(), &["compact", "counts"], "");
    done(home.path(), &["import", "counts"], TALK);
    done(home.path(), &["backup", "counts", "--output", "copy"], "");
    done(home.path(), &["export", "counts", "--output", "lines"], "");
    for name in ["counts", "copy", "lines"] {
        let file = home.path().join(name);
        assert_eq!(mode(&file), 0o640, "{name}");
        assert_eq!(file.metadata().unwrap().uid(), owner, "{name}");
    }
}

/// Replaces every temporary file in `home` by a link to `victim`, until `is_over`.
fn plant_links(home: &Path, victim: &Path, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        for name in names(home).iter().filter(|name| name.contains(".new-")) {
            let path = home.join(name);
            let _ = fs::remove_file(&path);
            let _ = symlink(victim, &path);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_link_planted_during_a_rewrite_is_not_followed() {
    if !has_strace() {
        return;
    }
    let (home, elsewhere) = (directory(), directory());
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "secret").unwrap();
    set_mode(&victim, 0o600);
    make(home.path(), "counts");
    set_mode(&home.path().join("counts"), 0o644);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| plant_links(home.path(), &victim, &is_over));
        for arguments in [
            &["compact", "counts"][..],
            &["import", "counts"],
            &["backup", "counts", "--output", "copy"],
        ] {
            // Every sync takes long, so that there is time to plant a link.
            let _ = Command::new("strace")
                .args([
                    "-f",
                    "-o",
                    "/dev/null",
                    "-e",
                    "inject=fsync,msync:delay_exit=50000",
                ])
                .args([env!("CARGO_BIN_EXE_ovation"), "snapshot"])
                .args(arguments)
                .current_dir(home.path())
                .stdin(Stdio::null())
                .output();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(mode(&victim), 0o600);
    assert_eq!(fs::read(&victim).unwrap(), b"secret");
}

#[test]
fn a_link_in_the_place_of_the_output_is_not_followed() {
    let (home, elsewhere) = (directory(), directory());
    make(home.path(), "counts");
    let victim = elsewhere.path().join("victim");
    symlink(&victim, home.path().join("out")).unwrap();
    for command in ["backup", "export"] {
        let (code, message) = failed(home.path(), &[command, "counts", "--output", "out"], "");
        assert_eq!(code, 2, "{command}: {message}");
        assert!(message.contains("is there already"), "{message}");
    }
    assert!(!victim.exists());
}

#[test]
fn a_link_of_another_user_is_not_followed() {
    if !is_root() {
        return;
    }
    let (home, elsewhere) = (directory(), directory());
    let victim = elsewhere.path().join("victim");
    let link = home.path().join("ovation.snapshot");
    symlink(&victim, &link).unwrap();
    lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
    make(elsewhere.path(), "victim");
    for content in [vec![], fs::read(&victim).unwrap()] {
        fs::write(&victim, &content).unwrap();
        for command in ["import", "compact", "verify"] {
            let (code, message) = failed(home.path(), &[command], TALK);
            assert_eq!(code, 4, "{command}: {message}");
            assert!(message.contains("link"), "{command}: {message}");
        }
        for arguments in [&[][..], &["--salvage"]] {
            assert_eq!(refused(home.path(), arguments).code, Some(4));
        }
        assert_eq!(fs::read(&victim).unwrap(), content);
    }
    // The owner of the link may lead to a file that is also theirs.
    chown(&victim, Some(NOBODY), Some(NOBODY)).unwrap();
    done(home.path(), &["import"], TALK);
}

#[test]
fn a_link_to_the_snapshot_stays_a_link() {
    let (home, disk) = (directory(), directory());
    let link = home.path().join("ovation.snapshot");
    let real = disk.path().join("counts");
    // Relative links lead on from where they are.
    symlink(&real, home.path().join("second")).unwrap();
    symlink("second", &link).unwrap();
    let failed = refused(home.path(), &[]);
    assert_eq!(failed.code, Some(4));
    assert!(
        failed.message.contains("leads nowhere"),
        "{}",
        failed.message
    );
    assert!(!real.exists());
    make(disk.path(), "counts");
    let server = Server::start_in(home.path(), &[]);
    let mut http = Http::connect(&server);
    assert_eq!(http.post("/party/talk", &reaction("love")).status, 200);
    assert_eq!(server.stop().code(), Some(0));
    done(home.path(), &["compact"], "");
    done(home.path(), &["import"], TALK);
    done(home.path(), &["backup", "--output", "copy"], "");
    for file in [&real, &home.path().join("copy")] {
        let exported = done(home.path(), &["export", file.to_str().unwrap()], "");
        assert!(exported.contains(r#""love":4"#), "{exported}");
    }
    assert!(link.is_symlink());
    assert_eq!(names(disk.path()), ["counts"]);
    assert_eq!(names(home.path()), ["copy", "ovation.snapshot", "second"]);
}

#[test]
fn salvage_through_a_link_keeps_the_original() {
    const PAGE_BYTES: usize = 4096;
    let (home, disk) = (directory(), directory());
    make(disk.path(), "counts");
    let real = disk.path().join("counts");
    let link = home.path().join("ovation.snapshot");
    symlink(&real, &link).unwrap();
    let mut damaged = fs::read(&real).unwrap();
    damaged[PAGE_BYTES + 32] ^= 1;
    fs::write(&real, &damaged).unwrap();
    set_mode(&real, 0o640);
    let server = Server::start_in(home.path(), &["--salvage"]);
    assert!(
        server.log().contains("snapshot salvaged"),
        "{}",
        server.log()
    );
    assert_eq!(Client::join(&server, "talk").1.of("love"), 0);
    assert_eq!(server.stop().code(), Some(0));
    assert!(link.is_symlink());
    assert_eq!(names(home.path()), ["ovation.snapshot"]);
    assert_eq!(names(disk.path()), ["counts", "counts.damaged-1"]);
    let original = disk.path().join("counts.damaged-1");
    assert!(!original.is_symlink());
    assert_eq!(fs::read(original).unwrap(), damaged);
    assert_eq!(mode(&real), 0o640);
}

/// Makes files that are not regular, and returns their names.
fn make_odd_files(home: &Path) -> Vec<&'static str> {
    let mut odd = vec!["fifo", "folder", "socket", "link"];
    run("mkfifo", &["fifo"], home);
    fs::create_dir(home.join("folder")).unwrap();
    drop(UnixListener::bind(home.join("socket")).unwrap());
    symlink("fifo", home.join("link")).unwrap();
    if is_root() {
        // The numbers of /dev/null and /dev/zero.
        run("mknod", &["null", "c", "1", "3"], home);
        run("mknod", &["zero", "c", "1", "5"], home);
        odd.extend(["null", "zero"]);
    }
    odd
}

#[test]
fn what_is_not_a_regular_file_is_refused_at_once() {
    let home = directory();
    let odd = make_odd_files(home.path());
    let before = names(home.path());
    for name in odd {
        let kind = fs::symlink_metadata(home.path().join(name))
            .unwrap()
            .file_type();
        for arguments in [
            &["inspect", name][..],
            &["verify", name],
            &["export", name],
            &["import", name],
            &["compact", name],
            &["backup", name, "--output", "copy"],
        ] {
            let (code, message) = failed(home.path(), arguments, TALK);
            assert_eq!(code, 4, "{arguments:?}: {message}");
            assert!(
                message.contains("not a regular file"),
                "{arguments:?}: {message}"
            );
        }
        for extra in [
            &["--snapshot", name][..],
            &["--snapshot", name, "--salvage"],
        ] {
            let failed = refused(home.path(), extra);
            assert_eq!(failed.code, Some(4), "{extra:?}: {}", failed.message);
            assert!(
                failed.message.contains("not a regular file"),
                "{}",
                failed.message
            );
        }
        let now = fs::symlink_metadata(home.path().join(name))
            .unwrap()
            .file_type();
        assert_eq!(now, kind, "{name}");
    }
    assert_eq!(names(home.path()), before);
}

#[test]
fn rooms_are_imported_from_a_regular_file_only() {
    let home = directory();
    make(home.path(), "counts");
    for name in make_odd_files(home.path()) {
        let (code, message) = failed(home.path(), &["import", "counts", "--input", name], "");
        assert_eq!(code, 1, "{name}: {message}");
        assert!(message.contains("not a regular file"), "{message}");
    }
    fs::write(home.path().join("rooms"), TALK).unwrap();
    symlink("rooms", home.path().join("rooms-link")).unwrap();
    done(
        home.path(),
        &["import", "counts", "--input", "rooms-link"],
        "",
    );
}

#[test]
fn an_output_that_is_a_device_is_left_alone() {
    let home = directory();
    make(home.path(), "counts");
    for name in make_odd_files(home.path()) {
        for command in ["backup", "export"] {
            let (code, message) = failed(home.path(), &[command, "counts", "--output", name], "");
            assert_eq!(code, 2, "{command} {name}: {message}");
        }
    }
    let fifo = fs::metadata(home.path().join("fifo")).unwrap();
    assert!(fifo.file_type().is_fifo());
}

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

#[test]
fn an_empty_file_that_counts_as_new_is_logged() {
    let home = directory();
    let path = home.path().join("ovation.snapshot");
    let starts_new = |is_logged| {
        let server = Server::start_in(home.path(), &[]);
        eventually("it opens", || server.log().contains("snapshot opened"));
        let log = server.log();
        assert_eq!(log.contains("snapshot was empty"), is_logged, "{log}");
        assert_eq!(server.stop().code(), Some(0));
    };
    starts_new(false);
    starts_new(false);
    for content in [vec![], vec![0; 1 << 20]] {
        fs::write(&path, content).unwrap();
        starts_new(true);
    }
    fs::write(&path, "").unwrap();
    let said = done(home.path(), &["import"], TALK);
    assert!(said.contains("was empty"), "{said}");
}
