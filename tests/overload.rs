//! What the system may say when it has no more to give, said to the real server by strace's fault
//! injection: it turns new connections away, says so once, and keeps the old ones.
//!
//! Without strace on the machine these tests say that they are skipped.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// Calls that succeed before the fault sets in. The server's own setup makes a handful.
const CALLS_THAT_SUCCEED: usize = 30;
const CLIENTS: usize = 60;

struct Faulty {
    strace: Child,
    address: String,
    log: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Faulty {
    /// A server of one reactor in which `call` fails with `error`, from a certain call on or, if
    /// `step` is given, at every `step`th after it. `None` without strace.
    fn start(call: &str, error: &str, step: Option<usize>) -> Option<Self> {
        if Command::new("strace").arg("--version").output().is_err() {
            // Not by `eprintln!`, which the test harness keeps to itself.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no strace on this machine");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let when = format!("{CALLS_THAT_SUCCEED}+{}", step.unwrap_or(1));
        let mut strace = Command::new("strace")
            .args(["-f", "-o", "/dev/null"])
            .args(["-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:error={error}:when={when}")])
            .arg(env!("CARGO_BIN_EXE_ovation"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--reactors",
                "1",
                "--no-snapshot",
                "--no-admin",
            ])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = strace.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Some(Self {
            strace,
            address,
            log,
            _directory: directory,
        })
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn warnings(&self) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.matches("turning new connections away").count()
    }

    /// The processor time of the server, strace's child.
    fn cpu_ticks(&self) -> u64 {
        let children = format!("/proc/{0}/task/{0}/children", self.strace.id());
        let server = std::fs::read_to_string(children).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.trim())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let children = format!("/proc/{0}/task/{0}/children", self.strace.id());
        let server = std::fs::read_to_string(children).unwrap_or_default();
        if let Some(pid) = server
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.strace.wait();
    }
}

/// Asks for the counts; the status of the answer, or `None` where there is none in time.
fn get(stream: &mut TcpStream) -> Option<String> {
    stream
        .write_all(b"GET /party/talk HTTP/1.1\r\nHost: a\r\n\r\n")
        .ok()?;
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.split(' ').nth(1).map(str::to_owned)
}

/// Connections come in until the fault, which then holds for all that follow.
fn the_old_stay_and_the_new_do_not_come_in(call: &str, error: &str) {
    let Some(server) = Faulty::start(call, error, None) else {
        return;
    };
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = server.connect();
        if !outside.is_empty() {
            // Where not even a refusal can be accepted, a client waits in vain.
            stream
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
        }
        match get(&mut stream).as_deref() {
            Some("200") => inside.push(stream),
            Some("503") | None => outside.push(stream),
            other => panic!("{error}: {other:?}"),
        }
    }
    assert!(
        inside.len() >= 10 && outside.len() >= 10,
        "{error}: {} in",
        inside.len()
    );
    for stream in &mut inside {
        assert_eq!(get(stream).as_deref(), Some("200"), "{error}");
    }
    let before = server.cpu_ticks();
    std::thread::sleep(Duration::from_secs(1));
    let used = server.cpu_ticks() - before;
    assert!(used < 30, "{error}: {used} ticks of CPU in a second");
    assert_eq!(server.warnings(), 1, "{error}");
}

#[test]
fn when_no_more_watches_are_to_be_had() {
    the_old_stay_and_the_new_do_not_come_in("epoll_ctl", "ENOSPC");
}

#[test]
fn when_the_kernel_has_no_memory_for_a_watch() {
    the_old_stay_and_the_new_do_not_come_in("epoll_ctl", "ENOMEM");
}

#[test]
fn when_the_process_has_no_more_descriptors() {
    the_old_stay_and_the_new_do_not_come_in("accept4", "EMFILE");
}

#[test]
fn when_the_system_has_no_more_descriptors() {
    the_old_stay_and_the_new_do_not_come_in("accept4", "ENFILE");
}

#[test]
fn when_the_kernel_has_no_buffers() {
    the_old_stay_and_the_new_do_not_come_in("accept4", "ENOBUFS");
}

#[test]
fn when_the_kernel_has_no_memory() {
    the_old_stay_and_the_new_do_not_come_in("accept4", "ENOMEM");
}

#[test]
fn clients_that_gave_up_in_the_queue_stop_nobody() {
    let Some(server) = Faulty::start("accept4", "ECONNABORTED", Some(2)) else {
        return;
    };
    let mut all: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for stream in &mut all {
        assert_eq!(get(stream).as_deref(), Some("200"));
    }
    assert_eq!(server.warnings(), 0);
}
