//! Tracked connections, threads, and the server's own limit.

use super::super::limits::MachineLimits;
use super::super::remedy::{Remedy, rounded};
use super::super::setup::Setup;
use super::{Allowance, Resource};
use crate::figures::whole;

const TRACKED_NAME: &str = "net.netfilter.nf_conntrack_max";

/// Connections that the firewall tracks.
pub(in super::super) const TRACKED: Resource = Resource {
    name: TRACKED_NAME,
    is_physical: false,
    allows: |limits, _| {
        let most = limits.conntrack_max.number()?;
        let tracked = limits.conntrack_count.number().unwrap_or(0);
        let free = most.saturating_sub(tracked);
        (tracked > 0).then(|| Allowance {
            connections: free,
            why: format!("{} entries free, 1 per connection", whole(free)),
        })
    },
    remedies: |limits, _, target| {
        let tracked = limits.conntrack_count.number().unwrap_or(0);
        let needed = rounded(target.saturating_add(tracked));
        vec![Remedy::sysctl(TRACKED_NAME, needed)]
    },
};

/// Threads of the control group.
pub(super) const GROUP_THREADS: Resource = Resource {
    name: "cgroup pids",
    is_physical: false,
    allows: allowed_by_threads,
    remedies: |limits, setup, _| {
        let used = limits.cgroup_pids.known().map_or(0, |it| it.used());
        let needed = setup.with_most_reactors().threads() + used;
        vec![Remedy::unit("TasksMax", rounded(needed))]
    },
};

/// The server's own limit on connections.
pub(super) const SERVER_LIMIT: Resource = Resource {
    name: "--max-connections",
    is_physical: false,
    allows: |_, setup| {
        Some(Allowance {
            connections: setup.max_connections?,
            why: "the server's default".to_owned(),
        })
    },
    remedies: |_, _, target| vec![Remedy::flag(format!("--max-connections {target}"))],
};

/// Allows no connection if the server's threads can't start; doesn't limit connections otherwise.
fn allowed_by_threads(limits: &MachineLimits, setup: &Setup) -> Option<Allowance> {
    let quota = limits.cgroup_pids.known()?;
    let needed = setup.threads();
    (needed > quota.free).then(|| Allowance {
        connections: 0,
        why: format!(
            "{} threads left in {}, {needed} needed",
            quota.free,
            quota.file.display()
        ),
    })
}
