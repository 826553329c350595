//! The machine's memory, as `/proc/meminfo` reports it (proc_meminfo(5)).

use super::procfs::kib_of;

/// The file that the functions of this module parse.
pub(crate) const PATH: &str = "/proc/meminfo";

/// Returns all memory of the machine, in KiB.
pub(crate) fn total_kib(meminfo: &str) -> Option<u64> {
    kib_of(meminfo, "MemTotal")
}

/// Returns the memory available to programs without swapping, in KiB.
pub(crate) fn available_kib(meminfo: &str) -> Option<u64> {
    kib_of(meminfo, "MemAvailable")
}

/// Returns the memory of the kernel's own data structures, in KiB.
pub(crate) fn slab_kib(meminfo: &str) -> Option<u64> {
    kib_of(meminfo, "Slab")
}

/// Returns the memory that may be promised to processes where overcommitting is off, in KiB.
pub(crate) fn commit_limit_kib(meminfo: &str) -> Option<u64> {
    kib_of(meminfo, "CommitLimit")
}

/// Returns the memory promised to processes, in KiB.
pub(crate) fn committed_kib(meminfo: &str) -> Option<u64> {
    kib_of(meminfo, "Committed_AS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_comes_from_its_own_line() {
        let meminfo = "MemTotal: 24683520 kB\nMemFree: 1 kB\nMemAvailable: 23648000 kB\n\
                       Slab: 7 kB\nCommitLimit: 8 kB\nCommitted_AS: 9 kB\n";
        assert_eq!(total_kib(meminfo), Some(24_683_520));
        assert_eq!(available_kib(meminfo), Some(23_648_000));
        assert_eq!(slab_kib(meminfo), Some(7));
        assert_eq!(commit_limit_kib(meminfo), Some(8));
        assert_eq!(committed_kib(meminfo), Some(9));
        assert_eq!(available_kib("MemFree: 1 kB\n"), None);
    }
}
