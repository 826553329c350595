//! Samples of a process's CPU time and memory, and of the kernel's memory for sockets.

use std::fs;
use std::io::{self, ErrorKind};

use crate::os::{meminfo, process, tcp};

/// CPU time and memory of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProcessSample {
    /// User and system time since the process started, in seconds.
    pub(super) cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub(super) rss_bytes: u64,
}

impl ProcessSample {
    /// Samples the process `pid`.
    ///
    /// # Errors
    /// The process doesn't exist, or a file about it has an unexpected format.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let cpu_time = process::cpu_time_in(&stat).ok_or_else(|| unreadable("stat"))?;
        Ok(Self {
            cpu_seconds: cpu_time.as_secs_f64(),
            rss_bytes: resident_bytes(pid)?,
        })
    }
}

/// Returns the exact sum over all mappings if the kernel computes it, else the kernel's running
/// estimate.
fn resident_bytes(pid: u32) -> io::Result<u64> {
    let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    if let Some(bytes) = exact
        .ok()
        .and_then(|text| process::exact_resident_bytes(&text))
    {
        return Ok(bytes);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    process::resident_bytes(&status).ok_or_else(|| unreadable("status"))
}

/// Memory that the kernel holds for all processes at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KernelSample {
    /// All slabs: sockets, files, dentries, epoll items, small buffers.
    pub(super) slab_bytes: u64,
    /// Data in flight and unread data of TCP. `slab_bytes` contains part of it.
    pub(super) tcp_bytes: u64,
}

impl KernelSample {
    /// Samples the kernel.
    ///
    /// # Errors
    /// A file of the kernel can't be read or has an unexpected format.
    pub(super) fn now() -> io::Result<Self> {
        let meminfo = fs::read_to_string(meminfo::PATH)?;
        let sockstat = fs::read_to_string(tcp::SOCKSTAT_PATH)?;
        let slab_kib = meminfo::slab_kib(&meminfo).ok_or_else(|| unreadable("meminfo"))?;
        let tcp_pages = tcp::memory_pages(&sockstat).ok_or_else(|| unreadable("net/sockstat"))?;
        Ok(Self {
            slab_bytes: slab_kib * 1024,
            tcp_bytes: tcp_pages * rustix::param::page_size() as u64,
        })
    }
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("/proc/.../{file} has an unexpected format"),
    )
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_sampled() {
        let sample = ProcessSample::of(std::process::id()).unwrap();
        assert!(sample.rss_bytes > 100_000);
        assert!(KernelSample::now().unwrap().slab_bytes > 0);
        assert!(ProcessSample::of(u32::MAX).is_err());
    }
}
