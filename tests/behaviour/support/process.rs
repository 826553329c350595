//! What the kernel reports about the server process.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::{Server, eventually};

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn number(status: &str, field: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let value = value.and_then(|value| value.split_whitespace().next());
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in {status}"))
}

/// Returns the server's resident memory.
pub(crate) fn resident_bytes(server: &Server) -> u64 {
    number(&read(&format!("/proc/{}/status", server.pid())), "VmRSS:") * 1024
}

/// Returns how often the server's threads have gone to sleep.
pub(crate) fn switches(server: &Server) -> u64 {
    switches_of(server, "")
}

/// Returns how often the server's threads whose names start with `name` have gone to sleep.
pub(crate) fn switches_of(server: &Server, name: &str) -> u64 {
    threads_of(server, name)
        .map(|thread| {
            number(
                &read(&format!("{}/status", thread.display())),
                "voluntary_ctxt_switches:",
            )
        })
        .sum()
}

/// Waits until no thread of the server has woken up for half a second, and returns [`switches`].
pub(crate) fn settled_switches(server: &Server) -> u64 {
    let (mut last, mut since) = (switches(server), Instant::now());
    eventually("half a second without a wake-up", || {
        let now = switches(server);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    last
}

/// Returns the CPU time that the server uses during `period`.
pub(crate) fn cpu_time_during(server: &Server, period: Duration) -> Duration {
    let before = cpu_time(server);
    thread::sleep(period);
    cpu_time(server) - before
}

fn cpu_time(server: &Server) -> Duration {
    let stat = read(&format!("/proc/{}/stat", server.pid()));
    // The name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// Returns the number of sockets in the descriptor tables of all threads.
pub(crate) fn open_sockets(server: &Server) -> usize {
    open_sockets_of(server, "")
}

/// Returns the number of sockets in the descriptor tables of the threads whose names start with
/// `name`.
pub(crate) fn open_sockets_of(server: &Server, name: &str) -> usize {
    threads_of(server, name)
        .flat_map(|thread| fs::read_dir(thread.join("fd")).expect("it runs"))
        // A descriptor may be closed after it was listed.
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .filter(|target| target.display().to_string().starts_with("socket:"))
        .count()
}

/// Returns the names of the server's threads.
pub(crate) fn thread_names(server: &Server) -> Vec<String> {
    threads_of(server, "")
        .map(|thread| {
            read(&format!("{}/comm", thread.display()))
                .trim()
                .to_owned()
        })
        .collect()
}

fn threads_of(server: &Server, name: &str) -> impl Iterator<Item = PathBuf> {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    threads
        .map(|thread| thread.expect("it runs").path())
        .filter(move |thread| read(&format!("{}/comm", thread.display())).starts_with(name))
}
