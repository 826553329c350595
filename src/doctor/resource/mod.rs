//! The resources that connections use up: how many connections each allows, and which changes raise
//! it. Pure: from readings to numbers and lines.
//!
//! - `descriptors`: RLIMIT_NOFILE, `fs.nr_open`, `fs.file-max`, epoll watches.
//! - `memory`: the machine's memory, a control group's, mappings, promised memory.
//! - `other`: tracked connections, threads, the server's own limit.

mod descriptors;
mod memory;
mod other;

use super::limits::MachineLimits;
use super::remedy::Remedy;
use super::setup::Setup;

pub(super) use descriptors::FILES;
pub(super) use memory::COMMIT;
pub(super) use other::TRACKED;

/// How many connections a resource allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) connections: u64,
    /// How the number comes about.
    pub(super) why: String,
}

/// A resource that connections use up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resource {
    /// The system's name for it.
    pub(super) name: &'static str,
    /// Whether no setting can provide more of it.
    pub(super) is_physical: bool,
    /// Returns how many connections it allows; `None` if it doesn't limit connections.
    pub(super) allows: fn(&MachineLimits, &Setup) -> Option<Allowance>,
    /// Returns the changes that make it allow a number of connections. Any one of them suffices.
    pub(super) remedies: fn(&MachineLimits, &Setup, u64) -> Vec<Remedy>,
}

/// All resources. The report keeps this order among resources that allow the same number of
/// connections.
pub(super) const RESOURCES: [Resource; 11] = [
    descriptors::NOFILE,
    descriptors::NR_OPEN,
    descriptors::FILES,
    descriptors::EPOLL_WATCHES,
    other::TRACKED,
    memory::MAPPINGS,
    memory::COMMIT,
    memory::MACHINE,
    memory::GROUP,
    other::GROUP_THREADS,
    other::SERVER_LIMIT,
];

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, setup};
    use super::*;
    use crate::os::descriptors::FdTables;

    fn allows(resource: Resource, machine: &Machine, setup: &Setup) -> Option<u64> {
        let allowance = (resource.allows)(&machine.limits(), setup)?;
        Some(allowance.connections)
    }

    #[test]
    fn each_reactors_table_adds_connections() {
        let machine = Machine::ordinary();
        let one = allows(descriptors::NOFILE, &machine, &setup(1));
        assert_eq!(one, Some(20_000 - 16 - 1));
        let two = allows(descriptors::NOFILE, &machine, &setup(2));
        assert_eq!(two, Some(2 * (19_982 - 5 * 141)));
        let shared = Setup {
            fd_tables: FdTables::Shared,
            ..setup(2)
        };
        let shared = allows(descriptors::NOFILE, &machine, &shared);
        assert_eq!(shared, Some(20_000 - 16 - 2 * 6));
    }

    #[test]
    fn both_ends_halve_what_the_machine_shares() {
        let machine = Machine::ordinary();
        machine.write("proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
        machine.write("proc/sys/net/netfilter/nf_conntrack_count", "10\n");
        let one = setup(2);
        let both = Setup {
            both_ends: true,
            ..one
        };
        for (resource, divisor) in [
            (descriptors::NOFILE, 1),
            (FILES, 2),
            (descriptors::EPOLL_WATCHES, 2),
            (TRACKED, 1),
        ] {
            let one = allows(resource, &machine, &one).unwrap();
            let both = allows(resource, &machine, &both);
            assert_eq!(both, Some(one / divisor), "{resource:?}");
        }
        let expected = (24_245_116_928 - 24_684_096 * 1024 / 20) / 9_604;
        assert_eq!(allows(memory::MACHINE, &machine, &both), Some(expected));
    }

    #[test]
    fn a_limit_that_is_not_enforced_bounds_nothing() {
        let machine = Machine::ordinary();
        assert_eq!(
            allows(FILES, &machine, &setup(1)),
            Some(2_466_183 - 400 - 22)
        );
        machine.write("proc/self/status", "CapEff:\t000001ffffffffff\n");
        assert_eq!(allows(FILES, &machine, &setup(1)), None);
        machine.write("proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
        machine.write("proc/sys/net/netfilter/nf_conntrack_count", "0\n");
        assert_eq!(allows(TRACKED, &machine, &setup(1)), None);
        assert_eq!(allows(COMMIT, &machine, &setup(1)), None);
        machine.write("proc/sys/vm/overcommit_memory", "2\n");
        let commit = allows(COMMIT, &machine, &setup(1));
        assert_eq!(commit, Some((12_342_048 - 100_000) * 1024 / 64));
    }

    #[test]
    fn a_group_without_room_for_the_threads_allows_nothing() {
        let machine = Machine::ordinary();
        machine.write("proc/self/cgroup", "0::/\n");
        machine.write("sys/fs/cgroup/pids.max", "20\n");
        machine.write("sys/fs/cgroup/pids.current", "5\n");
        // 15 threads are left, and a server has 7 threads apart from its reactors.
        assert_eq!(allows(other::GROUP_THREADS, &machine, &setup(8)), None);
        assert_eq!(allows(other::GROUP_THREADS, &machine, &setup(9)), Some(0));
        let limits = machine.limits();
        let remedies = (descriptors::NOFILE.remedies)(&limits, &setup(2), 1_000_000);
        assert_eq!(remedies, [Remedy::unit("LimitNOFILE", 510_000)]);
    }

    #[test]
    fn no_number_overflows() {
        let machine = Machine::ordinary();
        let huge = "18446744073709551615\n";
        for path in [
            "proc/sys/fs/nr_open",
            "proc/sys/fs/file-max",
            "proc/sys/fs/epoll/max_user_watches",
            "proc/sys/vm/max_map_count",
        ] {
            machine.write(path, huge);
        }
        machine.write(
            "proc/self/limits",
            "Max open files            unlimited            unlimited            files\n",
        );
        let limits = machine.limits();
        let setup = Setup {
            both_ends: true,
            ..setup(256)
        };
        for resource in RESOURCES {
            (resource.allows)(&limits, &setup);
            (resource.remedies)(&limits, &setup, u64::from(u32::MAX));
        }
    }
}
