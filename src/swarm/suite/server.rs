//! The servers of a suite: found, built, started and stopped.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::super::args::SuiteArgs;
use super::super::error::SwarmError;
use super::note::note;

/// The name of the bare loop, to which the other servers are compared.
pub(super) const YARDSTICK: &str = "bare";

/// Maximum time until a server listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that the suite compares, and how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contestant {
    pub(super) name: String,
    program: PathBuf,
    /// Arguments, in which `{port}` stands for the port.
    args: Vec<String>,
}

/// A server's process, which is killed when it is dropped.
pub(super) struct ServerProcess(Child);

impl ServerProcess {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Killing fails only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds the servers that the suite compares with. The suite skips those that can't be built.
pub(super) fn build(peers: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let release = ["build", "--release"];
    let mut bare = Command::new(&cargo);
    bare.args(release).args(["--example", YARDSTICK]);
    let mut tokio_peer = Command::new(&cargo);
    tokio_peer
        .args(release)
        .arg("--manifest-path")
        .arg(peers.join("tokio-tungstenite/Cargo.toml"));
    let mut node_peer = Command::new("npm");
    node_peer.arg("ci").current_dir(peers.join("node-ws"));
    for command in [&mut bare, &mut tokio_peer, &mut node_peer] {
        let outcome = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
        match outcome {
            Ok(status) if status.success() => {}
            Ok(status) => note(&format!("{command:?}: {status}")),
            Err(error) => note(&format!("{command:?}: {error}")),
        }
    }
}

/// Returns all servers to run, without those that are not built.
pub(super) fn contestants(args: &SuiteArgs, own: &Path) -> Result<Vec<Contestant>, SwarmError> {
    let directory = own.parent().unwrap_or_else(|| Path::new("."));
    let server = |name: &str, program: PathBuf, args: &[&str]| Contestant {
        name: name.to_owned(),
        program,
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    };
    let tokio_peer = args
        .peers
        .join("tokio-tungstenite/target/release/tokio-tungstenite-peer");
    let node_peer = args.peers.join("node-ws");
    let script = node_peer.join("server.mjs").display().to_string();
    let mut all = vec![
        server(
            "ovation",
            own.to_owned(),
            &[
                "serve",
                "--listen",
                "127.0.0.1:{port}",
                "--no-snapshot",
                "--reaction-rate",
                "0",
                "--receive-buffer-bytes",
                "0",
            ],
        ),
        server(YARDSTICK, directory.join("examples/bare"), &["{port}"]),
        server("tokio-tungstenite", tokio_peer, &["{port}"]),
    ];
    if node_peer.join("node_modules").is_dir() {
        all.push(server("node-ws", "node".into(), &[&script, "{port}"]));
    } else {
        note("node-ws skipped: use --build, or run `npm ci` in its directory");
    }
    for given in &args.server {
        all.push(parse_server(given)?);
    }
    let is_wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    all.retain(|contestant| {
        let built = contestant.program.components().count() == 1 || contestant.program.is_file();
        if is_wanted(&contestant.name) && !built {
            let program = contestant.program.display();
            note(&format!(
                "{} skipped: {program} not found, use --build",
                contestant.name
            ));
        }
        built && is_wanted(&contestant.name)
    });
    if all.is_empty() {
        return Err(SwarmError::Suite("no server to run".into()));
    }
    Ok(all)
}

/// Parses `NAME=COMMAND`. White space separates the words of the command.
fn parse_server(text: &str) -> Result<Contestant, SwarmError> {
    let parsed = text.split_once('=').and_then(|(name, command)| {
        let mut words = command.split_whitespace().map(str::to_owned);
        let program = PathBuf::from(words.next()?);
        (!name.is_empty()).then(|| Contestant {
            name: name.to_owned(),
            program,
            args: words.collect(),
        })
    });
    parsed.ok_or_else(|| SwarmError::Suite(format!("--server {text}: expected NAME=COMMAND")))
}

/// Starts a server and waits until it listens. Returns `None` if it doesn't.
pub(super) fn start(contestant: &Contestant, port: u16) -> Option<ServerProcess> {
    let args = contestant
        .args
        .iter()
        .map(|arg| arg.replace("{port}", &port.to_string()));
    let child = Command::new(&contestant.program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut server = ServerProcess(child);
    let began = Instant::now();
    while began.elapsed() < START_TIMEOUT {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            thread::sleep(Duration::from_millis(200));
            return Some(server);
        }
        if !matches!(server.0.try_wait(), Ok(None)) {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_name_and_a_command() {
        let server = parse_server("x=./bin --port {port}").unwrap();
        assert_eq!(server.name, "x");
        assert_eq!(server.program, PathBuf::from("./bin"));
        assert_eq!(server.args, ["--port", "{port}"]);
        for bad in ["x", "x=", "=a", ""] {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
    }
}
