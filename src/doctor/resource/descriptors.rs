//! File descriptors, open files, and epoll's watches.

use super::super::limits::MachineLimits;
use super::super::reading::UNLIMITED;
use super::super::remedy::{Remedy, rounded};
use super::super::setup::{REACTOR_WATCHES, Setup};
use super::{Allowance, Resource};
use crate::figures::whole;
use crate::os::descriptors::FdTables;
use crate::rooms::MAX_REACTORS;

const NR_OPEN_NAME: &str = "fs.nr_open";
const FILES_NAME: &str = "fs.file-max";
const EPOLL_WATCHES_NAME: &str = "fs.epoll.max_user_watches";

/// Descriptors of a table.
pub(super) const NOFILE: Resource = Resource {
    name: "RLIMIT_NOFILE",
    is_physical: false,
    allows: |limits, setup| Some(allowed_by_tables(limits.nofile_hard.number()?, setup)),
    remedies: nofile_remedies,
};

/// The kernel's maximum for RLIMIT_NOFILE.
pub(super) const NR_OPEN: Resource = Resource {
    name: NR_OPEN_NAME,
    is_physical: false,
    allows: |limits, setup| Some(allowed_by_tables(limits.nr_open.number()?, setup)),
    remedies: |limits, setup, target| {
        let needed = rounded(setup.descriptors_for(target));
        let sysctl = Remedy::sysctl(NR_OPEN_NAME, needed);
        more_reactors(limits, setup, target)
            .into_iter()
            .chain([sysctl])
            .collect()
    },
};

/// Open files of the whole machine.
pub(in super::super) const FILES: Resource = Resource {
    name: FILES_NAME,
    is_physical: false,
    allows: allowed_by_files,
    remedies: |limits, setup, target| {
        let open = limits.files_open.number().unwrap_or(0);
        let own = setup.with_most_reactors().own_files();
        let needed = (target * setup.ends() + own).saturating_add(open);
        vec![Remedy::sysctl(FILES_NAME, rounded(needed))]
    },
};

/// Sockets that epoll watches for a user.
pub(super) const EPOLL_WATCHES: Resource = Resource {
    name: EPOLL_WATCHES_NAME,
    is_physical: false,
    allows: |limits, setup| {
        let most = limits.max_user_watches.number()?;
        let free = most.saturating_sub(setup.reactors * REACTOR_WATCHES);
        let ends = setup.ends();
        Some(Allowance {
            connections: free / ends,
            why: format!("{} watches per user, {ends} per connection", whole(most)),
        })
    },
    remedies: |_, setup, target| {
        let needed = rounded(target * setup.ends() + MAX_REACTORS as u64 * REACTOR_WATCHES);
        vec![Remedy::sysctl(EPOLL_WATCHES_NAME, needed)]
    },
};

fn allowed_by_tables(descriptors: u64, setup: &Setup) -> Allowance {
    let most = whole(descriptors);
    Allowance {
        connections: setup.held_by_tables(descriptors),
        why: match (setup.fd_tables, setup.reactors) {
            (FdTables::Shared, _) => format!("{most} descriptors in one table"),
            (FdTables::PerThread, 1) => format!("{most} descriptors, 1 reactor"),
            (FdTables::PerThread, reactors) => format!(
                "{most} descriptors for each of {reactors} reactors, minus a margin for uneven \
                 filling"
            ),
        },
    }
}

fn allowed_by_files(limits: &MachineLimits, setup: &Setup) -> Option<Allowance> {
    if limits.admin.known() == Some(&true) {
        return None;
    }
    let most = limits.file_max.number()?;
    let open = limits.files_open.number().unwrap_or(0);
    let free = most.saturating_sub(open.saturating_add(setup.own_files()));
    let ends = setup.ends();
    Some(Allowance {
        connections: free / ends,
        why: format!("{} files free, {ends} per connection", whole(free)),
    })
}

fn nofile_remedies(limits: &MachineLimits, setup: &Setup, target: u64) -> Vec<Remedy> {
    let needed = setup.descriptors_for(target);
    // The kernel refuses a limit above its maximum, so rounding must not exceed the maximum.
    let limit = match limits.nr_open.number() {
        Some(most) if needed <= most => rounded(needed).min(most),
        _ => rounded(needed),
    };
    let unit = Remedy::unit("LimitNOFILE", limit);
    more_reactors(limits, setup, target)
        .into_iter()
        .chain([unit])
        .collect()
}

/// Advises more reactors, if more reactors suffice and the control group lets them start.
fn more_reactors(limits: &MachineLimits, setup: &Setup, target: u64) -> Option<Remedy> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let or_unlimited = |number: Option<u64>| number.unwrap_or(UNLIMITED);
    let descriptors =
        or_unlimited(limits.nofile_hard.number()).min(or_unlimited(limits.nr_open.number()));
    let threads_left = or_unlimited(limits.cgroup_pids.known().map(|quota| quota.free));
    let reactors = setup.reactors_for(target, descriptors)?;
    if setup.with_tables(reactors).threads() > threads_left {
        return None;
    }
    let tables = match setup.fd_tables {
        FdTables::PerThread => "",
        FdTables::Shared => "--fd-tables per-reactor ",
    };
    Some(Remedy::flag(format!("{tables}--reactors {reactors}")))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::setup;
    use super::*;

    #[test]
    fn remedies_for_descriptors_suffice() {
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
}
