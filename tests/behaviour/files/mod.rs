//! Which files Ovation opens, makes and leaves behind, and who may read them. Tests that need
//! another user run only as root.
//!
//! - `links`: which links are followed. `tools`: what tools leave behind when something fails.

mod links;
mod tools;

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Server, directory, done, eventually, failed, refused, skip};

const TALK: &str = r#"{"party":"main","room":"talk","counts":{"love":3}}"#;

/// A user that owns nothing.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a test can make files of other users. Skips the test if not.
fn has_other_users() -> bool {
    let is_root = is_root();
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
    if !has_other_users() {
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
