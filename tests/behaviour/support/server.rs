//! Starts and stops the server process. No process outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, skip};

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    addresses: Vec<String>,
    /// Lines of standard output after the first.
    lines: Mutex<Receiver<String>>,
    log: Arc<Mutex<String>>,
    /// The thread that reads the log, until the server has ended.
    follower: Option<JoinHandle<()>>,
    directory: PathBuf,
    _own_directory: Option<TempDir>,
}

/// How a server that refused to start has ended.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<i32>,
    pub(crate) message: String,
}

/// Creates a directory in which servers can be started more than once.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// The binary under test.
const OVATION: &str = env!("CARGO_BIN_EXE_ovation");

/// Prepares `ovation` in `directory`, which is also where its snapshot will be. No setting of the
/// environment reaches it.
pub(crate) fn clean_command(directory: &Path) -> Command {
    clean(Command::new(OVATION), directory)
}

fn clean(mut command: Command, directory: &Path) -> Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("OVATION_") || name == "RUST_LOG" {
            command.env_remove(&*name);
        }
    }
    command
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Adds a free port to listen on, turns the admin side and the limit on reactions off, and allows
/// changes without a token, unless the test chooses otherwise.
fn with_arguments(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command.env("OVATION_ADMIN_CHANGES_WITHOUT_TOKEN", "true");
    if !arguments.contains(&"--reaction-rate") {
        command.args(["--reaction-rate", "0"]);
    }
    if !arguments.iter().any(|it| it.starts_with("--admin")) {
        command.arg("--no-admin");
    }
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

impl Server {
    /// Starts a server in a directory of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let own = directory();
        let mut server = Self::start_in(own.path(), arguments);
        server._own_directory = Some(own);
        server
    }

    /// Starts a server in a directory that outlives it.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        Self::launch(
            with_arguments(clean_command(directory), arguments),
            directory,
        )
    }

    /// Starts a server with settings from the environment.
    pub(crate) fn start_with(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let own = directory();
        let mut command = with_arguments(clean_command(own.path()), arguments);
        command.envs(variables.iter().copied());
        let mut server = Self::launch(command, own.path());
        server._own_directory = Some(own);
        server
    }

    /// Starts a server under a `ulimit` of the shell, such as `-n 64`.
    pub(crate) fn start_limited(limit: &str, arguments: &[&str]) -> Self {
        Self::start_limited_with_stderr(limit, Stdio::piped(), arguments)
    }

    /// Starts a server under a `ulimit` of the shell, whose standard error goes to `stderr`.
    pub(crate) fn start_limited_with_stderr(
        limit: &str,
        stderr: impl Into<Stdio>,
        arguments: &[&str],
    ) -> Self {
        let own = directory();
        let mut shell = clean(Command::new("sh"), own.path());
        shell.stderr(stderr);
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, OVATION]);
        let mut server = Self::launch(with_arguments(shell, arguments), own.path());
        server._own_directory = Some(own);
        server
    }

    /// Starts a server whose standard error goes to `stderr`, so that [`Server::log`] stays empty.
    pub(crate) fn start_with_stderr(stderr: impl Into<Stdio>, arguments: &[&str]) -> Self {
        let own = directory();
        let mut command = with_arguments(clean_command(own.path()), arguments);
        command.stderr(stderr);
        let mut server = Self::launch(command, own.path());
        server._own_directory = Some(own);
        server
    }

    /// Starts a server with faults that strace injects into its system calls, such as
    /// `msync:error=EIO`. Returns `None` and skips the test if strace is missing.
    pub(crate) fn start_injected(home: &Path, fault: &str, arguments: &[&str]) -> Option<Self> {
        if !has_strace() {
            return None;
        }
        let call = fault.split(':').next().unwrap_or(fault);
        let mut strace = clean(Command::new("strace"), home);
        // With -D the server is this process's child, and strace is the server's.
        strace.args(["-D", "-f", "-o", "/dev/null"]);
        strace.args(["-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={fault}")]);
        strace.arg(OVATION);
        Some(Self::launch(with_arguments(strace, arguments), home))
    }

    /// Starts a server that may lose to another one on the same snapshot. Returns its log if it
    /// does.
    pub(crate) fn try_start_in(directory: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::try_launch(
            with_arguments(clean_command(directory), arguments),
            directory,
        )
    }

    fn launch(command: Command, directory: &Path) -> Self {
        Self::try_launch(command, directory)
            .unwrap_or_else(|log| panic!("the server did not report its address; its log: {log}"))
    }

    fn try_launch(mut command: Command, directory: &Path) -> Result<Self, String> {
        let mut child = command.spawn().expect("the binary can be run");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take();
        let follower = stderr.map(|stderr| follow(stderr, Arc::clone(&log)));
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        // From now on, dropping the server ends the process.
        let mut server = Self {
            child,
            addresses: Vec::new(),
            lines: Mutex::new(lines),
            log,
            follower,
            directory: directory.to_owned(),
            _own_directory: None,
        };
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The pipe must be drained even if the test no longer reads it.
                let _ = sender.send(line);
            }
        });
        let Some(line) = server.try_next_line() else {
            return Err(server.log());
        };
        let addresses = line
            .strip_prefix("Ovation listens on ")
            .unwrap_or_else(|| panic!("unexpected first line: {line}"));
        server.addresses = addresses.split(", ").map(str::to_owned).collect();
        Ok(server)
    }

    fn try_next_line(&self) -> Option<String> {
        let lines = self.lines.lock().expect("nothing panics with it");
        lines.recv_timeout(PATIENCE).ok()
    }

    fn next_line(&self) -> String {
        self.try_next_line().unwrap_or_else(|| {
            panic!(
                "the server printed no further line; its log: {}",
                self.log()
            )
        })
    }

    /// Returns the address of the admin side. Works once per server.
    pub(crate) fn admin_address(&self) -> String {
        loop {
            if let Some(address) = self.next_line().strip_prefix("Dashboard: ") {
                let address = address.strip_prefix("http://").unwrap_or(address);
                return address.trim_end_matches('/').to_owned();
            }
        }
    }

    /// Returns the first address that the server listens on.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// Returns all addresses that the server listens on.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the default path of the snapshot.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.directory.join("ovation.snapshot")
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nothing panics with it").clone()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it still runs");
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is our child");
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_for_end(&mut self.child);
        // The log is complete once its reader has come to the end.
        if let Some(follower) = self.follower.take() {
            follower.join().expect("it only reads");
        }
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Runs a server that must refuse to start, and returns how it ended.
pub(crate) fn refused(directory: &Path, arguments: &[&str]) -> Failed {
    let mut child = with_arguments(clean_command(directory), arguments)
        .spawn()
        .expect("the binary can be run");
    let log = Arc::new(Mutex::new(String::new()));
    let stderr = child.stderr.take().expect("it is piped");
    let follower = follow(stderr, Arc::clone(&log));
    let code = wait_for_end(&mut child).code();
    follower.join().expect("it only reads");
    let message = log.lock().expect("nothing panics with it").clone();
    Failed { code, message }
}

/// Whether strace can be run. Skips the test if not.
pub(crate) fn has_strace() -> bool {
    let is_there = Command::new("strace").arg("--version").output().is_ok();
    if !is_there {
        skip("strace is missing");
    }
    is_there
}

fn wait_for_end(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server did not end in {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn follow(mut pipe: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            let text = String::from_utf8_lossy(&chunk[..length]);
            log.lock().expect("nothing panics with it").push_str(&text);
        }
    })
}
