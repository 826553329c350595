//! `ovation snapshot` as an operator uses it: on the files of real servers, also while they run.

#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    fn start_with(directory: &Path, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ovation"))
            .args(["--listen", "127.0.0.1:0", "--flush-interval-ms", "5"])
            .args(arguments)
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { process, address }
    }

    fn react(&self, room: &str, kind: &str, times: usize) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = format!("{{\"kind\":\"{kind}\"}}");
        for number in 0..times {
            let end = if number + 1 == times {
                "Connection: close\r\n"
            } else {
                ""
            };
            write!(
                stream,
                "POST /party/{room} HTTP/1.1\r\nHost: a\r\n{end}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
        // To the end, when all are counted.
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("200 OK").count(), times);
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn snapshot(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_ovation"))
        .arg("snapshot")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it has read everything.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait_with_output().unwrap()
}

/// What it printed; it must have succeeded.
fn done(directory: &Path, arguments: &[&str], input: &str) -> String {
    let output = snapshot(directory, arguments, input);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Its exit code and its message; it must have failed.
fn failed(directory: &Path, arguments: &[&str], input: &str) -> (i32, String) {
    let output = snapshot(directory, arguments, input);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), error)
}

fn lines(text: &str) -> Vec<Value> {
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.sort_by_key(|line| line["room"].to_string());
    lines
}

#[test]
fn rooms_go_out_as_lines_and_come_back_with_their_order_and_ages() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    server.react("talk", "love", 3);
    server.react("talk", "clap", 1);
    server.react(
        "a%20long%20name%20that%20does%20not%20fit%20in%20a%20cell",
        "❤",
        2,
    );
    // While it runs, and after.
    let mut running = done(home.path(), &["export"], "");
    while running.matches("active").count() < 2 {
        // What has counted since the last flush has no age yet.
        running = done(home.path(), &["export"], "");
    }
    server.stop();
    let stopped = done(home.path(), &["export"], "");
    assert_eq!(lines(&running), lines(&stopped));
    let talk = stopped.lines().find(|line| line.contains("talk")).unwrap();
    assert!(talk.contains(r#""counts":{"love":3,"clap":1}"#), "{talk}");

    let said = done(home.path(), &["import", "other"], &stopped);
    assert!(said.contains("2 rooms imported"), "{said}");
    assert_eq!(
        lines(&done(home.path(), &["export", "other"], "")),
        lines(&stopped)
    );
    // Twice is once, the larger count stays, and what is there is not lost.
    let more = r#"{"party":"main","room":"talk","active":5,"counts":{"wow":7,"love":2}}"#;
    done(
        home.path(),
        &["import", "other"],
        &format!("{stopped}\n\n{more}"),
    );
    let exported = done(home.path(), &["export", "other"], "");
    let talk = exported.lines().find(|line| line.contains("talk")).unwrap();
    assert!(
        talk.contains(r#""counts":{"love":3,"clap":1,"wow":7}"#),
        "{talk}"
    );
    // A server takes it as its own.
    fs::rename(
        home.path().join("other"),
        home.path().join("ovation.snapshot"),
    )
    .unwrap();
    let server = Server::start(home.path());
    server.react("talk", "wow", 1);
    server.stop();
    assert!(done(home.path(), &["export"], "").contains(r#""wow":8"#));
}

#[test]
fn a_line_that_is_no_room_is_named_and_nothing_is_imported() {
    let home = tempfile::tempdir().unwrap();
    let good = r#"{"party":"main","room":"talk","counts":{"love":1}}"#;
    done(home.path(), &["import", "counts"], good);
    let before = fs::read(home.path().join("counts")).unwrap();
    let bad = "{\"party\":\"main\",\"room\":\"new\",\"counts\":{\"love\":1}}\nnonsense\n";
    let (code, message) = failed(home.path(), &["import", "counts"], bad);
    assert_eq!(code, 2);
    assert!(message.contains("standard input, line 2"), "{message}");
    let (code, message) = failed(home.path(), &["import", "counts"], &"x".repeat(1 << 20));
    assert_eq!(code, 2);
    assert!(message.contains("has more than"), "{message}");
    assert!(fs::read(home.path().join("counts")).unwrap() == before);
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        1,
        "something is left"
    );
}

#[test]
fn a_backup_of_a_busy_server_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    server.react("talk", "love", 10);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut rounds = 0;
            while !is_over.load(Ordering::SeqCst) {
                server.react("talk", "love", 50);
                server.react(&format!("room-{rounds}"), "clap", 1);
                rounds += 1;
            }
            rounds
        });
        let mut last = 10;
        for number in 0..10 {
            let copy = format!("copy-{number}");
            done(home.path(), &["backup", "--output", &copy], "");
            let said = done(home.path(), &["verify", &copy], "");
            assert!(said.contains("equal to its sealed copy"), "{said}");
            let rooms = lines(&done(home.path(), &["export", &copy], ""));
            let talk = rooms.iter().find(|room| room["room"] == "talk").unwrap();
            let love = talk["counts"]["love"].as_u64().unwrap();
            assert!(love >= last, "{love} after {last}");
            last = love;
        }
        is_over.store(true, Ordering::SeqCst);
        assert!(busy.join().unwrap() > 0);
        assert!(last > 10, "nothing happened");
    });
    let (code, message) = failed(home.path(), &["backup", "--output", "copy-0"], "");
    assert_eq!(code, 2);
    assert!(message.contains("is there already"), "{message}");
    server.stop();
}

/// A snapshot with a room that only its owner may read.
fn private_snapshot(home: &Path) {
    let room = r#"{"party":"main","room":"talk","counts":{"love":3}}"#;
    done(home, &["import", "private"], room);
    fs::set_permissions(home.join("private"), Permissions::from_mode(0o600)).unwrap();
}

fn is_private(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600
}

#[test]
fn a_copy_is_for_the_same_eyes_also_where_files_have_no_second_names() {
    let home = tempfile::tempdir().unwrap();
    private_snapshot(home.path());
    done(home.path(), &["backup", "private", "--output", "copy"], "");
    assert!(is_private(&home.path().join("copy")));
    if Command::new("strace").arg("--version").output().is_err() {
        println!("SKIPPED: no strace on this machine");
        return;
    }
    let traced = Command::new("strace")
        .args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "inject=link,linkat:error=EPERM",
        ])
        .arg(env!("CARGO_BIN_EXE_ovation"))
        .args(["snapshot", "backup", "private", "--output", "other"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&traced.stderr);
    assert!(traced.status.success(), "{error}");
    assert!(is_private(&home.path().join("other")));
    let names = fs::read_dir(home.path()).unwrap();
    assert_eq!(names.count(), 3, "something else was left");
}

#[test]
fn a_limit_on_file_sizes_is_an_error_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    private_snapshot(home.path());
    let limited = Command::new("sh")
        .args([
            "-c",
            "ulimit -f 64 && exec \"$0\" snapshot backup private --output copy",
        ])
        .arg(env!("CARGO_BIN_EXE_ovation"))
        .current_dir(home.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(4), "{error}");
    assert!(error.contains("ulimit -f"), "{error}");
    let names = fs::read_dir(home.path()).unwrap();
    assert_eq!(names.count(), 1, "something was left");
}

#[test]
fn a_foreign_file_is_left_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let photo = b"JPEG ".repeat(5000);
    fs::write(home.path().join("photo"), &photo).unwrap();
    for what in ["compact", "import", "verify", "inspect", "export"] {
        let (code, message) = failed(home.path(), &[what, "photo"], "");
        assert_eq!(code, 4, "{what}: {message}");
        assert!(
            fs::read(home.path().join("photo")).unwrap() == photo,
            "{what}"
        );
    }
}

#[test]
fn what_needs_the_file_for_itself_does_not_take_it_from_a_server() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    server.react("talk", "love", 1);
    let pid = format!("pid {}", server.process.id());
    for arguments in [&["compact"][..], &["import"]] {
        let (code, message) = failed(home.path(), arguments, "");
        assert_eq!(code, 4, "{message}");
        assert!(message.contains(&pid), "{message}");
    }
    let said = done(home.path(), &["inspect"], "");
    assert!(said.contains(&format!("in use by {pid}")), "{said}");
    server.react("talk", "love", 1);
    server.stop();
}

#[test]
fn compaction_gives_space_back_and_leaves_out_what_is_too_old() {
    let home = tempfile::tempdir().unwrap();
    let old = r#"{"party":"main","room":"old","active":1700000000,"counts":{"love":1}}"#;
    done(home.path(), &["import", "ovation.snapshot"], old);
    let server = Server::start(home.path());
    server.react("new", "love", 2);
    server.stop();
    let file = home.path().join("ovation.snapshot");
    let before = fs::metadata(&file).unwrap().len();
    let said = done(home.path(), &["compact"], "");
    assert!(said.contains("2 of 2 rooms kept"), "{said}");
    let after = fs::metadata(&file).unwrap().len();
    assert_eq!(after, 4096 + 4 * 64, "{before} before");
    let said = done(home.path(), &["compact", "--room-ttl", "30d"], "");
    assert!(said.contains("1 of 2 rooms kept"), "{said}");
    let json = done(home.path(), &["inspect", "--json"], "");
    let summary: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(summary["rooms"], 1);
    assert_eq!(summary["reactions"], 2);
    assert_eq!(summary["closed"], true);
    assert_eq!(summary["top"][0]["room"], "new");
}

#[test]
fn a_damaged_file_has_an_exit_code_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let rooms = ["a", "b"]
        .map(|room| format!(r#"{{"party":"main","room":"{room}","counts":{{"love":1}}}}"#));
    done(home.path(), &["import", "counts"], &rooms.join("\n"));
    let file = home.path().join("counts");
    let mut bytes = fs::read(&file).unwrap();
    // The count of the first room.
    bytes[4096 + 64 + 2 * 8] ^= 4;
    fs::write(&file, &bytes).unwrap();
    for arguments in [
        &["verify", "counts"][..],
        &["compact", "counts"],
        &["backup", "counts", "--output", "copy"],
    ] {
        let (code, message) = failed(home.path(), arguments, "");
        assert_eq!(code, 5, "{arguments:?}: {message}");
        assert!(message.contains("a count at offset 4176"), "{message}");
    }
    // An export gives what can be proven, and says that it is not all as it was.
    let output = snapshot(home.path(), &["export", "counts"], "");
    assert_eq!(output.status.code(), Some(5));
    let exported = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(exported.len(), 2);
    assert_eq!(exported[0]["counts"]["love"], 1);
    assert!(fs::read(&file).unwrap() == bytes);
    let (code, _) = failed(home.path(), &["verify", "nothing"], "");
    assert_eq!(code, 4);
}

#[test]
fn a_server_removes_rooms_that_have_been_quiet_for_too_long() {
    let home = tempfile::tempdir().unwrap();
    let old = r#"{"party":"main","room":"old","active":1700000000,"counts":{"love":1}}"#;
    let new = r#"{"party":"main","room":"new","counts":{"love":1}}"#;
    done(
        home.path(),
        &["import", "ovation.snapshot"],
        &format!("{old}\n{new}"),
    );
    let server = Server::start_with(home.path(), &["--room-ttl", "30d"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let rooms = lines(&done(home.path(), &["export"], ""));
        if rooms.len() == 1 {
            assert_eq!(rooms[0]["room"], "new");
            break;
        }
        assert!(Instant::now() < deadline, "both are still there");
        thread::sleep(Duration::from_millis(10));
    }
    // What is counted there now begins at zero.
    server.react("old", "clap", 1);
    server.stop();
    let exported = done(home.path(), &["export"], "");
    assert!(exported.contains(r#""counts":{"clap":1}"#), "{exported}");
}
