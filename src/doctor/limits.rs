//! Reads the limits on connections from `/proc` and the control groups.

use std::path::Path;

use serde::Serialize;

use super::cgroup::{MEMORY, PIDS, Quota, least_quota};
use super::reading::{Reading, Tree, limit};
use crate::os::meminfo;
use crate::os::procfs::value_of;

/// The bit of CAP_SYS_ADMIN in a set of capabilities.
const CAP_SYS_ADMIN: u32 = 21;
/// The words of the map of user ids in the machine's first user namespace.
const INITIAL_UID_MAP: [&str; 3] = ["0", "0", "4294967295"];
/// The value of `vm.overcommit_memory` with which the kernel promises no more memory than it has.
const NO_OVERCOMMIT: u64 = 2;

/// The limits and the free resources of a machine, as read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct MachineLimits {
    /// The soft limit of RLIMIT_NOFILE of this process.
    pub(super) nofile_soft: Reading<u64>,
    /// The hard limit, to which the server raises its soft limit.
    pub(super) nofile_hard: Reading<u64>,
    pub(super) nr_open: Reading<u64>,
    pub(super) file_max: Reading<u64>,
    /// Open files of the whole machine.
    pub(super) files_open: Reading<u64>,
    /// Whether this process has CAP_SYS_ADMIN, which exempts it from `file_max`.
    pub(super) admin: Reading<bool>,
    pub(super) max_user_watches: Reading<u64>,
    pub(super) somaxconn: Reading<u64>,
    pub(super) max_syn_backlog: Reading<u64>,
    pub(super) syncookies: Reading<u64>,
    /// First and last port.
    pub(super) local_ports: Reading<[u64; 2]>,
    /// The low, pressure and high marks, in pages.
    pub(super) tcp_mem: Reading<[u64; 3]>,
    /// Minimum, default and maximum size of a receive buffer, in bytes.
    pub(super) tcp_rmem: Reading<[u64; 3]>,
    /// Minimum, default and maximum size of a send buffer, in bytes.
    pub(super) tcp_wmem: Reading<[u64; 3]>,
    pub(super) conntrack_max: Reading<u64>,
    /// Connections that the firewall tracks now.
    pub(super) conntrack_count: Reading<u64>,
    pub(super) max_map_count: Reading<u64>,
    pub(super) overcommit_memory: Reading<u64>,
    pub(super) mem_total_bytes: Reading<u64>,
    pub(super) mem_available_bytes: Reading<u64>,
    /// Memory that may be promised to processes if `overcommit_memory` is 2.
    pub(super) commit_limit_bytes: Reading<u64>,
    /// Memory promised to processes.
    pub(super) committed_bytes: Reading<u64>,
    pub(super) cgroup_memory: Reading<Quota>,
    pub(super) cgroup_pids: Reading<Quota>,
    pub(super) cores: u64,
    pub(super) page_bytes: u64,
}

impl MachineLimits {
    /// Reads the machine whose files lie below `root`.
    pub(super) fn read(root: &Path) -> Self {
        let tree = Tree(root);
        let nofile = |column| process_limit(&tree, "Max open files", column);
        let conntrack = |name: &str| {
            tree.number(format!("proc/sys/net/netfilter/{name}"))
                .or_else(|| tree.number(format!("proc/sys/net/{name}")))
        };
        Self {
            nofile_soft: nofile(0),
            nofile_hard: nofile(1),
            nr_open: tree.number("proc/sys/fs/nr_open"),
            file_max: tree.number("proc/sys/fs/file-max"),
            files_open: tree
                .numbers::<3>("proc/sys/fs/file-nr")
                .and_then(|[open, unused, _]| Reading::Known(open.saturating_sub(unused))),
            admin: is_admin(&tree),
            max_user_watches: tree.number("proc/sys/fs/epoll/max_user_watches"),
            somaxconn: tree.number("proc/sys/net/core/somaxconn"),
            max_syn_backlog: tree.number("proc/sys/net/ipv4/tcp_max_syn_backlog"),
            syncookies: tree.number("proc/sys/net/ipv4/tcp_syncookies"),
            local_ports: tree.numbers("proc/sys/net/ipv4/ip_local_port_range"),
            tcp_mem: tree.numbers("proc/sys/net/ipv4/tcp_mem"),
            tcp_rmem: tree.numbers("proc/sys/net/ipv4/tcp_rmem"),
            tcp_wmem: tree.numbers("proc/sys/net/ipv4/tcp_wmem"),
            conntrack_max: conntrack("nf_conntrack_max"),
            conntrack_count: conntrack("nf_conntrack_count"),
            max_map_count: tree.number("proc/sys/vm/max_map_count"),
            overcommit_memory: tree.number("proc/sys/vm/overcommit_memory"),
            mem_total_bytes: tree.meminfo(meminfo::total_kib),
            mem_available_bytes: tree.meminfo(meminfo::available_kib),
            commit_limit_bytes: tree.meminfo(meminfo::commit_limit_kib),
            committed_bytes: tree.meminfo(meminfo::committed_kib),
            cgroup_memory: least_quota(&tree, &MEMORY),
            cgroup_pids: least_quota(&tree, &PIDS),
            cores: std::thread::available_parallelism().map_or(1, usize::from) as u64,
            page_bytes: rustix::param::page_size() as u64,
        }
    }
    /// Whether the kernel promises no more memory to processes than it has.
    pub(super) fn forbids_overcommit(&self) -> bool {
        self.overcommit_memory == Reading::Known(NO_OVERCOMMIT)
    }
}

/// Reads a limit of this process: the soft limit in column 0, the hard limit in column 1.
fn process_limit(tree: &Tree<'_>, name: &str, column: usize) -> Reading<u64> {
    tree.parsed("proc/self/limits", |text| {
        let columns = text.lines().find_map(|line| line.strip_prefix(name))?;
        limit(columns.split_whitespace().nth(column)?)
    })
}

/// Reads whether this process has CAP_SYS_ADMIN over the machine, not only over a user namespace.
fn is_admin(tree: &Tree<'_>) -> Reading<bool> {
    let has_capability = tree.parsed("proc/self/status", |text| {
        let set = u64::from_str_radix(value_of(text, "CapEff")?, 16).ok()?;
        Some(set >> CAP_SYS_ADMIN & 1 == 1)
    });
    let is_initial = tree.parsed("proc/self/uid_map", |text| {
        Some(text.split_whitespace().eq(INITIAL_UID_MAP))
    });
    has_capability.and_then(|has_capability| match is_initial {
        Reading::Known(is_initial) => Reading::Known(has_capability && is_initial),
        // The kernel has no user namespaces.
        Reading::Absent => Reading::Known(has_capability),
        unreadable => unreadable,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::*;

    #[test]
    fn all_values_of_a_machine_are_read() {
        let limits = Machine::ordinary().limits();
        assert_eq!(limits.nofile_soft, Reading::Known(1_024));
        assert_eq!(limits.nofile_hard, Reading::Known(20_000));
        assert_eq!(limits.files_open, Reading::Known(400));
        assert_eq!(limits.admin, Reading::Known(false));
        assert_eq!(limits.local_ports, Reading::Known([32_768, 60_999]));
        assert_eq!(limits.tcp_mem, Reading::Known([287_901, 383_869, 575_802]));
        assert_eq!(
            limits.mem_available_bytes,
            Reading::Known(23_676_872 * 1024)
        );
        assert_eq!(limits.conntrack_max, Reading::Absent);
        assert_eq!(limits.cgroup_memory, Reading::Absent);
    }

    #[test]
    fn missing_files_are_not_errors() {
        let machine = Machine::empty();
        let json = serde_json::to_value(machine.limits()).unwrap();
        for (name, value) in json.as_object().unwrap() {
            let is_given = ["cores", "page_bytes"].contains(&name.as_str());
            assert_eq!(value.is_null(), !is_given, "{name}: {value}");
        }
    }

    #[test]
    fn an_unexpected_format_is_reported_with_its_file() {
        let machine = Machine::ordinary();
        for (path, text) in [
            ("proc/sys/fs/nr_open", "many\n"),
            ("proc/sys/fs/file-nr", "1 2\n"),
            ("proc/sys/fs/epoll/max_user_watches", "-5\n"),
            ("proc/sys/net/ipv4/tcp_mem", ""),
            ("proc/sys/fs/file-max", "99999999999999999999999\n"),
            ("proc/meminfo", "MemTotal: 99999999999999999999 kB\n"),
            ("proc/self/limits", "Max open files\n"),
            ("proc/self/status", "CapEff:\txyz\n"),
        ] {
            machine.write(path, text);
        }
        machine.write_bytes("proc/sys/net/core/somaxconn", &[0xff, 0xfe]);
        let limits = machine.limits();
        for (reading, path) in [
            (&limits.nr_open, "/proc/sys/fs/nr_open"),
            (&limits.files_open, "/proc/sys/fs/file-nr"),
            (&limits.file_max, "/proc/sys/fs/file-max"),
            (
                &limits.max_user_watches,
                "/proc/sys/fs/epoll/max_user_watches",
            ),
            (&limits.mem_total_bytes, "/proc/meminfo"),
            (&limits.nofile_hard, "/proc/self/limits"),
            (&limits.somaxconn, "/proc/sys/net/core/somaxconn"),
        ] {
            let Reading::Unreadable { unreadable } = reading else {
                panic!("{path}: {reading:?}");
            };
            assert!(unreadable.starts_with(path), "{unreadable}");
        }
        assert!(matches!(limits.tcp_mem, Reading::Unreadable { .. }));
        assert!(matches!(limits.admin, Reading::Unreadable { .. }));
    }

    #[test]
    fn a_capability_within_a_user_namespace_does_not_count() {
        let machine = Machine::ordinary();
        machine.write("proc/self/status", "CapEff:\t000001fffeffffff\n");
        machine.write("proc/self/uid_map", "         0          0 4294967295\n");
        assert_eq!(machine.limits().admin, Reading::Known(true));
        machine.write("proc/self/uid_map", "         0       1000          1\n");
        assert_eq!(machine.limits().admin, Reading::Known(false));
    }
}
