//! What the kernel says of a process.

use std::fs;
use std::time::Duration;

use super::Server;

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

/// The memory that the server has in RAM.
pub(crate) fn resident_bytes(server: &Server) -> u64 {
    number(&read(&format!("/proc/{}/status", server.pid())), "VmRSS:") * 1024
}

/// How often the server's threads have gone to sleep.
pub(crate) fn switches(server: &Server) -> u64 {
    switches_of(server, "")
}

/// The same of those threads whose names start so.
pub(crate) fn switches_of(server: &Server, name: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    threads
        .map(|thread| thread.expect("it runs").path().display().to_string())
        .filter(|thread| read(&format!("{thread}/comm")).starts_with(name))
        .map(|thread| {
            number(
                &read(&format!("{thread}/status")),
                "voluntary_ctxt_switches:",
            )
        })
        .sum()
}

/// The CPU time that the server has used.
pub(crate) fn cpu_time(server: &Server) -> Duration {
    let stat = read(&format!("/proc/{}/stat", server.pid()));
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// The sockets that are open in the tables of descriptors of all threads together.
pub(crate) fn open_sockets(server: &Server) -> usize {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    threads
        .map(|thread| thread.expect("it runs").path().join("fd"))
        .flat_map(|table| fs::read_dir(table).expect("it runs"))
        // A descriptor may be closed between being listed and being looked at.
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .filter(|target| target.display().to_string().starts_with("socket:"))
        .count()
}
