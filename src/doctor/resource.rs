//! What a connection uses up, one by one: how many connections each thing allows, and what raises
//! it. Pure: from readings to numbers and lines.

use serde::Serialize;

use super::limits::{Limits, UNLIMITED};
use crate::figures::{memory, whole};
use crate::os::descriptors::FdTables;
use crate::reactor::CHUNK;
use crate::rooms::MAX_REACTORS;

/// Kernel memory of one end of an idle connection, in bytes: socket, inode, dentry, file, epoll
/// item and its wait. Measured on Linux 6.18: 8,366 B of slab for both ends of each of 2,000,000
/// connections, 5,000 B of which are the two sockets. Kernels whose sockets are smaller need down
/// to 3,100 B an end; too high a figure errs on the side of a server that isn't killed.
const KERNEL_BYTES_PER_END: u64 = 4_200;
/// Kernel memory of one short frame that its receiver has not read yet, in bytes (measured: 1,100
/// B of slab, and one page of `tcp_mem`). A fan-out to all leaves one with everybody who is slower
/// than the server; it pauses while much is in flight, yet not for ever.
pub(super) const UNREAD_FRAME_BYTES: u64 = 1_100;
/// User memory of a connection of the server, in bytes: its entry, its membership, its share of
/// what the allocator keeps. Measured with 2,000,000 connections: 57.
const SERVER_BYTES: u64 = 64;
/// User memory of a connection of the load generator, in bytes. Measured with 2,000,000: 35.
const CLIENT_BYTES: u64 = 40;
/// What of the machine's memory the rest of it is left: one part of so many. With less the kernel
/// kills before it refuses.
const MEMORY_RESERVE_PARTS: u64 = 20;

/// Descriptors of a table that are no connections: standard streams, the snapshot, signals, poll,
/// listeners, the spare one.
const TABLE_DESCRIPTORS: u64 = 16;
/// Descriptors that a reactor adds to a table of all: its bell, poll, listeners and spare.
const REACTOR_DESCRIPTORS: u64 = 6;
/// Registrations that a reactor has beside its connections: its bell and listeners.
const REACTOR_WATCHES: u64 = 4;
/// Threads beside the reactors.
const OTHER_THREADS: u64 = 4;
/// Mappings of a process that has no connections.
const OTHER_MAPPINGS: u64 = 512;
/// Mappings that a reactor's thread has: its stack and its allocator's arena.
const REACTOR_MAPPINGS: u64 = 8;
/// How many standard deviations a table's share may lie above the mean. SO_REUSEPORT deals
/// connections out by hash, so the tables fill unevenly, and the first full one refuses.
const SPREAD_DEVIATIONS: u64 = 5;

/// The server that is to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Setup {
    pub(super) reactors: u64,
    pub(super) fd_tables: FdTables,
    /// Whether the clients run on this machine too.
    pub(super) both_ends: bool,
    /// The server's own limit; `None` if it is what is to be judged.
    #[serde(skip)]
    pub(super) max_connections: Option<u64>,
    /// The connections that are wanted, if a number is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wanted: Option<u64>,
}

impl Setup {
    fn ends(&self) -> u64 {
        1 + u64::from(self.both_ends)
    }

    /// The same with another number of reactors, each with its table.
    fn with_tables(&self, reactors: u64) -> Self {
        Self {
            reactors,
            fd_tables: FdTables::PerThread,
            ..*self
        }
    }

    /// How many connections fit if a table holds `descriptors`.
    fn held_by_tables(&self, descriptors: u64) -> u64 {
        let usable = descriptors.saturating_sub(TABLE_DESCRIPTORS);
        match self.fd_tables {
            FdTables::Shared => usable.saturating_sub(self.reactors * REACTOR_DESCRIPTORS),
            // Before the tables part, one holds what all reactors start with.
            FdTables::PerThread if usable < self.reactors * REACTOR_DESCRIPTORS => 0,
            FdTables::PerThread => {
                // Every table has a copy of every bell.
                let usable = usable.saturating_sub(self.reactors);
                let uneven = match self.reactors {
                    1 => 0,
                    _ => usable.isqrt().saturating_mul(SPREAD_DEVIATIONS),
                };
                usable.saturating_sub(uneven).saturating_mul(self.reactors)
            }
        }
    }

    /// How many descriptors a table must hold for `connections` to fit.
    fn descriptors_for(&self, connections: u64) -> u64 {
        match self.fd_tables {
            FdTables::Shared => {
                connections + TABLE_DESCRIPTORS + self.reactors * REACTOR_DESCRIPTORS
            }
            FdTables::PerThread => {
                let mean = connections.div_ceil(self.reactors);
                // The root is that of the table and not of the mean, hence the last two summands.
                let uneven = (mean.isqrt() + SPREAD_DEVIATIONS + 1) * SPREAD_DEVIATIONS;
                mean + uneven + TABLE_DESCRIPTORS + self.reactors
            }
        }
    }

    /// The fewest reactors with their own tables of `descriptors` each that hold `connections`.
    fn reactors_for(&self, connections: u64, descriptors: u64) -> Option<u64> {
        (1..=MAX_REACTORS as u64)
            .find(|&reactors| self.with_tables(reactors).held_by_tables(descriptors) >= connections)
    }

    /// Bytes of the machine's memory that a connection costs.
    fn bytes_per_connection(&self) -> u64 {
        let client = KERNEL_BYTES_PER_END + CLIENT_BYTES;
        let clients = if self.both_ends { client } else { 0 };
        KERNEL_BYTES_PER_END + SERVER_BYTES + UNREAD_FRAME_BYTES + clients
    }
}

/// What raises a bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Remedy {
    /// A setting of the kernel.
    Sysctl {
        /// Sets it until the machine starts again.
        line: String,
        /// Keeps it, in a file under `/etc/sysctl.d`.
        file_line: String,
    },
    /// A line of the `[Service]` section of a systemd unit.
    Unit { line: String },
    /// Flags of `ovation serve`.
    Flag { line: String },
    /// What no setting does.
    Advice { line: String },
}

impl Remedy {
    pub(super) fn sysctl(key: &str, value: impl std::fmt::Display) -> Self {
        Self::Sysctl {
            line: format!("sysctl -w {key}={value}"),
            file_line: format!("{key} = {value}"),
        }
    }

    fn unit(key: &str, value: u64) -> Self {
        let line = format!("{key}={value}");
        Self::Unit { line }
    }

    fn flag(line: String) -> Self {
        Self::Flag { line }
    }

    fn advice(line: String) -> Self {
        Self::Advice { line }
    }

    /// The line itself.
    pub(super) fn line(&self) -> &str {
        match self {
            Self::Sysctl { line, .. }
            | Self::Unit { line }
            | Self::Flag { line }
            | Self::Advice { line } => line,
        }
    }
}

/// Something that connections use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Descriptors,
    DescriptorCeiling,
    Files,
    EpollWatches,
    Tracked,
    Mappings,
    Commit,
    Memory,
    GroupMemory,
    GroupThreads,
    OwnLimit,
}

impl Resource {
    pub(super) const ALL: [Self; 11] = [
        Self::Descriptors,
        Self::DescriptorCeiling,
        Self::Files,
        Self::EpollWatches,
        Self::Tracked,
        Self::Mappings,
        Self::Commit,
        Self::Memory,
        Self::GroupMemory,
        Self::GroupThreads,
        Self::OwnLimit,
    ];

    /// What the system calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "RLIMIT_NOFILE",
            Self::DescriptorCeiling => "fs.nr_open",
            Self::Files => "fs.file-max",
            Self::EpollWatches => "fs.epoll.max_user_watches",
            Self::Tracked => "net.netfilter.nf_conntrack_max",
            Self::Mappings => "vm.max_map_count",
            Self::Commit => "vm.overcommit_memory",
            Self::Memory => "memory",
            Self::GroupMemory => "cgroup memory",
            Self::GroupThreads => "cgroup pids",
            Self::OwnLimit => "--max-connections",
        }
    }

    /// Whether no setting can give more of it.
    pub(super) fn is_physical(self) -> bool {
        self == Self::Memory
    }

    /// How many connections it allows, and how that comes about; `None` where it bounds nothing.
    pub(super) fn allows(self, limits: &Limits, setup: &Setup) -> Option<(u64, String)> {
        let ends = setup.ends();
        match self {
            Self::Descriptors => {
                let hard = limits.nofile_hard.number()?;
                Some((setup.held_by_tables(hard), tables(hard, setup)))
            }
            Self::DescriptorCeiling => {
                let most = limits.nr_open.number()?;
                Some((setup.held_by_tables(most), tables(most, setup)))
            }
            Self::Files => {
                if limits.admin.known() == Some(&true) {
                    return None;
                }
                let most = limits.file_max.number()?;
                let open = limits.files_open.number().unwrap_or(0);
                let free = most.saturating_sub(open.saturating_add(own_files(setup)));
                let why = format!("{} files free, {ends} a connection", whole(free));
                Some((free / ends, why))
            }
            Self::EpollWatches => {
                let most = limits.max_user_watches.number()?;
                let free = most.saturating_sub(setup.reactors * REACTOR_WATCHES);
                let why = format!("{} watches a user, {ends} a connection", whole(most));
                Some((free / ends, why))
            }
            Self::Tracked => {
                let most = limits.conntrack_max.number()?;
                let tracked = limits.conntrack_count.number().unwrap_or(0);
                if tracked == 0 {
                    return None;
                }
                let free = most.saturating_sub(tracked);
                Some((
                    free,
                    format!("{} entries free, 1 a connection", whole(free)),
                ))
            }
            Self::Mappings => {
                let most = limits.max_map_count.number()?;
                let chunks = most.saturating_sub(own_mappings(setup));
                let why = format!(
                    "{} mappings, 1 for {} connections",
                    whole(most),
                    whole(CHUNK as u64)
                );
                Some((chunks.saturating_mul(CHUNK as u64), why))
            }
            Self::Commit => {
                if limits.overcommit_memory.number() != Some(2) {
                    return None;
                }
                let most = limits.commit_limit_bytes.number()?;
                let free = most.saturating_sub(limits.committed_bytes.number().unwrap_or(0));
                let each = SERVER_BYTES + if setup.both_ends { CLIENT_BYTES } else { 0 };
                let why = format!(
                    "{} may still be promised, {each} B a connection",
                    memory(free)
                );
                Some((free / each, why))
            }
            Self::Memory => {
                let available = limits.mem_available_bytes.number()?;
                let reserve = limits.mem_total_bytes.number().unwrap_or(0) / MEMORY_RESERVE_PARTS;
                let each = setup.bytes_per_connection();
                let why = format!(
                    "{} available, {} of it for the rest, {} B a connection",
                    memory(available),
                    memory(reserve),
                    whole(each)
                );
                Some((available.saturating_sub(reserve) / each, why))
            }
            Self::GroupMemory => {
                let quota = limits.cgroup_memory.known()?;
                let each = setup.bytes_per_connection();
                let why = format!(
                    "{} left of {}, {} B a connection",
                    memory(quota.free),
                    quota.file.display(),
                    whole(each)
                );
                Some((quota.free / each, why))
            }
            Self::GroupThreads => {
                let quota = limits.cgroup_pids.known()?;
                let needed = threads(setup.reactors);
                if needed <= quota.free {
                    return None;
                }
                let why = format!(
                    "{} threads left of {}, {needed} needed to start",
                    quota.free,
                    quota.file.display()
                );
                Some((0, why))
            }
            Self::OwnLimit => {
                let most = setup.max_connections?;
                Some((most, "the server's own default".to_owned()))
            }
        }
    }

    /// What makes it allow `target` connections: any one of these.
    pub(super) fn remedies(self, limits: &Limits, setup: &Setup, target: u64) -> Vec<Remedy> {
        let ends = setup.ends();
        match self {
            Self::Descriptors => {
                let needed = setup.descriptors_for(target);
                // The kernel refuses a limit above its ceiling, which rounding must not pass.
                let limit = match limits.nr_open.number() {
                    Some(ceiling) if needed <= ceiling => rounded(needed).min(ceiling),
                    _ => rounded(needed),
                };
                let unit = Remedy::unit("LimitNOFILE", limit);
                more_tables(limits, setup, target).chain([unit]).collect()
            }
            Self::DescriptorCeiling => {
                let needed = rounded(setup.descriptors_for(target));
                let sysctl = Remedy::sysctl(self.name(), needed);
                more_tables(limits, setup, target).chain([sysctl]).collect()
            }
            Self::Files => {
                let open = limits.files_open.number().unwrap_or(0);
                let needed =
                    (target * ends + own_files(&most_reactors(setup))).saturating_add(open);
                vec![Remedy::sysctl(self.name(), rounded(needed))]
            }
            Self::EpollWatches => {
                let needed = rounded(target * ends + MAX_REACTORS as u64 * REACTOR_WATCHES);
                vec![Remedy::sysctl(self.name(), needed)]
            }
            Self::Tracked => {
                let tracked = limits.conntrack_count.number().unwrap_or(0);
                vec![Remedy::sysctl(
                    self.name(),
                    rounded(target.saturating_add(tracked)),
                )]
            }
            Self::Mappings => {
                let own = own_mappings(&most_reactors(setup));
                let needed = rounded(target.div_ceil(CHUNK as u64) + own);
                vec![Remedy::sysctl(self.name(), needed)]
            }
            Self::Commit => vec![Remedy::sysctl(self.name(), 0)],
            Self::Memory => {
                let available = limits.mem_available_bytes.number().unwrap_or(0);
                let reserve = limits.mem_total_bytes.number().unwrap_or(0) / MEMORY_RESERVE_PARTS;
                let needed = target.saturating_mul(setup.bytes_per_connection()) + reserve;
                let more = memory(needed.saturating_sub(available));
                vec![Remedy::advice(format!("{more} more of memory"))]
            }
            Self::GroupMemory => {
                let in_use = limits
                    .cgroup_memory
                    .known()
                    .map_or(0, |quota| quota.max - quota.free.min(quota.max));
                let needed = target.saturating_mul(setup.bytes_per_connection()) + in_use;
                vec![Remedy::unit("MemoryMax", rounded(needed))]
            }
            Self::GroupThreads => {
                let in_use = limits
                    .cgroup_pids
                    .known()
                    .map_or(0, |quota| quota.max - quota.free.min(quota.max));
                let needed = threads(MAX_REACTORS as u64) + in_use;
                vec![Remedy::unit("TasksMax", rounded(needed))]
            }
            Self::OwnLimit => vec![Remedy::flag(format!("--max-connections {target}"))],
        }
    }
}

fn tables(descriptors: u64, setup: &Setup) -> String {
    match (setup.fd_tables, setup.reactors) {
        (FdTables::Shared, _) => format!("{} descriptors, one table", whole(descriptors)),
        (FdTables::PerThread, 1) => format!("{} descriptors, 1 reactor", whole(descriptors)),
        (FdTables::PerThread, reactors) => format!(
            "{} descriptors for each of {reactors} reactors, less what they fill unevenly",
            whole(descriptors)
        ),
    }
}

/// More reactors, where that helps and the control group lets them start.
fn more_tables(
    limits: &Limits,
    setup: &Setup,
    target: u64,
) -> impl Iterator<Item = Remedy> + use<> {
    let least = |a: Option<u64>, b: Option<u64>| a.unwrap_or(UNLIMITED).min(b.unwrap_or(UNLIMITED));
    let descriptors = least(limits.nofile_hard.number(), limits.nr_open.number());
    let threads_left = limits.cgroup_pids.known().map_or(UNLIMITED, |it| it.free);
    let reactors = setup
        .reactors_for(target, descriptors)
        .filter(|&reactors| threads(reactors) <= threads_left);
    let tables = match setup.fd_tables {
        FdTables::PerThread => "",
        FdTables::Shared => "--fd-tables per-reactor ",
    };
    reactors
        .filter(|_| cfg!(target_os = "linux"))
        .map(|reactors| Remedy::flag(format!("{tables}--reactors {reactors}")))
        .into_iter()
}

fn most_reactors(setup: &Setup) -> Setup {
    setup.with_tables(MAX_REACTORS as u64)
}

fn own_files(setup: &Setup) -> u64 {
    TABLE_DESCRIPTORS + setup.reactors * REACTOR_DESCRIPTORS
}

fn own_mappings(setup: &Setup) -> u64 {
    OTHER_MAPPINGS + setup.reactors * REACTOR_MAPPINGS
}

fn threads(reactors: u64) -> u64 {
    reactors + OTHER_THREADS
}

/// The next number above that has two digits and then zeros only.
fn rounded(number: u64) -> u64 {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    let step = 10_u64.pow(digits.saturating_sub(2));
    number.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, setup};
    use super::*;

    fn allows(resource: Resource, machine: &Machine, setup: &Setup) -> Option<u64> {
        resource.allows(&machine.limits(), setup).map(|it| it.0)
    }

    #[test]
    fn tables_multiply_what_descriptors_allow() {
        let machine = Machine::ordinary();
        let one = allows(Resource::Descriptors, &machine, &setup(1));
        assert_eq!(one, Some(20_000 - 16 - 1));
        let two = allows(Resource::Descriptors, &machine, &setup(2));
        assert_eq!(two, Some(2 * (19_982 - 5 * 141)));
        let shared = Setup {
            fd_tables: FdTables::Shared,
            ..setup(2)
        };
        let shared = allows(Resource::Descriptors, &machine, &shared);
        assert_eq!(shared, Some(20_000 - 16 - 2 * 6));
    }

    #[test]
    fn both_ends_count_twice_where_they_share() {
        let machine = Machine::ordinary();
        machine.write("proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
        machine.write("proc/sys/net/netfilter/nf_conntrack_count", "10\n");
        let (one, both) = (
            setup(2),
            Setup {
                both_ends: true,
                ..setup(2)
            },
        );
        for (resource, divisor) in [
            (Resource::Descriptors, 1),
            (Resource::Files, 2),
            (Resource::EpollWatches, 2),
            (Resource::Tracked, 1),
        ] {
            let one = allows(resource, &machine, &one).unwrap();
            let both = allows(resource, &machine, &both);
            assert_eq!(both, Some(one / divisor), "{resource:?}");
        }
        let memory = (24_245_116_928 - 24_684_096 * 1024 / 20) / 9_604;
        assert_eq!(allows(Resource::Memory, &machine, &both), Some(memory));
    }

    #[test]
    fn what_is_not_enforced_bounds_nothing() {
        let machine = Machine::ordinary();
        assert_eq!(
            allows(Resource::Files, &machine, &setup(1)),
            Some(2_466_183 - 400 - 22)
        );
        machine.write("proc/self/status", "CapEff:\t000001ffffffffff\n");
        assert_eq!(allows(Resource::Files, &machine, &setup(1)), None);
        machine.write("proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
        machine.write("proc/sys/net/netfilter/nf_conntrack_count", "0\n");
        assert_eq!(allows(Resource::Tracked, &machine, &setup(1)), None);
        assert_eq!(allows(Resource::Commit, &machine, &setup(1)), None);
        machine.write("proc/sys/vm/overcommit_memory", "2\n");
        let commit = allows(Resource::Commit, &machine, &setup(1));
        assert_eq!(commit, Some((12_342_048 - 100_000) * 1024 / 64));
    }

    #[test]
    fn a_group_without_room_for_the_threads_allows_nothing() {
        let machine = Machine::ordinary();
        machine.write("proc/self/cgroup", "0::/\n");
        machine.write("sys/fs/cgroup/pids.max", "20\n");
        machine.write("sys/fs/cgroup/pids.current", "5\n");
        assert_eq!(allows(Resource::GroupThreads, &machine, &setup(2)), None);
        assert_eq!(
            allows(Resource::GroupThreads, &machine, &setup(12)),
            Some(0)
        );
        let limits = machine.limits();
        let remedies = Resource::Descriptors.remedies(&limits, &setup(2), 1_000_000);
        assert_eq!(remedies, [Remedy::unit("LimitNOFILE", 510_000)]);
    }

    #[test]
    fn remedies_suffice() {
        for (reactors, target) in [(1, 30_000), (2, 2_000_000), (3, 9_999), (256, 50_000_000)] {
            let setup = setup(reactors);
            for fd_tables in [FdTables::PerThread, FdTables::Shared] {
                let setup = Setup { fd_tables, ..setup };
                let needed = setup.descriptors_for(target);
                assert!(setup.held_by_tables(needed) >= target, "{setup:?} {target}");
                assert!(setup.held_by_tables(rounded(needed)) >= target);
            }
            if let Some(more) = setup.reactors_for(target, 20_000) {
                assert!(setup.with_tables(more).held_by_tables(20_000) >= target);
                assert!(more == 1 || setup.with_tables(more - 1).held_by_tables(20_000) < target);
            }
        }
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
        for resource in Resource::ALL {
            resource.allows(&limits, &setup);
            resource.remedies(&limits, &setup, u64::from(u32::MAX));
        }
    }

    #[test]
    fn numbers_are_rounded_up() {
        assert_eq!(rounded(0), 0);
        assert_eq!(rounded(7), 7);
        assert_eq!(rounded(101), 110);
        assert_eq!(rounded(4_001_024), 4_100_000);
        assert_eq!(rounded(4_000_000), 4_000_000);
    }
}
