//! What the kernel tells about a process and about the memory of sockets, read from `/proc`.

use std::fs;
use std::io::{self, ErrorKind};

use crate::os::procfs::{kib_of, value_of};

/// CPU time and memory of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProcessSample {
    /// User and system time since its start, in seconds.
    pub(super) cpu_seconds: f64,
    /// Resident memory in bytes.
    pub(super) rss_bytes: u64,
}

impl ProcessSample {
    /// Samples the process `pid`.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| unreadable("stat"))?;
        Ok(Self {
            cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            rss_bytes: resident_bytes(pid)?,
        })
    }
}

/// The exact sum over all mappings where the kernel has it, else the kernel's running estimate.
fn resident_bytes(pid: u32) -> io::Result<u64> {
    let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    if let Some(kib) = exact.ok().and_then(|text| kib_of(&text, "Rss")) {
        return Ok(kib * 1024);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kib_of(&status, "VmRSS")
        .map(|kib| kib * 1024)
        .ok_or_else(|| unreadable("status"))
}

/// Memory that the kernel holds for everybody at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KernelSample {
    /// All slabs: sockets, files, dentries, epoll items, small buffers.
    pub(super) slab_bytes: u64,
    /// What TCP accounts for data in flight and unread, which `slab_bytes` holds in part as well.
    pub(super) tcp_bytes: u64,
}

impl KernelSample {
    pub(super) fn now() -> io::Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let sockstat = fs::read_to_string("/proc/net/sockstat")?;
        let slab_kib = kib_of(&meminfo, "Slab").ok_or_else(|| unreadable("meminfo"))?;
        let tcp_pages = tcp_pages(&sockstat).ok_or_else(|| unreadable("net/sockstat"))?;
        Ok(Self {
            slab_bytes: slab_kib * 1024,
            tcp_bytes: tcp_pages * rustix::param::page_size() as u64,
        })
    }
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("/proc/.../{file} has another form than expected"),
    )
}

/// utime + stime of a `/proc/PID/stat`, whose second field may hold any character.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn tcp_pages(sockstat: &str) -> Option<u64> {
    let mut words = value_of(sockstat, "TCP")?.split_ascii_whitespace();
    words.find(|&word| word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_stands_behind_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 99";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn tcp_memory_is_found_by_its_word() {
        let text = "sockets: used 9\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 291\nUDP: mem 7\n";
        assert_eq!(tcp_pages(text), Some(291));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_sampled() {
        let sample = ProcessSample::of(std::process::id()).unwrap();
        assert!(sample.rss_bytes > 100_000);
        assert!(KernelSample::now().unwrap().slab_bytes > 0);
        assert!(ProcessSample::of(u32::MAX).is_err());
    }
}
