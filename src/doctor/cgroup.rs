//! Reads what control groups leave to this process (cgroups(7), versions 1 and 2).

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::reading::{Reading, Tree, limit};

/// Version 1 writes "no limit" as the last whole page below 2^63. Limits from here on mean it.
const V1_UNLIMITED: u64 = 1 << 62;
/// Where control groups are mounted: version 2 itself, and the controllers of version 1.
const MOUNTS: &str = "sys/fs/cgroup";

/// The limit of a control group, and how much of it is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Quota {
    /// The file that sets the limit.
    pub(super) file: PathBuf,
    /// The limit: bytes, or processes and threads.
    pub(super) max: u64,
    /// The part that is not in use. Reclaimable memory counts as not in use.
    pub(super) free: u64,
}

impl Quota {
    /// Returns the part that is in use.
    pub(super) fn used(&self) -> u64 {
        self.max.saturating_sub(self.free)
    }
}

/// The files of a controller. Each array has the names of version 2 and version 1.
pub(super) struct Controller {
    name: &'static str,
    max: [&'static str; 2],
    used: [&'static str; 2],
    /// Names in the file `memory.stat` of memory that the kernel can reclaim.
    reclaimable: [&'static [&'static str]; 2],
}

pub(super) const MEMORY: Controller = Controller {
    name: "memory",
    max: ["memory.max", "memory.limit_in_bytes"],
    used: ["memory.current", "memory.usage_in_bytes"],
    reclaimable: [
        &["inactive_file", "active_file"],
        &["total_inactive_file", "total_active_file"],
    ],
};
pub(super) const PIDS: Controller = Controller {
    name: "pids",
    max: ["pids.max"; 2],
    used: ["pids.current"; 2],
    reclaimable: [&[]; 2],
};

/// The control group of this process for one controller.
struct Group {
    /// 0 for version 2 and 1 for version 1: the index into a [`Controller`]'s arrays.
    version: usize,
    mount: PathBuf,
    /// Path below the mount.
    path: PathBuf,
}

/// Returns the quota with the least left among the control group of this process and the groups
/// above it.
pub(super) fn least_quota(tree: &Tree<'_>, controller: &Controller) -> Reading<Quota> {
    own_group(tree, controller).and_then(|group| {
        let mut least: Reading<Quota> = Reading::Absent;
        for path in group.path.ancestors() {
            let found = quota(tree, controller, group.version, &group.mount.join(path));
            least = match (least, found) {
                (Reading::Known(a), Reading::Known(b)) if a.free <= b.free => Reading::Known(a),
                (_, Reading::Known(b)) => Reading::Known(b),
                (Reading::Absent, other) => other,
                (least, _) => least,
            };
        }
        least
    })
}

fn own_group(tree: &Tree<'_>, controller: &Controller) -> Reading<Group> {
    tree.text("proc/self/cgroup").and_then(|text| {
        let groups = || {
            text.lines().filter_map(|line| {
                let (_, line) = line.split_once(':')?;
                line.split_once(':')
            })
        };
        let has_controller = |names: &str| names.split(',').any(|name| name == controller.name);
        let v1 = groups().find(|(names, _)| has_controller(names));
        let v2 = groups().find(|(names, _)| names.is_empty());
        let mounts = Path::new(MOUNTS);
        match (v1, v2) {
            (Some((_, path)), _) => Reading::Known(Group {
                version: 1,
                mount: mounts.join(controller.name),
                path: below_mount(path),
            }),
            (None, Some((_, path))) => Reading::Known(Group {
                version: 0,
                mount: mounts.to_owned(),
                path: below_mount(path),
            }),
            (None, None) => Reading::Absent,
        }
    })
}

fn quota(tree: &Tree<'_>, controller: &Controller, version: usize, group: &Path) -> Reading<Quota> {
    let file = group.join(controller.max[version]);
    let max = tree.parsed(&file, |text| limit(text.trim()));
    max.and_then(|max| {
        if max >= V1_UNLIMITED {
            return Reading::Absent;
        }
        let used = tree.number(group.join(controller.used[version]));
        // Without `memory.stat`, no memory counts as reclaimable.
        let stat = tree.text(group.join("memory.stat"));
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

/// Returns a control group's path relative to the mount; the mount's root if the group lies outside
/// of it.
fn below_mount(path: &str) -> PathBuf {
    let path = path.trim_start_matches('/');
    if path.split('/').any(|part| part == "..") {
        return PathBuf::new();
    }
    path.into()
}

/// Returns the value of a line `NAME 123`.
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
    fn the_group_with_the_least_left_counts() {
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
    fn version_1_has_other_names_and_a_number_for_no_limit() {
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
