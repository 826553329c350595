//! CPU time and memory of a process or a thread.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::procfs::kib_of;

/// Returns the user and system time in a `stat` file of a process or thread; `None` if the file
/// can't be read.
pub(crate) fn cpu_time(stat: impl AsRef<Path>) -> Option<Duration> {
    cpu_time_in(&fs::read_to_string(stat).ok()?)
}

/// Returns the user and system time in the text of a `stat` file (proc_pid_stat(5)).
pub(crate) fn cpu_time_in(stat: &str) -> Option<Duration> {
    // The process's name, in parentheses, may contain any characters.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Returns the resident memory in the text of a `status` file (proc_pid_status(5)), in bytes.
pub(crate) fn resident_bytes(status: &str) -> Option<u64> {
    kib_of(status, "VmRSS").map(|kib| kib * 1024)
}

/// Returns the resident memory that no file backs, in bytes: neither code nor a mapped file.
pub(crate) fn anonymous_bytes(status: &str) -> Option<u64> {
    kib_of(status, "RssAnon").map(|kib| kib * 1024)
}

/// Returns the resident memory in the text of a `smaps_rollup` file, in bytes. It is the exact sum
/// over all mappings, whereas [`resident_bytes`] is the kernel's running estimate.
pub(crate) fn exact_resident_bytes(smaps_rollup: &str) -> Option<u64> {
    kib_of(smaps_rollup, "Rss").map(|kib| kib * 1024)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_process_name() {
        let per_second = rustix::param::clock_ticks_per_second();
        let times = format!("S 1 1 1 0 -1 0 0 0 0 0 {per_second} {per_second} 0 0");
        for name in ["a", "a) b", "a) b) (c"] {
            let stat = format!("7 ({name}) {times}");
            assert_eq!(cpu_time_in(&stat), Some(Duration::from_secs(2)), "{name}");
        }
        assert_eq!(cpu_time_in("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_cpu_time_and_memory() {
        assert!(cpu_time("/proc/self/stat").is_some());
        assert!(cpu_time("/proc/self/nowhere").is_none());
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert!(resident_bytes(&status) > anonymous_bytes(&status));
    }
}
