//! Which links are followed.

use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{NOBODY, TALK, has_other_users, make, mode, names, set_mode};
use crate::support::{
    Client, Http, Server, directory, done, eventually, failed, has_strace, reaction, refused,
};

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
    if !has_other_users() {
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
    let sessions = "ovation.snapshot.sessions";
    assert_eq!(
        names(home.path()),
        ["copy", "ovation.snapshot", sessions, "second"]
    );
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
    eventually("the log says it", || {
        server.log().contains("snapshot salvaged")
    });
    assert_eq!(Client::join(&server, "talk").1.of("love"), 0);
    assert_eq!(server.stop().code(), Some(0));
    assert!(link.is_symlink());
    assert_eq!(
        names(home.path()),
        ["ovation.snapshot", "ovation.snapshot.sessions"]
    );
    assert_eq!(names(disk.path()), ["counts", "counts.damaged-1"]);
    let original = disk.path().join("counts.damaged-1");
    assert!(!original.is_symlink());
    assert_eq!(fs::read(original).unwrap(), damaged);
    assert_eq!(mode(&real), 0o640);
}
