//! Runs `ovation snapshot`.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, clean_command};

/// Runs `ovation snapshot` in `directory`.
///
/// # Panics
/// If the tool takes longer than [`PATIENCE`].
pub(crate) fn snapshot(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut tool = start_snapshot(directory, arguments);
    // The tool may fail before it has read everything.
    let _ = tool
        .stdin
        .take()
        .expect("it is piped")
        .write_all(input.as_bytes());
    let pid = rustix::process::Pid::from_child(&tool);
    let waiter = thread::spawn(move || tool.wait_with_output());
    let deadline = Instant::now() + PATIENCE;
    while !waiter.is_finished() {
        if Instant::now() > deadline {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("{arguments:?} hangs");
        }
        thread::sleep(Duration::from_millis(2));
    }
    waiter.join().expect("it only waits").expect("it ran")
}

/// Starts `ovation snapshot` in `directory`, with a pipe as its standard input.
pub(crate) fn start_snapshot(directory: &Path, arguments: &[&str]) -> Child {
    clean_command(directory)
        .arg("snapshot")
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary can be run")
}

/// Runs a command that must succeed, and returns its output.
pub(crate) fn done(directory: &Path, arguments: &[&str], input: &str) -> String {
    let output = snapshot(directory, arguments, input);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}

/// Runs a command that must fail, and returns its exit code and its message.
pub(crate) fn failed(directory: &Path, arguments: &[&str], input: &str) -> (i32, String) {
    let output = snapshot(directory, arguments, input);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    (code.expect("no signal ended it"), error)
}
