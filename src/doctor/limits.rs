//! Reads what bounds connections on a machine. A file that isn't there is no error, and neither
//! is one that holds something unexpected: each reading says which of the two it was.
//!
//! All paths are taken below a root, so that a machine can be made up.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::os::meminfo;
use crate::os::procfs::{numbers, value_of};

/// Stands for "no limit" where the kernel says so in words.
pub(super) const UNLIMITED: u64 = u64::MAX;
/// From here on a v1 control group means "no limit", which it writes as the last whole page.
const CGROUP_V1_UNLIMITED: u64 = 1 << 62;
/// The bit of CAP_SYS_ADMIN in a set of capabilities.
const CAP_SYS_ADMIN: u32 = 21;
/// What the map of user ids says where a process has those of the machine itself.
const INITIAL_UID_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// What was found in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Reading<T> {
    /// The value.
    Known(T),
    /// Something that can't be read or understood, and what that was.
    Unreadable { unreadable: String },
    /// Nothing: this machine has no such thing.
    Absent,
}

impl<T> Reading<T> {
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unreadable { .. } | Self::Absent => None,
        }
    }

    fn and_then<U>(self, next: impl FnOnce(T) -> Reading<U>) -> Reading<U> {
        match self {
            Self::Known(value) => next(value),
            Self::Unreadable { unreadable } => Reading::Unreadable { unreadable },
            Self::Absent => Reading::Absent,
        }
    }

    fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Absent => other(),
            found => found,
        }
    }

    fn unreadable(path: &Path, what: impl std::fmt::Display) -> Self {
        Self::Unreadable {
            unreadable: format!("{}: {what}", path.display()),
        }
    }
}

impl Reading<u64> {
    pub(super) fn number(&self) -> Option<u64> {
        self.known().copied()
    }
}

/// The limit of a control group, and what of it is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Quota {
    /// The file that sets it.
    pub(super) file: PathBuf,
    /// The limit: bytes, or processes and threads.
    pub(super) max: u64,
    /// What is not in use; of memory, what can be had back counts as not in use.
    pub(super) free: u64,
}

/// Everything that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Limits {
    /// RLIMIT_NOFILE of this process: what it has.
    pub(super) nofile_soft: Reading<u64>,
    /// And what it may raise that to, as the server does.
    pub(super) nofile_hard: Reading<u64>,
    pub(super) nr_open: Reading<u64>,
    pub(super) file_max: Reading<u64>,
    /// Files that are open on the machine.
    pub(super) files_open: Reading<u64>,
    /// Whether this process has CAP_SYS_ADMIN, against which `file_max` is not enforced.
    pub(super) admin: Reading<bool>,
    pub(super) max_user_watches: Reading<u64>,
    pub(super) somaxconn: Reading<u64>,
    pub(super) max_syn_backlog: Reading<u64>,
    pub(super) syncookies: Reading<u64>,
    /// First and last port.
    pub(super) local_ports: Reading<[u64; 2]>,
    /// Low, pressure and high, in pages.
    pub(super) tcp_mem: Reading<[u64; 3]>,
    /// Least, default and most of a receive buffer, in bytes.
    pub(super) tcp_rmem: Reading<[u64; 3]>,
    /// The same of a send buffer.
    pub(super) tcp_wmem: Reading<[u64; 3]>,
    pub(super) conntrack_max: Reading<u64>,
    /// Connections that are tracked now.
    pub(super) conntrack_count: Reading<u64>,
    pub(super) max_map_count: Reading<u64>,
    pub(super) overcommit_memory: Reading<u64>,
    pub(super) mem_total_bytes: Reading<u64>,
    pub(super) mem_available_bytes: Reading<u64>,
    /// What may be promised to processes, where the kernel promises no more than it has.
    pub(super) commit_limit_bytes: Reading<u64>,
    /// What of that is promised.
    pub(super) committed_bytes: Reading<u64>,
    pub(super) cgroup_memory: Reading<Quota>,
    pub(super) cgroup_pids: Reading<Quota>,
    pub(super) cores: u64,
    pub(super) page_bytes: u64,
}

impl Limits {
    /// Reads the machine whose files lie below `root`.
    pub(super) fn read(root: &Path) -> Self {
        let tree = Tree(root);
        let nofile = |column| tree.process_limit("Max open files", column);
        let conntrack = |name: &str| {
            tree.number(&format!("proc/sys/net/netfilter/{name}"))
                .or_else(|| tree.number(&format!("proc/sys/net/{name}")))
        };
        Self {
            nofile_soft: nofile(0),
            nofile_hard: nofile(1),
            nr_open: tree.number("proc/sys/fs/nr_open"),
            file_max: tree.number("proc/sys/fs/file-max"),
            files_open: tree
                .numbers::<3>("proc/sys/fs/file-nr")
                .and_then(|[open, unused, _]| Reading::Known(open.saturating_sub(unused))),
            admin: tree.is_admin(),
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
            cgroup_memory: tree.least_quota(&MEMORY),
            cgroup_pids: tree.least_quota(&PIDS),
            cores: std::thread::available_parallelism().map_or(1, usize::from) as u64,
            page_bytes: rustix::param::page_size() as u64,
        }
    }
}

/// Where a controller of control groups keeps its limit and its use: in version 2, in version 1.
struct Controller {
    name: &'static str,
    max: [&'static str; 2],
    used: [&'static str; 2],
    /// In the file `memory.stat`, names of what can be had back.
    reclaimable: [&'static [&'static str]; 2],
}

const MEMORY: Controller = Controller {
    name: "memory",
    max: ["memory.max", "memory.limit_in_bytes"],
    used: ["memory.current", "memory.usage_in_bytes"],
    reclaimable: [
        &["inactive_file", "active_file"],
        &["total_inactive_file", "total_active_file"],
    ],
};
const PIDS: Controller = Controller {
    name: "pids",
    max: ["pids.max"; 2],
    used: ["pids.current"; 2],
    reclaimable: [&[]; 2],
};

struct Tree<'a>(&'a Path);

impl Tree<'_> {
    fn text(&self, path: impl AsRef<Path>) -> Reading<String> {
        let path = path.as_ref();
        match fs::read_to_string(self.0.join(path)) {
            Ok(text) => Reading::Known(text),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Reading::Absent,
                _ => Reading::unreadable(&Path::new("/").join(path), error),
            },
        }
    }

    fn parsed<T>(
        &self,
        path: impl AsRef<Path>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Reading<T> {
        let path = path.as_ref();
        self.text(path).and_then(|text| match parse(&text) {
            Some(value) => Reading::Known(value),
            None => {
                let path = Path::new("/").join(path);
                Reading::unreadable(&path, "has another form than expected")
            }
        })
    }

    fn number(&self, path: &str) -> Reading<u64> {
        self.parsed(path, |text| text.trim().parse().ok())
    }

    fn numbers<const N: usize>(&self, path: &str) -> Reading<[u64; N]> {
        self.parsed(path, numbers)
    }

    fn meminfo(&self, kib: fn(&str) -> Option<u64>) -> Reading<u64> {
        let path = meminfo::PATH.trim_start_matches('/');
        self.parsed(path, |text| kib(text)?.checked_mul(1024))
    }

    /// A limit of this process: soft in column 0, hard in column 1.
    fn process_limit(&self, name: &str, column: usize) -> Reading<u64> {
        self.parsed("proc/self/limits", |text| {
            let columns = text.lines().find_map(|line| line.strip_prefix(name))?;
            limit(columns.split_whitespace().nth(column)?)
        })
    }

    /// Whether this process has CAP_SYS_ADMIN over the machine, and not over a namespace only.
    fn is_admin(&self) -> Reading<bool> {
        let capable = self.parsed("proc/self/status", |text| {
            let set = u64::from_str_radix(value_of(text, "CapEff")?, 16).ok()?;
            Some(set >> CAP_SYS_ADMIN & 1 == 1)
        });
        let initial = self.parsed("proc/self/uid_map", |text| {
            Some(text.split_whitespace().eq(INITIAL_UID_MAP))
        });
        capable.and_then(|capable| match initial {
            Reading::Known(initial) => Reading::Known(capable && initial),
            // A kernel without namespaces of users.
            Reading::Absent => Reading::Known(capable),
            unreadable => unreadable,
        })
    }

    /// The quota with the least left, of the control group of this process and those above it.
    fn least_quota(&self, controller: &Controller) -> Reading<Quota> {
        let (version, mount, group) = match self.group(controller.name) {
            Reading::Known(place) => place,
            Reading::Unreadable { unreadable } => return Reading::Unreadable { unreadable },
            Reading::Absent => return Reading::Absent,
        };
        let mut least: Reading<Quota> = Reading::Absent;
        for directory in group.ancestors() {
            let found = self.quota(controller, version, &mount.join(directory));
            least = match (least, found) {
                (Reading::Known(a), Reading::Known(b)) if a.free <= b.free => Reading::Known(a),
                (_, Reading::Known(b)) => Reading::Known(b),
                (Reading::Absent, other) => other,
                (least, _) => least,
            };
        }
        least
    }

    /// The version (as an index), the mount and the path of the control group that this process is
    /// in for a controller.
    fn group(&self, controller: &str) -> Reading<(usize, PathBuf, PathBuf)> {
        self.text("proc/self/cgroup").and_then(|text| {
            let groups = || {
                text.lines().filter_map(|line| {
                    let (_, line) = line.split_once(':')?;
                    line.split_once(':')
                })
            };
            let mounts = Path::new("sys/fs/cgroup");
            let v1 = groups().find(|(names, _)| names.split(',').any(|name| name == controller));
            let v2 = groups().find(|(names, _)| names.is_empty());
            match (v1, v2) {
                (Some((_, path)), _) => Reading::Known((1, mounts.join(controller), inside(path))),
                (None, Some((_, path))) => Reading::Known((0, mounts.to_owned(), inside(path))),
                (None, None) => Reading::Absent,
            }
        })
    }

    fn quota(&self, controller: &Controller, version: usize, group: &Path) -> Reading<Quota> {
        let file = group.join(controller.max[version]);
        let max = self.parsed(&file, |text| limit(text.trim()));
        max.and_then(|max| {
            if max >= CGROUP_V1_UNLIMITED {
                return Reading::Absent;
            }
            let used = self.parsed(group.join(controller.used[version]), |text| {
                text.trim().parse::<u64>().ok()
            });
            // Without this file everything in use counts as in use.
            let stat = self.text(group.join("memory.stat"));
            let reclaimable: u64 = controller.reclaimable[version]
                .iter()
                .filter_map(|name| stat_value(stat.known()?, name))
                .sum();
            used.or_else(|| Reading::Known(0)).and_then(|used| {
                Reading::Known(Quota {
                    file: Path::new("/").join(&file),
                    max,
                    free: max.saturating_sub(used.saturating_sub(reclaimable)),
                })
            })
        })
    }
}

/// A path of a control group relative to the mount; its root if it lies outside of what is mounted.
fn inside(path: &str) -> PathBuf {
    let path = path.trim_start_matches('/');
    if path.split('/').any(|part| part == "..") {
        return PathBuf::new();
    }
    path.into()
}

/// A number, or the kernel's words for none.
fn limit(word: &str) -> Option<u64> {
    match word {
        "max" | "unlimited" => Some(UNLIMITED),
        number => number.parse().ok(),
    }
}

/// The value of a line `NAME 123`.
fn stat_value(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::*;

    fn quota(file: &str, max: u64, free: u64) -> Reading<Quota> {
        Reading::Known(Quota {
            file: file.into(),
            max,
            free,
        })
    }

    #[test]
    fn a_machine_is_read() {
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
    fn an_empty_machine_has_nothing_and_is_no_error() {
        let machine = Machine::empty();
        let json = serde_json::to_value(machine.limits()).unwrap();
        for (name, value) in json.as_object().unwrap() {
            let is_given = ["cores", "page_bytes"].contains(&name.as_str());
            assert_eq!(value.is_null(), !is_given, "{name}: {value}");
        }
    }

    #[test]
    fn garbage_is_named_with_its_file() {
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
    fn capabilities_count_over_the_machine_only() {
        let machine = Machine::ordinary();
        machine.write("proc/self/status", "CapEff:\t000001fffeffffff\n");
        machine.write("proc/self/uid_map", "         0          0 4294967295\n");
        assert_eq!(machine.limits().admin, Reading::Known(true));
        machine.write("proc/self/uid_map", "         0       1000          1\n");
        assert_eq!(machine.limits().admin, Reading::Known(false));
    }

    #[test]
    fn the_tightest_group_above_this_process_counts() {
        let machine = Machine::ordinary();
        machine.write("proc/self/cgroup", "0::/system.slice/ovation.service\n");
        let slice = "sys/fs/cgroup/system.slice";
        machine.write(&format!("{slice}/ovation.service/memory.max"), "max\n");
        machine.write(&format!("{slice}/ovation.service/pids.max"), "garbage\n");
        machine.write(&format!("{slice}/memory.max"), "1000000\n");
        machine.write(&format!("{slice}/memory.current"), "500000\n");
        machine.write(
            &format!("{slice}/memory.stat"),
            "anon 1\ninactive_file 100000\nactive_file 50000\n",
        );
        let limits = machine.limits();
        let file = "/sys/fs/cgroup/system.slice/memory.max";
        assert_eq!(limits.cgroup_memory, quota(file, 1_000_000, 650_000));
        assert!(matches!(limits.cgroup_pids, Reading::Unreadable { .. }));
    }

    #[test]
    fn version_1_has_other_names_and_another_word_for_no_limit() {
        let machine = Machine::ordinary();
        machine.write("proc/self/cgroup", "8:cpu,memory:/box\n7:pids:/box\n0::/\n");
        let memory = "sys/fs/cgroup/memory";
        let unlimited = "9223372036854771712\n";
        machine.write(&format!("{memory}/memory.limit_in_bytes"), unlimited);
        assert_eq!(machine.limits().cgroup_memory, Reading::Absent);
        machine.write(&format!("{memory}/box/memory.limit_in_bytes"), "4096\n");
        machine.write(&format!("{memory}/box/memory.usage_in_bytes"), "5000\n");
        machine.write("sys/fs/cgroup/pids/box/pids.max", "100\n");
        machine.write("sys/fs/cgroup/pids/box/pids.current", "30\n");
        let limits = machine.limits();
        let file = "/sys/fs/cgroup/memory/box/memory.limit_in_bytes";
        assert_eq!(limits.cgroup_memory, quota(file, 4_096, 0));
        let file = "/sys/fs/cgroup/pids/box/pids.max";
        assert_eq!(limits.cgroup_pids, quota(file, 100, 70));
    }

    #[test]
    fn a_group_outside_of_the_mount_falls_back_to_its_root() {
        let machine = Machine::ordinary();
        machine.write("proc/self/cgroup", "0::/../../elsewhere\n");
        machine.write("sys/fs/cgroup/memory.max", "12345\n");
        let file = "/sys/fs/cgroup/memory.max";
        assert_eq!(machine.limits().cgroup_memory, quota(file, 12_345, 12_345));
    }
}
