//! From readings to a verdict: what each bound allows, what stops first, what should change.

use serde::Serialize;

use super::limits::{Limits, Reading};
use super::resource::{Remedy, Resource, Setup, UNREAD_FRAME_BYTES};
use crate::figures::{memory, whole};
use crate::os::descriptors::FdTables;
use crate::reactor::DEFAULT_BACKLOG;
use crate::rooms::DEFAULT_IN_FLIGHT_PERCENT;
use crate::store::DEFAULT_MAX_FILE_BYTES;

/// What was found about a server on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    #[serde(flatten)]
    pub(super) setup: Setup,
    /// Whether what is wanted fits, if a number is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fits: Option<bool>,
    /// The least of the bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stops_first: Option<Stop>,
    /// The least first.
    pub(super) bounds: Vec<Bound>,
    /// What matters and is no number of connections.
    pub(super) notes: Vec<Note>,
}

/// What stops the server, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stop {
    pub(super) name: &'static str,
    pub(super) connections: u64,
}

/// How many connections one thing allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Bound {
    pub(super) name: &'static str,
    pub(super) connections: u64,
    /// How the number comes about.
    pub(super) why: String,
    /// What raises it far enough, any one of these; none if it is high enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remedies: Vec<Remedy>,
}

/// A remark on something that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    pub(super) about: &'static str,
    pub(super) text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remedies: Vec<Remedy>,
}

impl Note {
    fn new(about: &'static str, text: String) -> Self {
        let remedies = Vec::new();
        Self {
            about,
            text,
            remedies,
        }
    }

    fn with(self, remedy: Option<Remedy>) -> Self {
        let remedies = remedy.into_iter().collect();
        Self { remedies, ..self }
    }
}

impl Verdict {
    /// Judges `setup` on the machine that has `limits`.
    ///
    /// A bound should change if it allows less than what is wanted; where nothing is, less than
    /// what the memory holds, which no setting changes.
    pub(super) fn new(limits: &Limits, setup: Setup) -> Self {
        let mut found: Vec<(Resource, u64, String)> = Resource::ALL
            .into_iter()
            .filter_map(|resource| {
                let (connections, why) = resource.allows(limits, &setup)?;
                Some((resource, connections, why))
            })
            .collect();
        found.sort_by_key(|&(_, connections, _)| connections);
        let memory = found
            .iter()
            .find_map(|&(it, connections, _)| it.is_physical().then_some(connections));
        let target = setup.wanted.or(memory).unwrap_or(0);
        let bounds: Vec<Bound> = found
            .into_iter()
            .map(|(resource, connections, why)| Bound {
                name: resource.name(),
                connections,
                why,
                remedies: if connections < target {
                    resource.remedies(limits, &setup, target)
                } else {
                    Vec::new()
                },
            })
            .collect();
        Self {
            setup,
            fits: setup.wanted.map(|wanted| {
                let least = bounds.first();
                least.is_none_or(|least| least.connections >= wanted)
            }),
            stops_first: bounds.first().map(|least| Stop {
                name: least.name,
                connections: least.connections,
            }),
            bounds,
            notes: notes(limits, &setup),
        }
    }

    /// The bounds that should change.
    pub(super) fn too_low(&self) -> impl Iterator<Item = &Bound> {
        self.bounds
            .iter()
            .filter(|bound| !bound.remedies.is_empty())
    }
}

fn notes(limits: &Limits, setup: &Setup) -> Vec<Note> {
    [
        exempt_files(limits),
        idle_conntrack(limits),
        reserved_memory(limits),
        data_in_flight(limits),
        accept_queue(limits, setup),
        handshakes(limits, setup),
        ports(limits),
        shared_table(setup),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn exempt_files(limits: &Limits) -> Option<Note> {
    let most = limits.file_max.number()?;
    let text = format!(
        "{} files, not enforced against this process, which has CAP_SYS_ADMIN; a server without it is bound",
        whole(most)
    );
    (limits.admin == Reading::Known(true)).then(|| Note::new(Resource::Files.name(), text))
}

fn idle_conntrack(limits: &Limits) -> Option<Note> {
    let most = limits.conntrack_max.number()?;
    let text = format!(
        "{} entries, but nothing is tracked now; it bounds connections once a rule of the firewall tracks them",
        whole(most)
    );
    (limits.conntrack_count == Reading::Known(0)).then(|| Note::new(Resource::Tracked.name(), text))
}

fn reserved_memory(limits: &Limits) -> Option<Note> {
    let text = format!(
        "2: address space counts as memory, also the {} that --no-snapshot reserves; lower --snapshot-max-bytes with it",
        memory(DEFAULT_MAX_FILE_BYTES)
    );
    (limits.overcommit_memory == Reading::Known(2))
        .then(|| Note::new(Resource::Commit.name(), text))
}

/// An unread frame takes a page of this account with it, however short it is.
fn data_in_flight(limits: &Limits) -> Option<Note> {
    let [_, pressure, most] = *limits.tcp_mem.known()?;
    let pause = pressure.saturating_mul(DEFAULT_IN_FLIGHT_PERCENT.into()) / 100;
    let text = format!(
        "bounds data in flight and no idle connection: a short unread frame counts as a page and takes {} B; fan-outs pause at {} of them, the kernel drops at {}",
        whole(UNREAD_FRAME_BYTES),
        whole(pause),
        whole(most)
    );
    Some(Note::new("net.ipv4.tcp_mem", text))
}

/// The wait for `accept`, which a storm of reconnects fills.
fn accept_queue(limits: &Limits, setup: &Setup) -> Option<Note> {
    let most = limits.somaxconn.number()?;
    let wanted = DEFAULT_BACKLOG.unsigned_abs().into();
    let text = format!(
        "{} connections wait for each reactor until it accepts them; a storm beyond that is tried again by its clients",
        whole(most.min(wanted))
    );
    let remedy = || Remedy::sysctl("net.core.somaxconn", wanted);
    let raises = most < wanted && setup.wanted.is_none();
    Some(Note::new("net.core.somaxconn", text).with(raises.then(remedy)))
}

/// Half-open connections, of which cookies make the number irrelevant.
fn handshakes(limits: &Limits, setup: &Setup) -> Option<Note> {
    let most = limits.max_syn_backlog.number()?;
    if limits.syncookies != Reading::Known(0) {
        return None;
    }
    let wanted = DEFAULT_BACKLOG.unsigned_abs().into();
    let text = format!(
        "{} handshakes at a time, since net.ipv4.tcp_syncookies is off",
        whole(most)
    );
    let remedy = || Remedy::sysctl("net.ipv4.tcp_max_syn_backlog", wanted);
    let raises = most < wanted && setup.wanted.is_none();
    Some(Note::new("net.ipv4.tcp_max_syn_backlog", text).with(raises.then(remedy)))
}

/// Bounds whoever connects: a proxy in front, a load generator.
fn ports(limits: &Limits) -> Option<Note> {
    let [first, last] = *limits.local_ports.known()?;
    let ports = last.saturating_sub(first).saturating_add(1);
    let text = format!(
        "a proxy or load generator opens at most {} connections from each of its addresses to one of the server's",
        whole(ports)
    );
    Some(Note::new("net.ipv4.ip_local_port_range", text))
}

fn shared_table(setup: &Setup) -> Option<Note> {
    let text = "all reactors share one table; with --fd-tables per-reactor each has its own";
    (setup.fd_tables == FdTables::Shared).then(|| Note::new("--fd-tables", text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, setup};
    use super::*;

    fn wanting(wanted: u64) -> Setup {
        Setup {
            wanted: Some(wanted),
            both_ends: true,
            ..setup(2)
        }
    }

    fn lines(verdict: &Verdict) -> Vec<(&str, Vec<&str>)> {
        verdict
            .too_low()
            .map(|bound| {
                (
                    bound.name,
                    bound.remedies.iter().map(Remedy::line).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn the_least_bound_stops_first() {
        let machine = Machine::ordinary();
        let verdict = Verdict::new(&machine.limits(), setup(2));
        let least = verdict.stops_first.clone().unwrap();
        assert_eq!((least.name, least.connections), ("RLIMIT_NOFILE", 38_554));
        assert!(verdict.bounds.is_sorted_by_key(|bound| bound.connections));
        assert_eq!(verdict.fits, None);
        machine.write("proc/sys/fs/epoll/max_user_watches", "1000\n");
        let verdict = Verdict::new(&machine.limits(), setup(2));
        let least = verdict.stops_first.unwrap();
        assert_eq!(
            (least.name, least.connections),
            ("fs.epoll.max_user_watches", 992)
        );
    }

    #[test]
    fn only_what_is_in_the_way_should_change() {
        let limits = Machine::ordinary().limits();
        let verdict = Verdict::new(&limits, wanting(2_000_000));
        assert_eq!(verdict.fits, Some(false));
        assert_eq!(
            lines(&verdict),
            [
                (
                    "RLIMIT_NOFILE",
                    vec!["--reactors 105", "LimitNOFILE=1048576"]
                ),
                ("fs.file-max", vec!["sysctl -w fs.file-max=4100000"]),
            ]
        );
        assert_eq!(lines(&Verdict::new(&limits, wanting(30_000))), []);
        let verdict = Verdict::new(&limits, wanting(30_000));
        assert_eq!(verdict.fits, Some(true));
    }

    #[test]
    fn what_no_setting_gives_is_said_too() {
        let limits = Machine::ordinary().limits();
        let verdict = Verdict::new(&limits, wanting(100_000_000));
        let lines = lines(&verdict);
        let of = |name| lines.iter().find(|it| it.0 == name).unwrap().1.clone();
        assert_eq!(of("memory"), ["937.4 GB more of memory"]);
        assert_eq!(of("--max-connections"), ["--max-connections 100000000"]);
        let watches = "sysctl -w fs.epoll.max_user_watches=210000000";
        assert_eq!(of("fs.epoll.max_user_watches"), [watches]);
        assert_eq!(of("fs.nr_open"), ["sysctl -w fs.nr_open=51000000"]);
    }

    #[test]
    fn without_a_number_memory_is_the_aim() {
        let limits = Machine::ordinary().limits();
        let verdict = Verdict::new(&limits, setup(2));
        let memory = verdict
            .bounds
            .iter()
            .find(|it| it.name == "memory")
            .unwrap();
        assert!(memory.remedies.is_empty());
        for bound in &verdict.bounds {
            let should_change = bound.connections < memory.connections;
            assert_eq!(!bound.remedies.is_empty(), should_change, "{bound:?}");
        }
    }

    #[test]
    fn a_machine_that_says_nothing_is_given_the_benefit() {
        let limits = Machine::empty().limits();
        let setup = Setup {
            max_connections: None,
            ..wanting(5)
        };
        let verdict = Verdict::new(&limits, setup);
        assert_eq!((verdict.fits, verdict.stops_first), (Some(true), None));
        assert_eq!((verdict.bounds, verdict.notes), (vec![], vec![]));
    }

    #[test]
    fn a_short_queue_is_lengthened() {
        let machine = Machine::ordinary();
        machine.write("proc/sys/net/core/somaxconn", "128\n");
        machine.write("proc/sys/net/ipv4/tcp_syncookies", "0\n");
        let remedies = |setup| {
            let verdict = Verdict::new(&machine.limits(), setup);
            let notes = verdict.notes.into_iter();
            notes.flat_map(|note| note.remedies).collect::<Vec<_>>()
        };
        assert_eq!(
            remedies(setup(1)),
            [
                Remedy::sysctl("net.core.somaxconn", 4_096),
                Remedy::sysctl("net.ipv4.tcp_max_syn_backlog", 4_096)
            ]
        );
        assert_eq!(remedies(wanting(1)), []);
    }
}
