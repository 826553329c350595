//! The plan of a run, decided before it starts: threads, tables of file descriptors, shares.

use std::ops::Range;
use std::time::Duration;

use super::args::{CommonArgs, CrowdArgs, PaceArgs, SourceSpread};
use super::error::SwarmError;
use super::target::{ForeignHosts, Target};
use super::wire::TrackedKind;
use crate::os::descriptors::FdTables;

/// Descriptors of a table that are not members: standard streams, epoll, copies, `/proc`.
const RESERVED_FDS: u64 = 64;
/// Maximum number of members of a thread, however high `RLIMIT_NOFILE` is.
const MAX_MEMBERS_PER_THREAD: u64 = 4_000_000;
/// Default number of handshakes in flight over all threads: well below the usual `somaxconn` of
/// 4,096, since Linux drops connections that find the accept queue full.
const CONNECT_WINDOW: u32 = 512;
/// Minimum of the default number of handshakes in flight per thread.
const MIN_CONNECT_WINDOW: u32 = 8;

/// What the members do after they have connected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Workload {
    Idle { hold: Duration },
    Fanout(Pace),
    Slow { pace: Pace, percent: u8 },
    Ingest { goal: Goal },
    Churn(Pace),
    Storm,
}

impl Workload {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Idle { .. } => "idle",
            Self::Fanout(_) => "fanout",
            Self::Slow { .. } => "slow",
            Self::Ingest { .. } => "ingest",
            Self::Churn(_) => "churn",
            Self::Storm => "storm",
        }
    }
}

/// `total` events. The n-th event is due after n / `per_second` seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    pub(super) per_second: f64,
    pub(super) total: u64,
}

/// When pipelining senders stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    Reactions(u64),
    Time(Duration),
}

impl Pace {
    pub(super) fn new(per_second: u32, seconds: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            total: u64::from(per_second) * u64::from(seconds),
        }
    }

    /// Returns how many events of the `thread`-th of `threads` are due after `elapsed`.
    pub(super) fn due(&self, elapsed: Duration, thread: u64, threads: u64) -> u64 {
        let all = ((elapsed.as_secs_f64() * self.per_second) as u64 + 1).min(self.total);
        (all + threads - 1 - thread) / threads
    }

    /// Returns how many of all events belong to the `thread`-th of `threads`.
    pub(super) fn share(&self, thread: u64, threads: u64) -> u64 {
        (self.total + threads - 1 - thread) / threads
    }
}

/// The plan of a run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) workload: Workload,
    pub(super) kind: TrackedKind,
    pub(super) members: u32,
    pub(super) rooms: u16,
    pub(super) threads: u16,
    pub(super) has_own_tables: bool,
    pub(super) spread_sources: bool,
    pub(super) connect_window: u32,
    pub(super) connect_rate: Option<f64>,
    pub(super) stall: Duration,
    pub(super) timeout: Duration,
}

impl Plan {
    /// Plans a run of `crowd` with at most `file_limit` open files in each table.
    pub(super) fn new(
        common: &CommonArgs,
        crowd: &CrowdArgs,
        workload: Workload,
        file_limit: u64,
    ) -> Result<Self, SwarmError> {
        let foreign_hosts = if common.i_own_this_server {
            ForeignHosts::Allow
        } else {
            ForeignHosts::Refuse
        };
        let target = Target::resolve(&common.url, foreign_hosts)?;
        let kind = TrackedKind::new(&common.kind).ok_or(SwarmError::Kind)?;
        let (threads, has_own_tables) =
            choose_threads(crowd.members, common.threads, common.fd_tables, file_limit)?;
        let window = (CONNECT_WINDOW / u32::from(threads)).max(MIN_CONNECT_WINDOW);
        let spread_sources =
            common.source_spread == SourceSpread::Auto && target.is_ipv4_loopback();
        Ok(Self {
            target,
            workload,
            kind,
            members: crowd.members,
            rooms: u16::try_from(crowd.members).map_or(crowd.rooms, |m| crowd.rooms.min(m)),
            threads,
            has_own_tables,
            spread_sources,
            connect_window: common.connect_window.unwrap_or(window),
            connect_rate: common.connect_rate.map(f64::from),
            stall: Duration::from_secs(common.stall.into()),
            timeout: Duration::from_secs(common.timeout.into()),
        })
    }

    /// Returns the members of one thread, by their numbers in the whole swarm.
    pub(super) fn share(&self, thread: u16) -> Range<u32> {
        let bound =
            |thread: u64| (u64::from(self.members) * thread / u64::from(self.threads)) as u32;
        bound(thread.into())..bound(u64::from(thread) + 1)
    }

    /// Returns the room of a member.
    pub(super) fn room_of(&self, member: u32) -> u16 {
        (member % u32::from(self.rooms)) as u16
    }

    /// Whether a member stops reading. Such members are evenly spread, and the same in every run.
    pub(super) fn is_slow(&self, member: u32) -> bool {
        match self.workload {
            Workload::Slow { percent, .. } => {
                let before = u64::from(member) * u64::from(percent) / 100;
                let after = (u64::from(member) + 1) * u64::from(percent) / 100;
                after > before
            }
            _ => false,
        }
    }

    /// Returns the member that only watches a flood, which is the last one.
    pub(super) fn bystander(&self) -> Option<u32> {
        matches!(self.workload, Workload::Ingest { .. }).then(|| self.members - 1)
    }

    /// Returns how many reactions of a room have their times recorded, for the latency.
    pub(super) fn timeline_entries(&self) -> usize {
        const MAX_ENTRIES: u64 = 16 << 20;
        let total = match self.workload {
            Workload::Fanout(pace) | Workload::Slow { pace, .. } => pace.total,
            _ => return 0,
        };
        let rooms = u64::from(self.rooms);
        let uneven = 2 * u64::from(self.threads) + total / rooms / 8;
        (total.div_ceil(rooms) + uneven).min(MAX_ENTRIES / rooms) as usize
    }
}

impl PaceArgs {
    /// Returns the pace that the command line describes.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.rate, self.seconds)
    }
}

/// Returns the number of threads, and whether each has its own table.
fn choose_threads(
    members: u32,
    threads: Option<u16>,
    tables: Option<FdTables>,
    file_limit: u64,
) -> Result<(u16, bool), SwarmError> {
    let members = u64::from(members);
    let per_table = file_limit
        .saturating_sub(RESERVED_FDS)
        .clamp(1, MAX_MEMBERS_PER_THREAD);
    let has_own_tables = match tables {
        Some(tables) => tables == FdTables::PerThread,
        None => members > per_table && cfg!(target_os = "linux"),
    };
    let needed = if has_own_tables {
        members.div_ceil(per_table)
    } else {
        1
    };
    let chosen = match threads {
        Some(threads) => u64::from(threads),
        None => needed,
    };
    if chosen < needed || (!has_own_tables && members > per_table) {
        return Err(SwarmError::FileLimit {
            members,
            file_limit,
            threads_needed: members.div_ceil(per_table),
        });
    }
    let chosen = chosen.min(members);
    let chosen = u16::try_from(chosen).map_err(|_| SwarmError::FileLimit {
        members,
        file_limit,
        threads_needed: needed,
    })?;
    Ok((chosen, has_own_tables))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_from_the_file_limit() {
        let choose = |members, threads, tables| choose_threads(members, threads, tables, 20_000);
        assert_eq!(choose(15_000, None, None).unwrap(), (1, false));
        assert_eq!(choose(20_000, None, None).unwrap(), (2, true));
        assert_eq!(choose(2_000_000, None, None).unwrap(), (101, true));
        assert_eq!(choose(2_000_000, Some(120), None).unwrap(), (120, true));
        assert_eq!(choose(3, Some(8), None).unwrap(), (3, false));
        assert_eq!(
            choose(9, None, Some(FdTables::PerThread)).unwrap(),
            (1, true)
        );
        assert!(choose(2_000_000, Some(100), None).is_err());
        assert!(choose(20_000, None, Some(FdTables::Shared)).is_err());
        assert!(choose_threads(5, None, None, 0).is_ok());
    }

    #[test]
    fn a_pace_ends_with_all_events_due_and_splits_evenly() {
        let pace = Pace::new(1_000, 5);
        let late = Duration::from_secs(9);
        let owed: u64 = (0..3).map(|thread| pace.due(late, thread, 3)).sum();
        assert_eq!(owed, 5_000);
        assert_eq!(pace.due(Duration::ZERO, 0, 2), 1);
        assert_eq!(pace.due(Duration::ZERO, 1, 2), 0);
        assert_eq!(pace.due(late, 1, 3), pace.share(1, 3));
    }
}
