//! Several servers side by side: each in turn, in interleaved rounds, one table of medians.
//!
//! Every trial has a fresh server on a fresh port and a load generator in a process of its own, so
//! that no trial inherits the memory of another. The rounds go over all servers before the next one
//! begins, so that a machine that slows down meanwhile slows them all.

use super::SwarmError;
use super::args::SuiteArgs;
use super::report::{Report, whole};
use crate::os::meminfo;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The server that the others are a ratio to.
const YARDSTICK: &str = "bare";
const START_WITHIN: Duration = Duration::from_secs(10);

/// How a server is started.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contestant {
    name: String,
    program: PathBuf,
    /// With `{port}` where the port belongs.
    args: Vec<String>,
}

/// A server's process, ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It fails only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the rounds brought for one server.
#[derive(Debug, Default)]
struct Trials {
    idle: Vec<Report>,
    fanout: Vec<Report>,
    ingest: Vec<Report>,
}

/// Medians over the rounds of one server; a figure is absent if its trial never ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    server: String,
    rss_bytes_per_connection: Option<f64>,
    connections_per_second: Option<f64>,
    fanout_frames_per_cpu_second: Option<f64>,
    fanout_to_bare: Option<f64>,
    latency_p50_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    ingest_reactions_per_cpu_second: Option<f64>,
    ingest_reactions_per_second: Option<f64>,
    ingest_to_bare: Option<f64>,
    longest_gap_ms: Option<f64>,
    exact: bool,
}

#[derive(Debug, Serialize)]
struct Comparison {
    machine: String,
    rounds: u16,
    rows: Vec<Row>,
}

/// Runs the suite and writes its table.
pub(super) fn run(args: &SuiteArgs, out: &mut impl io::Write) -> Result<(), SwarmError> {
    let own = std::env::current_exe().map_err(|error| SwarmError::Suite(error.to_string()))?;
    if args.build {
        build(&args.peers);
    }
    let contestants = contestants(args, &own)?;
    let mut port = args.port;
    let mut trials: Vec<Trials> = contestants.iter().map(|_| Trials::default()).collect();
    for round in 1..=args.rounds {
        for (contestant, trials) in contestants.iter().zip(&mut trials) {
            note(&format!("round {round}: {}", contestant.name));
            let mut trial = |mode: &str, options: &[(&str, u32)]| {
                port = port.checked_add(1).unwrap_or(args.port);
                measure(contestant, port, &own, mode, options)
            };
            let idle = trial("idle", &[("--members", args.idle_members)])?;
            trials.idle.extend(idle);
            let fanout = trial(
                "fanout",
                &[
                    ("--members", args.fanout_members),
                    ("--rate", args.fanout_rate),
                    ("--seconds", args.seconds),
                ],
            )?;
            trials.fanout.extend(fanout);
            let ingest = trial(
                "ingest",
                &[
                    ("--senders", args.ingest_senders),
                    ("--seconds", args.seconds),
                ],
            )?;
            trials.ingest.extend(ingest);
        }
    }
    let rows: Vec<Row> = contestants
        .iter()
        .zip(&trials)
        .map(|(contestant, trials)| trials.row(&contestant.name))
        .collect();
    let comparison = Comparison {
        machine: machine(),
        rounds: args.rounds,
        rows: with_ratios(rows),
    };
    let text = if args.json {
        let json = serde_json::to_string(&comparison).map_err(io::Error::from);
        json.map_err(SwarmError::Output)? + "\n"
    } else {
        comparison.markdown(args)
    };
    out.write_all(text.as_bytes()).map_err(SwarmError::Output)?;
    let wrong: Vec<&str> = comparison
        .rows
        .iter()
        .filter(|row| !row.exact)
        .map(|row| row.server.as_str())
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(SwarmError::NotExact(wrong.join(", ")))
    }
}

fn note(text: &str) {
    // Who closes stderr does not want to know.
    let _ = writeln!(io::stderr(), "suite: {text}");
}

/// Builds what the suite compares with. What cannot be built is left out later.
fn build(peers: &Path) {
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

/// All servers to run, without those that are not built.
fn contestants(args: &SuiteArgs, own: &Path) -> Result<Vec<Contestant>, SwarmError> {
    let beside = own.parent().unwrap_or_else(|| Path::new("."));
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
            &["serve", "--listen", "127.0.0.1:{port}", "--no-snapshot"],
        ),
        server(YARDSTICK, beside.join("examples/bare"), &["{port}"]),
        server("tokio-tungstenite", tokio_peer, &["{port}"]),
    ];
    if node_peer.join("node_modules").is_dir() {
        all.push(server("node-ws", "node".into(), &[&script, "{port}"]));
    } else {
        note("node-ws is left out: use --build, or run `npm ci` in its directory");
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
                "{} is left out: no {program}, use --build",
                contestant.name
            ));
        }
        built && is_wanted(&contestant.name)
    });
    if all.is_empty() {
        return Err(SwarmError::Suite("there is no server to run".into()));
    }
    Ok(all)
}

/// Reads `NAME=COMMAND`, whose words are separated by white space.
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

/// One trial: `None` if the server does not start or the load generator has nothing to report.
fn measure(
    contestant: &Contestant,
    port: u16,
    own: &Path,
    mode: &str,
    options: &[(&str, u32)],
) -> Result<Option<Report>, SwarmError> {
    let Some(server) = start(contestant, port) else {
        note(&format!(
            "{} does not start; {mode} is left out",
            contestant.name
        ));
        return Ok(None);
    };
    let output = Command::new(own)
        .args(["swarm", mode, "--json", "--pid"])
        .arg(server.0.id().to_string())
        .args(
            options
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        )
        .arg(format!("ws://127.0.0.1:{port}/parties/main/talk"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| SwarmError::Suite(error.to_string()))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(report) => Ok(Some(report)),
        Err(_) => {
            let reason = String::from_utf8_lossy(&output.stderr);
            note(&format!("{mode} of {}: {}", contestant.name, reason.trim()));
            Ok(None)
        }
    }
}

/// Starts a server and waits until it listens.
fn start(contestant: &Contestant, port: u16) -> Option<Running> {
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
    let mut server = Running(child);
    let began = Instant::now();
    while began.elapsed() < START_WITHIN {
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

impl Trials {
    fn row(&self, name: &str) -> Row {
        let ran = [&self.idle, &self.fanout, &self.ingest];
        Row {
            server: name.to_owned(),
            rss_bytes_per_connection: median(&self.idle, |report| {
                Some(report.server.as_ref()?.rss_bytes_per_connection)
            }),
            connections_per_second: median(&self.idle, |report| Some(report.connect.per_second)),
            fanout_frames_per_cpu_second: median(&self.fanout, |report| {
                Some(report.server.as_ref()?.load.as_ref()?.frames_per_cpu_second)
            }),
            fanout_to_bare: None,
            latency_p50_ms: median(&self.fanout, |report| Some(report.latency?.p50_ms)),
            latency_p99_ms: median(&self.fanout, |report| Some(report.latency?.p99_ms)),
            ingest_reactions_per_cpu_second: median(&self.ingest, |report| {
                Some(report.server.as_ref()?.load.as_ref()?.done_per_cpu_second)
            }),
            ingest_reactions_per_second: median(&self.ingest, |report| {
                Some(report.load.as_ref()?.done_per_second)
            }),
            ingest_to_bare: None,
            longest_gap_ms: median(&self.ingest, |report| report.load.as_ref()?.longest_gap_ms),
            exact: ran.iter().all(|reports| {
                !reports.is_empty() && reports.iter().all(|report| report.exactness.passed)
            }),
        }
    }
}

/// The middle of what the reports say, or the mean of the two in the middle.
fn median(reports: &[Report], figure: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = reports.iter().filter_map(figure).collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    match values.len() % 2 {
        0 => values
            .get(values.len() / 2 - 1)
            .map(|lower| f64::midpoint(*lower, *upper)),
        _ => Some(*upper),
    }
}

fn with_ratios(mut rows: Vec<Row>) -> Vec<Row> {
    let Some(bare) = rows.iter().find(|row| row.server == YARDSTICK).cloned() else {
        return rows;
    };
    let ratio = |own: Option<f64>, bare: Option<f64>| Some(own? / bare.filter(|&bare| bare > 0.0)?);
    for row in &mut rows {
        row.fanout_to_bare = ratio(
            row.fanout_frames_per_cpu_second,
            bare.fanout_frames_per_cpu_second,
        );
        row.ingest_to_bare = ratio(
            row.ingest_reactions_per_cpu_second,
            bare.ingest_reactions_per_cpu_second,
        );
    }
    rows
}

impl Comparison {
    fn markdown(&self, args: &SuiteArgs) -> String {
        let mut text = format!(
            "{}. Median of {} rounds; the load generator runs on the same cores.\n\n\
             | server | RSS per connection, {} idle | connections/s \
             | fan-out frames per CPU second, {} members at {} reactions/s | to bare \
             | send to seen p50 | p99 \
             | ingest reactions per CPU second, {} senders | to bare | reactions/s \
             | longest time without news | exact |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
            self.machine,
            self.rounds,
            whole(args.idle_members.into()),
            whole(args.fanout_members.into()),
            whole(args.fanout_rate.into()),
            args.ingest_senders,
        );
        let number = |value: Option<f64>| value.map_or("-".to_owned(), whole);
        let ratio = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        let millis = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.0} ms"));
        for row in &self.rows {
            let cells = [
                row.server.clone(),
                number(row.rss_bytes_per_connection) + " B",
                number(row.connections_per_second),
                number(row.fanout_frames_per_cpu_second),
                ratio(row.fanout_to_bare),
                millis(row.latency_p50_ms),
                millis(row.latency_p99_ms),
                number(row.ingest_reactions_per_cpu_second),
                ratio(row.ingest_to_bare),
                number(row.ingest_reactions_per_second),
                millis(row.longest_gap_ms),
                if row.exact { "yes" } else { "NO" }.to_owned(),
            ];
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }
}

/// The machine in one line: processor, cores, memory, kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let memory_kib = meminfo::total_kib(&read(meminfo::PATH)).unwrap_or(0);
    let system = rustix::system::uname();
    format!(
        "{}, {cores} cores, {:.0} GiB, {} {}",
        processor.as_deref().unwrap_or("unknown processor"),
        memory_kib as f64 / f64::from(1 << 20),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_name_and_words() {
        let server = parse_server("x=./bin --port {port}").unwrap();
        assert_eq!(server.name, "x");
        assert_eq!(server.program, PathBuf::from("./bin"));
        assert_eq!(server.args, ["--port", "{port}"]);
        for bad in ["x", "x=", "=a", ""] {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ratios_are_to_the_bare_loop() {
        let row = |server: &str, frames: f64| Row {
            fanout_frames_per_cpu_second: Some(frames),
            ..Trials::default().row(server)
        };
        let rows = with_ratios(vec![row("a", 50.0), row(YARDSTICK, 100.0)]);
        assert_eq!(rows[0].fanout_to_bare, Some(0.5));
        assert_eq!(rows[1].fanout_to_bare, Some(1.0));
        assert_eq!(rows[0].ingest_to_bare, None);
        assert_eq!(with_ratios(vec![row("a", 1.0)])[0].fanout_to_bare, None);
    }

    #[test]
    fn a_server_that_never_ran_is_not_exact() {
        assert!(!Trials::default().row("x").exact);
    }

    #[test]
    fn the_machine_is_named() {
        assert!(machine().contains("cores"));
    }
}
