//! `ovation doctor` on the machine that runs the tests.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{AdminSide, clean_command, eventually, thread_names};

fn doctor(arguments: &[&str]) -> Output {
    clean_command(Path::new("."))
        .arg("doctor")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Copies what this machine reports now, so that two runs read the same.
fn frozen_machine() -> TempDir {
    let frozen = TempDir::new().unwrap();
    for path in [
        "proc/meminfo",
        "proc/self/cgroup",
        "proc/self/limits",
        "proc/self/status",
        "proc/self/uid_map",
        "proc/sys/fs/epoll/max_user_watches",
        "proc/sys/fs/file-max",
        "proc/sys/fs/file-nr",
        "proc/sys/fs/nr_open",
        "proc/sys/net/core/somaxconn",
        "proc/sys/net/ipv4/tcp_mem",
    ] {
        let copy = frozen.path().join(path);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        // Not every machine has all of these files.
        if let Ok(text) = fs::read(format!("/{path}")) {
            fs::write(copy, text).unwrap();
        }
    }
    frozen
}

#[test]
fn the_report_mentions_every_bound() {
    let output = doctor(&[]);
    assert!(output.status.success(), "{output:?}");
    let text = text(&output);
    for name in [
        "RLIMIT_NOFILE",
        "fs.nr_open",
        "fs.file-max",
        "fs.epoll.max_user_watches",
        "net.core.somaxconn",
        "net.ipv4.tcp_max_syn_backlog",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_mem",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
        "net.netfilter.nf_conntrack_max",
        "vm.max_map_count",
        "vm.overcommit_memory",
        "MemTotal",
        "MemAvailable",
        "cgroup memory",
        "cgroup pids",
        "cores",
        "Stops first: ",
    ] {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }
}

#[test]
fn json_and_text_name_the_same_first_limit() {
    let machine = frozen_machine();
    let root = machine.path().to_str().unwrap();
    let json = doctor(&["--json", "--both-ends", "--root", root]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let bounds = json["bounds"].as_array().unwrap();
    let connections = |bound: &Value| bound["connections"].as_u64().unwrap();
    let least = bounds.iter().map(connections).min().unwrap();
    assert_eq!(connections(&json["stops_first"]), least);

    let output = doctor(&["--both-ends", "--root", root]);
    let line = text(&output)
        .lines()
        .find_map(|line| line.strip_prefix("Stops first: "))
        .unwrap();
    let digits: String = line
        .split(" at ")
        .last()
        .unwrap()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    assert_eq!(digits.parse(), Ok(least), "{line}");
    assert!(
        line.starts_with(json["stops_first"]["name"].as_str().unwrap()),
        "{line}"
    );
}

#[test]
fn one_connection_fits() {
    let output = doctor(&["--connections", "1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text(&output).ends_with("\nFits: --connections 1\n"),
        "{output:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_absurd_number_does_not_fit_and_gets_advice() {
    let output = doctor(&["--connections", "2000000000"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = text(&output);
    assert!(
        text.contains("Doesn't fit: --connections 2000000000"),
        "{text}"
    );
    assert!(
        text.contains("sysctl -w ") || text.contains("--reactors "),
        "{text}"
    );
    let json = doctor(&["--connections", "2000000000", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["fits"], false);
}

#[test]
fn wrong_usage_is_refused() {
    for arguments in [
        ["--connections", "0"],
        ["--reactors", "many"],
        ["--fd-tables", "none"],
    ] {
        assert_eq!(doctor(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

/// Returns how many threads a server needs, according to the doctor: it says so on a machine that
/// allows no thread.
#[cfg(target_os = "linux")]
fn needed_threads(reactors: &str) -> usize {
    let machine = frozen_machine();
    let root = machine.path();
    fs::write(root.join("proc/self/cgroup"), "0::/\n").unwrap();
    fs::create_dir_all(root.join("sys/fs/cgroup")).unwrap();
    fs::write(root.join("sys/fs/cgroup/pids.max"), "0\n").unwrap();
    let root = root.to_str().unwrap();
    let json = doctor(&["--json", "--reactors", reactors, "--root", root]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let bounds = json["bounds"].as_array().unwrap();
    let threads = bounds.iter().find(|bound| bound["name"] == "cgroup pids");
    let why = threads.unwrap()["why"].as_str().unwrap();
    let needed = why.strip_suffix(" needed").unwrap().rsplit(' ').next();
    needed.unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn the_doctor_counts_the_threads_of_a_real_server() {
    let (server, _) = AdminSide::start(&["--reactors", "3"]);
    // The thread that resets a room runs only during a reset.
    let reset = 1;
    eventually(
        "the server runs every thread that the doctor counts",
        || thread_names(&server).len() + reset == needed_threads("3"),
    );
}
