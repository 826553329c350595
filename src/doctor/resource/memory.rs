//! Memory: the machine's, a control group's, mappings, and memory promised to processes.

use super::super::limits::MachineLimits;
use super::super::remedy::{Remedy, rounded};
use super::super::setup::{CLIENT_BYTES, SERVER_BYTES, Setup};
use super::{Allowance, Resource};
use crate::figures::{memory, whole};
use crate::reactor::CHUNK;

/// One part in this many of the machine's memory is kept for the rest of the machine. With less
/// left, the kernel kills processes before it refuses memory.
const MEMORY_RESERVE_PARTS: u64 = 20;
/// The default of `vm.overcommit_memory`: the kernel estimates how much it can promise.
const ESTIMATED_OVERCOMMIT: u64 = 0;

const MAPPINGS_NAME: &str = "vm.max_map_count";
const COMMIT_NAME: &str = "vm.overcommit_memory";

/// Mappings of a process.
pub(super) const MAPPINGS: Resource = Resource {
    name: MAPPINGS_NAME,
    is_physical: false,
    allows: |limits, setup| {
        let most = limits.max_map_count.number()?;
        let chunks = most.saturating_sub(setup.own_mappings());
        let chunk = CHUNK as u64;
        Some(Allowance {
            connections: chunks.saturating_mul(chunk),
            why: format!(
                "{} mappings, 1 per {} connections",
                whole(most),
                whole(chunk)
            ),
        })
    },
    remedies: |_, setup, target| {
        let own = setup.with_most_reactors().own_mappings();
        let needed = rounded(target.div_ceil(CHUNK as u64) + own);
        vec![Remedy::sysctl(MAPPINGS_NAME, needed)]
    },
};

/// Memory that may be promised to processes.
pub(in super::super) const COMMIT: Resource = Resource {
    name: COMMIT_NAME,
    is_physical: false,
    allows: allowed_by_commit_limit,
    remedies: |_, _, _| vec![Remedy::sysctl(COMMIT_NAME, ESTIMATED_OVERCOMMIT)],
};

/// Memory of the machine.
pub(super) const MACHINE: Resource = Resource {
    name: "memory",
    is_physical: true,
    allows: allowed_by_machine,
    remedies: |limits, setup, target| {
        let available = limits.mem_available_bytes.number().unwrap_or(0);
        let needed = target.saturating_mul(setup.bytes_per_connection()) + reserve(limits);
        let more = memory(needed.saturating_sub(available));
        vec![Remedy::advice(format!("{more} more memory"))]
    },
};

/// Memory of the control group.
pub(super) const GROUP: Resource = Resource {
    name: "cgroup memory",
    is_physical: false,
    allows: |limits, setup| {
        let quota = limits.cgroup_memory.known()?;
        let each = setup.bytes_per_connection();
        Some(Allowance {
            connections: quota.free / each,
            why: format!(
                "{} left in {}, {} B per connection",
                memory(quota.free),
                quota.file.display(),
                whole(each)
            ),
        })
    },
    remedies: |limits, setup, target| {
        let used = limits.cgroup_memory.known().map_or(0, |it| it.used());
        let needed = target.saturating_mul(setup.bytes_per_connection()) + used;
        vec![Remedy::unit("MemoryMax", rounded(needed))]
    },
};

fn allowed_by_commit_limit(limits: &MachineLimits, setup: &Setup) -> Option<Allowance> {
    if !limits.forbids_overcommit() {
        return None;
    }
    let most = limits.commit_limit_bytes.number()?;
    let free = most.saturating_sub(limits.committed_bytes.number().unwrap_or(0));
    let each = SERVER_BYTES + if setup.both_ends { CLIENT_BYTES } else { 0 };
    Some(Allowance {
        connections: free / each,
        why: format!(
            "{} may still be promised, {each} B per connection",
            memory(free)
        ),
    })
}

fn allowed_by_machine(limits: &MachineLimits, setup: &Setup) -> Option<Allowance> {
    let available = limits.mem_available_bytes.number()?;
    let reserve = reserve(limits);
    let each = setup.bytes_per_connection();
    Some(Allowance {
        connections: available.saturating_sub(reserve) / each,
        why: format!(
            "{} available, {} of it kept for the rest of the machine, {} B per connection",
            memory(available),
            memory(reserve),
            whole(each)
        ),
    })
}

fn reserve(limits: &MachineLimits) -> u64 {
    limits.mem_total_bytes.number().unwrap_or(0) / MEMORY_RESERVE_PARTS
}
