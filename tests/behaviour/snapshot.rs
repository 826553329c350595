//! `ovation snapshot` on the files of real servers, also while they run.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::support::{
    Http, Server, directory, done, eventually, failed, has_strace, post_request, reaction, snapshot,
};

/// Sizes in the snapshot file.
const PAGE_BYTES: usize = 4096;
const CELL_BYTES: usize = 64;
const WORD_BYTES: usize = 8;

/// Starts a server that flushes often.
fn start(home: &Path, arguments: &[&str]) -> Server {
    Server::start_in(home, &[&["--flush-interval-ms", "5"], arguments].concat())
}

/// Posts `times` reactions and waits until all are counted.
fn react(server: &Server, room: &str, kind: &str, times: usize) {
    let mut http = Http::connect(server);
    http.send(post_request(&format!("/party/{room}"), &reaction(kind)).repeat(times));
    for _ in 0..times {
        assert_eq!(http.response().status, 200);
    }
}

fn stop(server: Server) {
    assert_eq!(server.stop().code(), Some(0));
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
fn an_export_can_be_imported_unchanged() {
    let home = directory();
    let server = start(home.path(), &[]);
    react(&server, "talk", "love", 3);
    react(&server, "talk", "clap", 1);
    react(
        &server,
        "a%20long%20name%20that%20does%20not%20fit%20in%20a%20cell",
        "❤",
        2,
    );
    let mut running = String::new();
    eventually("both rooms are flushed and have an age", || {
        running = done(home.path(), &["export"], "");
        running.matches("active").count() == 2
    });
    stop(server);
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
    // A second import counts nothing twice. The larger count wins, and no kind is lost.
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
    // A server can use the imported file.
    fs::rename(
        home.path().join("other"),
        home.path().join("ovation.snapshot"),
    )
    .unwrap();
    let server = start(home.path(), &[]);
    react(&server, "talk", "wow", 1);
    stop(server);
    assert!(done(home.path(), &["export"], "").contains(r#""wow":8"#));
}

#[test]
fn an_invalid_line_is_located_and_imports_nothing() {
    let home = directory();
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
        "a temporary file is left"
    );
}

#[test]
fn a_backup_of_a_busy_server_is_whole() {
    let home = directory();
    let server = start(home.path(), &[]);
    react(&server, "talk", "love", 10);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut rounds = 0;
            while !is_over.load(Ordering::SeqCst) {
                react(&server, "talk", "love", 50);
                react(&server, &format!("room-{rounds}"), "clap", 1);
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
        assert!(last > 10, "nothing was counted");
    });
    let (code, message) = failed(home.path(), &["backup", "--output", "copy-0"], "");
    assert_eq!(code, 2);
    assert!(message.contains("is there already"), "{message}");
    stop(server);
}

/// Makes a snapshot that only its owner may read.
fn private_snapshot(home: &Path) {
    let room = r#"{"party":"main","room":"talk","counts":{"love":3}}"#;
    done(home, &["import", "private"], room);
    fs::set_permissions(home.join("private"), Permissions::from_mode(0o600)).unwrap();
}

fn is_private(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600
}

#[test]
fn a_backup_keeps_the_permissions_of_the_file() {
    let home = directory();
    private_snapshot(home.path());
    done(home.path(), &["backup", "private", "--output", "copy"], "");
    assert!(is_private(&home.path().join("copy")));
    if !has_strace() {
        return;
    }
    // The copy also has to work on file systems without hard links.
    let fault = "inject=link,linkat:error=EPERM";
    let traced = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", fault])
        .arg(env!("CARGO_BIN_EXE_ovation"))
        .args(["snapshot", "backup", "private", "--output", "other"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&traced.stderr);
    assert!(traced.status.success(), "{error}");
    assert!(is_private(&home.path().join("other")));
    let names = fs::read_dir(home.path()).unwrap();
    assert_eq!(names.count(), 3, "a temporary file is left");
}

#[test]
fn a_file_size_limit_is_explained() {
    let home = directory();
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
    assert_eq!(names.count(), 1, "a temporary file is left");
}

#[test]
fn commands_leave_a_foreign_file_unchanged() {
    let home = directory();
    let photo = b"JPEG ".repeat(5000);
    fs::write(home.path().join("photo"), &photo).unwrap();
    for command in ["compact", "import", "verify", "inspect", "export"] {
        let (code, message) = failed(home.path(), &[command, "photo"], "");
        assert_eq!(code, 4, "{command}: {message}");
        assert!(
            fs::read(home.path().join("photo")).unwrap() == photo,
            "{command}"
        );
    }
}

#[test]
fn compact_and_import_refuse_a_file_in_use() {
    let home = directory();
    let server = start(home.path(), &[]);
    react(&server, "talk", "love", 1);
    let pid = format!("pid {}", server.pid());
    for arguments in [&["compact"][..], &["import"]] {
        let (code, message) = failed(home.path(), arguments, "");
        assert_eq!(code, 4, "{message}");
        assert!(message.contains(&pid), "{message}");
    }
    let said = done(home.path(), &["inspect"], "");
    assert!(said.contains(&format!("in use by {pid}")), "{said}");
    react(&server, "talk", "love", 1);
    stop(server);
}

#[test]
fn compact_shrinks_the_file_and_drops_old_rooms() {
    let home = directory();
    let old = r#"{"party":"main","room":"old","active":1700000000,"counts":{"love":1}}"#;
    done(home.path(), &["import", "ovation.snapshot"], old);
    let server = start(home.path(), &[]);
    react(&server, "new", "love", 2);
    stop(server);
    let file = home.path().join("ovation.snapshot");
    let before = fs::metadata(&file).unwrap().len();
    let said = done(home.path(), &["compact"], "");
    assert!(said.contains("2 of 2 rooms kept"), "{said}");
    let after = fs::metadata(&file).unwrap().len();
    assert_eq!(
        after,
        (PAGE_BYTES + 4 * CELL_BYTES) as u64,
        "{before} before"
    );
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
fn the_mode_of_a_room_survives_every_tool() {
    let home = directory();
    let rooms = r#"{"party":"main","room":"a","mode":"frozen","active":1700000000,"counts":{"love":1}}
{"party":"main","room":"b","mode":"closed","active":1700000000,"counts":{}}
{"party":"main","room":"c","active":1700000000,"counts":{"love":1}}"#;
    let modes = |file: &str| {
        let rooms = lines(&done(home.path(), &["export", file], "")).into_iter();
        let modes = rooms.map(|room| (room["room"].clone(), room["mode"].clone()));
        modes.collect::<Vec<_>>()
    };
    let expected = [
        ("a".into(), "frozen".into()),
        ("b".into(), "closed".into()),
        ("c".into(), Value::Null),
    ];
    done(home.path(), &["import", "ovation.snapshot"], rooms);
    assert_eq!(modes("ovation.snapshot"), expected);
    // A line without a mode does not open a room.
    let more = r#"{"party":"main","room":"b","counts":{"love":2}}"#;
    done(home.path(), &["import", "ovation.snapshot"], more);
    assert_eq!(modes("ovation.snapshot"), expected);
    done(home.path(), &["backup", "--output", "copy"], "");
    assert_eq!(modes("copy"), expected);
    // Neither compaction nor a server removes a room that is not open, however old.
    let said = done(home.path(), &["compact", "--room-ttl", "30d"], "");
    assert!(said.contains("2 of 3 rooms kept"), "{said}");
    stop(start(home.path(), &["--room-ttl", "30d"]));
    assert_eq!(modes("ovation.snapshot"), expected[..2]);
    let said = done(home.path(), &["inspect"], "");
    assert!(said.contains("1 frozen, 1 closed"), "{said}");
    let json = done(home.path(), &["inspect", "--json"], "");
    let summary: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(summary["frozen_rooms"], 1);
    assert_eq!(summary["closed_rooms"], 1);
    assert_eq!(summary["top"][0]["mode"], "closed");
}

#[test]
fn a_damaged_file_exits_with_5() {
    let home = directory();
    let rooms = ["a", "b"]
        .map(|room| format!(r#"{{"party":"main","room":"{room}","counts":{{"love":1}}}}"#));
    done(home.path(), &["import", "counts"], &rooms.join("\n"));
    let file = home.path().join("counts");
    let mut bytes = fs::read(&file).unwrap();
    // Damages the count of the first room.
    let offset = PAGE_BYTES + CELL_BYTES + 2 * WORD_BYTES;
    bytes[offset] ^= 4;
    fs::write(&file, &bytes).unwrap();
    for arguments in [
        &["verify", "counts"][..],
        &["compact", "counts"],
        &["backup", "counts", "--output", "copy"],
    ] {
        let (code, message) = failed(home.path(), arguments, "");
        assert_eq!(code, 5, "{arguments:?}: {message}");
        let place = format!("a count at offset {offset}");
        assert!(message.contains(&place), "{message}");
    }
    // An export has what can be proved, and its exit code says that there is damage.
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
fn a_server_expires_quiet_rooms() {
    let home = directory();
    let old = r#"{"party":"main","room":"old","active":1700000000,"counts":{"love":1}}"#;
    let new = r#"{"party":"main","room":"new","counts":{"love":1}}"#;
    done(
        home.path(),
        &["import", "ovation.snapshot"],
        &format!("{old}\n{new}"),
    );
    let server = start(home.path(), &["--room-ttl", "30d"]);
    let mut rooms = Vec::new();
    eventually("the old room expires", || {
        rooms = lines(&done(home.path(), &["export"], ""));
        rooms.len() == 1
    });
    assert_eq!(rooms[0]["room"], "new");
    // The expired room counts from zero again.
    react(&server, "old", "clap", 1);
    stop(server);
    let exported = done(home.path(), &["export"], "");
    assert!(exported.contains(r#""counts":{"clap":1}"#), "{exported}");
}
