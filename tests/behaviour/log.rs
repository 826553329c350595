//! A log that can't be written ends and blocks nothing.

use std::fs::{self, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    AdminSide, Client, Http, Server, clean_command, directory, eventually, refused,
};

const ARGUMENTS: [&str; 3] = ["--no-snapshot", "--admin", "127.0.0.1:0"];
const DROPPED: &str = "ovation_log_lines_dropped_total";

/// Asserts that the server counts and answers, and that it ends in order when it is told to.
fn assert_serves(server: Server) {
    let (mut client, _) = Client::join(&server, "talk");
    client.react("love");
    client.wait_for(|counts| counts.of("love") == 1);
    assert!(server.stop().success());
}

/// Makes the server log one line, by freezing a room.
fn log_a_line(admin: &AdminSide, room: &str) {
    let frozen = admin.act(&format!("/rooms/main/{room}/freeze"));
    assert_eq!(frozen.status, 200, "{}", frozen.body);
}

/// A pipe that is full. The server's end blocks.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("it is open");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("it is open");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, flags).expect("it is open");
    (reader, writer)
}

#[test]
fn a_log_on_a_full_disk_does_not_end_the_server() {
    let full = || OpenOptions::new().write(true).open("/dev/full");
    let server = Server::start_with_stderr(full().expect("Linux has it"), &ARGUMENTS);
    let admin = AdminSide::of(&server);
    log_a_line(&admin, "other");
    eventually("lost lines are counted", || admin.metric(DROPPED) >= 1.0);
    assert_serves(server);
}

#[test]
fn a_log_pipe_without_a_reader_does_not_end_the_server() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let server = Server::start_with_stderr(writer, &ARGUMENTS);
    drop(reader);
    let admin = AdminSide::of(&server);
    log_a_line(&admin, "other");
    eventually("lost lines are counted", || admin.metric(DROPPED) >= 1.0);
    assert_eq!(admin.get("/healthz").status, 200);
    assert_serves(server);
}

#[test]
fn a_log_pipe_that_is_not_read_blocks_nothing() {
    let (mut reader, writer) = full_pipe();
    let arguments = [&ARGUMENTS[..], &["--max-connections", "2"]].concat();
    let server = Server::start_with_stderr(writer, &arguments);
    let admin = AdminSide::of(&server);
    let (mut client, _) = Client::join(&server, "talk");
    let other = Client::enter(&server, "talk");
    // A reactor logs that it turns this one away.
    let refused = Http::connect(&server).try_get("/party/talk");
    assert!(refused.is_none_or(|response| response.status == 503));
    drop(other);
    client.react("love");
    client.wait_for(|counts| counts.of("love") == 1);
    eventually("there is room again", || {
        Http::connect(&server)
            .try_get("/party/talk")
            .is_some_and(|it| it.status == 200)
    });
    log_a_line(&admin, "other");
    // Once the pipe is read, all lines come in their order.
    let log = thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("UTF-8");
        log
    });
    assert!(server.stop().success());
    let log = log.join().expect("it only reads");
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at("turning new connections away") < at("room mode set by operator"));
    assert!(at("room mode set by operator") < at(": stopped"));
}

#[test]
fn a_server_ends_although_nothing_reads_its_log() {
    let (_reader, writer) = full_pipe();
    assert_serves(Server::start_with_stderr(writer, &["--no-snapshot"]));
}

#[test]
fn the_log_says_how_many_lines_were_lost() {
    let home = directory();
    let path = home.path().join("log");
    // A file that reaches the limit on file sizes is like a full disk.
    let log = OpenOptions::new().append(true).create(true).open(&path);
    let log = log.expect("it can be made");
    let server = Server::start_limited_with_stderr("-f 4", log, &ARGUMENTS);
    let admin = AdminSide::of(&server);
    let mut rooms = 0;
    eventually("a line is lost", || {
        rooms += 1;
        log_a_line(&admin, &format!("room{rooms}"));
        admin.metric(DROPPED) >= 1.0
    });
    let file = OpenOptions::new().write(true).open(&path);
    let cut = file.and_then(|file| file.set_len(0));
    cut.expect("it can be cut");
    log_a_line(&admin, "last");
    let read = || fs::read_to_string(&path).expect("UTF-8");
    eventually("the loss is reported", || {
        read().contains("log lines were lost")
    });
    let text = read();
    assert!(text.contains("room=\"last\""), "{text}");
    assert_serves(server);
}

#[test]
fn a_refusal_to_start_reaches_a_log_that_works() {
    let home = directory();
    let failed = refused(home.path(), &["--listen", "0.0.0.0:0"]);
    assert_eq!(failed.code, Some(2));
    assert!(
        failed.message.starts_with("ovation: "),
        "{}",
        failed.message
    );
}

#[test]
fn exit_codes_do_not_depend_on_the_log() {
    let full = || OpenOptions::new().write(true).open("/dev/full");
    let run = |arguments: &[&str]| {
        let mut command = clean_command(Path::new("/"));
        let command = command
            .args(arguments)
            .stderr(full().expect("Linux has it"));
        command.status().expect("it runs").code()
    };
    assert_eq!(run(&["--listen", "0.0.0.0:0"]), Some(2));
    assert_eq!(run(&["snapshot", "inspect", "/nowhere"]), Some(4));
}

#[test]
fn the_addresses_need_no_reader() {
    let (_reader, writer) = full_pipe();
    let home = directory();
    let mut command = clean_command(home.path());
    command.args(["--no-snapshot", "--no-admin", "--listen", "unix:socket"]);
    let child = command.stdout(writer).spawn().expect("it can be run");
    let mut child = Killed(child);
    eventually("the server serves", || {
        UnixStream::connect(home.path().join("socket")).is_ok_and(|mut stream| {
            let asked = stream.write_all(b"GET /parties/main/talk HTTP/1.0\r\n\r\n");
            let mut response = String::new();
            asked.is_ok()
                && stream.read_to_string(&mut response).is_ok()
                && response.starts_with("HTTP/1.1 200 OK")
        })
    });
    kill_process(Pid::from_child(&child.0), Signal::TERM).expect("it runs");
    eventually("the server ends", || {
        let ended = child.0.try_wait().expect("it is our child");
        ended.is_some_and(|status| status.success())
    });
}

/// A process that doesn't outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
