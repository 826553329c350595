//! The server as a process: started, heard, stopped, and never left behind.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, skipped};

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    addresses: Vec<String>,
    /// The lines that it says after the first.
    lines: Mutex<Receiver<String>>,
    log: Arc<Mutex<String>>,
    directory: PathBuf,
    _own_directory: Option<TempDir>,
}

/// How a server ended that was not to start.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<i32>,
    pub(crate) message: String,
}

/// A directory for a server that is to be started in it more than once.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// The binary under test, to be run in `directory`, where its snapshot then is.
fn binary(directory: &Path) -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_ovation")), directory)
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

/// Listens on a free port, and has no admin side, unless the test says where.
fn with_arguments(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    if !arguments.iter().any(|it| it.starts_with("--admin")) {
        command.arg("--no-admin");
    }
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

impl Server {
    /// A server in a directory of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let own = directory();
        let mut server = Self::start_in(own.path(), arguments);
        server._own_directory = Some(own);
        server
    }

    /// A server in a directory that outlives it.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        Self::launch(with_arguments(binary(directory), arguments), directory)
    }

    /// A server that the shell's `ulimit` holds to a limit, such as `-n 64`.
    pub(crate) fn start_limited(limit: &str, arguments: &[&str]) -> Self {
        let own = directory();
        let mut shell = clean(Command::new("sh"), own.path());
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_ovation")]);
        let mut server = Self::launch(with_arguments(shell, arguments), own.path());
        server._own_directory = Some(own);
        server
    }

    /// A server in whose system calls strace puts faults, such as `msync:error=EIO`. `None`, and
    /// it says so, where there is no strace.
    pub(crate) fn start_injected(home: &Path, fault: &str, arguments: &[&str]) -> Option<Self> {
        if Command::new("strace").arg("--version").output().is_err() {
            skipped("no strace on this machine");
            return None;
        }
        let call = fault.split(':').next().unwrap_or(fault);
        let mut strace = clean(Command::new("strace"), home);
        // With -D the server is our child, and strace its.
        strace.args(["-D", "-f", "-o", "/dev/null"]);
        strace.args(["-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={fault}")]);
        strace.arg(env!("CARGO_BIN_EXE_ovation"));
        Some(Self::launch(with_arguments(strace, arguments), home))
    }

    /// A server that may have to give way to another; what it said, if it did.
    pub(crate) fn try_start_in(directory: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::try_launch(with_arguments(binary(directory), arguments), directory)
    }

    fn launch(command: Command, directory: &Path) -> Self {
        Self::try_launch(command, directory)
            .unwrap_or_else(|log| panic!("the server did not say where it listens; it said: {log}"))
    }

    fn try_launch(mut command: Command, directory: &Path) -> Result<Self, String> {
        let mut child = command.spawn().expect("the binary can be run");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("it is piped");
        follow(stderr, Arc::clone(&log));
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        // From here on, dropping the server ends the process.
        let mut server = Self {
            child,
            addresses: Vec::new(),
            lines: Mutex::new(lines),
            log,
            directory: directory.to_owned(),
            _own_directory: None,
        };
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // A test that has its line no longer listens; the pipe is still emptied.
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
        self.try_next_line()
            .unwrap_or_else(|| panic!("the server said nothing more; it logged: {}", self.log()))
    }

    /// Where its admin side listens. It can be asked once.
    pub(crate) fn admin_address(&self) -> String {
        loop {
            if let Some(address) = self.next_line().strip_prefix("Dashboard: ") {
                let address = address.strip_prefix("http://").unwrap_or(address);
                return address.trim_end_matches('/').to_owned();
            }
        }
    }

    /// Where it listens first.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// All the places where it listens.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its snapshot, if it wasn't told to keep it elsewhere.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.directory.join("ovation.snapshot")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nothing panics with it").clone()
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it still runs");
    }

    /// Ends it at once, whatever it is at.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is our child");
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for_end(&mut self.child)
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

/// Runs a server that must refuse to start.
pub(crate) fn refused(directory: &Path, arguments: &[&str]) -> Failed {
    let mut child = with_arguments(binary(directory), arguments)
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
